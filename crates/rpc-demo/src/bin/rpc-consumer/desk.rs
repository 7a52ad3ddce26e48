//! The service: the procedures themselves, in the process that runs them.

use anyhow::Result;
use common::session::Session;
use rpc_demo::service::{Counters, Fault, Receipt, Service};

use crate::ledger::Ledger;

/// Where the procedures run.
pub struct Desk<'a> {
    /// Takes the items.
    pub session: &'a mut Session,
    /// What was run.
    pub counters: Counters,
    /// What became of the last item: whether more are wanted.
    pub put: Result<bool>,
    /// What became of the calls.
    pub ledger: Ledger,
}

impl Desk<'_> {
    /// Counts a call, and its fault.
    fn ran<T>(&mut self, result: Result<T, Fault>) -> Result<T, Fault> {
        self.counters.calls += 1;
        self.counters.faults += u64::from(result.is_err());
        result
    }
}

impl Service for Desk<'_> {
    fn put(&mut self, item: &[u8]) -> Receipt {
        self.counters.calls += 1;
        self.counters.items += 1;
        self.counters.bytes += item.len() as u64;
        self.put = self.session.received(0, item);
        Receipt { number: self.counters.items, bytes: item.len() as u64 }
    }

    fn sum(&mut self, numbers: &[i64]) -> Result<i64, Fault> {
        // In 128 bits no intermediate sum can overflow, whatever the order: only the result counts.
        let sum: i128 = numbers.iter().copied().map(i128::from).sum();
        self.ran(i64::try_from(sum).map_err(|_| Fault::Overflow))
    }

    fn stats(&mut self) -> Counters {
        self.counters.calls += 1;
        self.counters
    }

    fn divide(&mut self, dividend: i64, divisor: i64) -> Result<i64, Fault> {
        self.ran(match divisor {
            0 => Err(Fault::DivisionByZero),
            // i64::MIN / -1 is one more than i64 can hold.
            _ => dividend.checked_div(divisor).ok_or(Fault::Overflow),
        })
    }
}
