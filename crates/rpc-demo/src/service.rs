//! The contract of client and server: which procedures there are, what they take, what they return.
//!
//! Nothing here says where a procedure runs. The server implements [`Service`]; the client stub has methods of
//! the same names, whose errors say in addition what a local call never had: that the call was lost.
//!
//! | number | procedure | arguments | result | errors of its own | idempotent |
//! |---|---|---|---|---|---|
//! | 1 | `put` | an item (bytes) | [`Receipt`] | | no |
//! | 2 | `sum` | list of i64 | i64 | [`Fault::Overflow`] | yes |
//! | 3 | `stats` | | [`Counters`] | | yes |
//! | 4 | `divide` | two i64 | i64 | [`Fault::DivisionByZero`], [`Fault::Overflow`] | yes |
//!
//! *Idempotent* is what may run twice as well as once. It is a property of the procedure, not of the way there,
//! so it belongs into the contract.

use std::fmt;

/// The number of [`Service::put`].
pub const PUT: u32 = 1;
/// The number of [`Service::sum`].
pub const SUM: u32 = 2;
/// The number of [`Service::stats`].
pub const STATS: u32 = 3;
/// The number of [`Service::divide`].
pub const DIVIDE: u32 = 4;

/// A procedure's name, to be shown.
pub fn name(procedure: u32) -> &'static str {
    match procedure {
        PUT => "put",
        SUM => "sum",
        STATS => "stats",
        DIVIDE => "divide",
        _ => "a procedure that this version does not know",
    }
}

/// Whether a procedure may run twice and nobody is the worse for it.
pub fn is_idempotent(procedure: u32) -> bool {
    matches!(procedure, SUM | STATS | DIVIDE)
}

/// The procedures, as the server implements them.
pub trait Service {
    /// Takes an item.
    fn put(&mut self, item: &[u8]) -> Receipt;
    /// Adds numbers.
    fn sum(&mut self, numbers: &[i64]) -> Result<i64, Fault>;
    /// What the server has done up to now, this call included.
    fn stats(&mut self) -> Counters;
    /// Divides, cutting off what is behind the point.
    fn divide(&mut self, dividend: i64, divisor: i64) -> Result<i64, Fault>;
}

/// That an item was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its number among all items that the server has taken, from 1.
    pub number: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "item {} of this server, {} bytes", self.number, self.bytes)
    }
}

/// What a server has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Procedures that were run.
    pub calls: u64,
    /// Of these, how many ended with a [`Fault`].
    pub faults: u64,
    /// Items that were put.
    pub items: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counters { calls, faults, items, bytes } = self;
        write!(f, "calls {calls}, faults {faults}, items {items}, bytes {bytes}")
    }
}

/// Why a procedure returned no result. It did run, or the server said that it did not: there is no doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server has no procedure of this number.
    UnknownProcedure,
    /// The arguments were not what the procedure takes.
    BadArguments,
    /// The result does not fit into 64 bits.
    Overflow,
    /// The divisor was 0.
    DivisionByZero,
    /// Whether the call ran when it was sent before, the server cannot know: so it did not run it now.
    Forgotten,
    /// A number that this version does not know.
    Other(u32),
}

impl Fault {
    /// The status of a reply; 0 is success.
    pub fn status(self) -> u32 {
        match self {
            Fault::UnknownProcedure => 1,
            Fault::BadArguments => 2,
            Fault::Overflow => 3,
            Fault::DivisionByZero => 4,
            Fault::Forgotten => 5,
            Fault::Other(status) => status,
        }
    }

    /// Whether the procedure ran, and this is its own answer.
    pub fn is_of_the_procedure(self) -> bool {
        matches!(self, Fault::Overflow | Fault::DivisionByZero)
    }

    /// The fault that a status other than 0 stands for.
    pub fn from_status(status: u32) -> Fault {
        match status {
            1 => Fault::UnknownProcedure,
            2 => Fault::BadArguments,
            3 => Fault::Overflow,
            4 => Fault::DivisionByZero,
            5 => Fault::Forgotten,
            other => Fault::Other(other),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::UnknownProcedure => f.write_str("unknown procedure"),
            Fault::BadArguments => f.write_str("bad arguments"),
            Fault::Overflow => f.write_str("overflow: the result does not fit into 64 bits"),
            Fault::DivisionByZero => f.write_str("division by zero"),
            Fault::Forgotten => f.write_str("it knows nothing of the first time that the call was sent"),
            Fault::Other(status) => write!(f, "fault {status}, which this version does not know"),
        }
    }
}

impl std::error::Error for Fault {}
