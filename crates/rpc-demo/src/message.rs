//! The messages: what a request and a reply say before the arguments and the result.
//!
//! ```text
//!  REQUEST   0        8        16          20          24        28
//!           +--------+--------+-----------+-----------+---------+-----------
//!           | stream | call   | procedure | semantics | attempt | arguments
//!           +--------+--------+-----------+-----------+---------+-----------
//!  REPLY     0        8     12       16
//!           +--------+-----+--------+--------
//!           | call   | pid | status | result           integers little-endian
//!           +--------+-----+--------+--------
//! ```
//!
//! Stream and call together are the *request id*: a call that is sent again has the same one, also over
//! another connection. By it a client knows which call a reply answers, and a server what it has run already.

use std::fmt;

use crate::marshal::{Malformed, Marshal, Unmarshal};

/// What this pair's HELLO says: that calls are to follow.
pub const PROTOCOL: [u8; 4] = *b"call";
/// The version of service and messages.
pub const VERSION: u32 = 2;
/// Where the server listens for TCP when it is not told otherwise.
pub const TCP_ADDRESS: &str = "127.0.0.1:7412";
/// Bytes of a request before its arguments.
pub const REQUEST_HEADER: usize = 28;
/// Where in a request the attempt is: the only thing that changes when it is sent again.
pub const ATTEMPT_AT: usize = 24;
/// Bytes of a reply before its result.
pub const REPLY_HEADER: usize = 16;
/// The longest reply body that a client takes, in bytes. All results are short.
pub const MAX_REPLY: usize = 1024;

/// How many calls of one client may be under way: a server remembers the replies to so many, the newest.
pub const WINDOW: usize = 64;

/// So many replies more than there were requests are thrown away; a server that sends more is not listened to any longer.
pub const SURPLUS: u64 = 64;

/// What the server is to do with a request that it has run already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Semantics {
    /// Run it again: right for a procedure that is idempotent, a mistake for any other.
    AtLeastOnce,
    /// Send the same reply again, from memory, and run nothing.
    #[default]
    AtMostOnce,
}

impl Semantics {
    /// The number in a request.
    pub fn number(self) -> u32 {
        match self {
            Semantics::AtLeastOnce => 1,
            Semantics::AtMostOnce => 2,
        }
    }

    /// What a number in a request stands for.
    pub fn from_number(number: u32) -> Option<Semantics> {
        [Semantics::AtLeastOnce, Semantics::AtMostOnce].into_iter().find(|s| s.number() == number)
    }
}

impl fmt::Display for Semantics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Semantics::AtLeastOnce => "at-least-once",
            Semantics::AtMostOnce => "at-most-once",
        })
    }
}

/// What stands before the arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestHeader {
    /// Which client: 64 random bits, because pids are reused and collide between machines.
    pub stream: u64,
    /// Which of its calls; each has a larger number than the one before.
    pub call: u64,
    /// Which procedure.
    pub procedure: u32,
    /// A number of [`Semantics`].
    pub semantics: u32,
    /// For the how-manieth time it is sent, from 1.
    pub attempt: u32,
}

impl RequestHeader {
    /// Writes it.
    pub fn marshal<'a>(&self, to: &'a mut Marshal) -> &'a mut Marshal {
        to.u64(self.stream).u64(self.call).u32(self.procedure).u32(self.semantics).u32(self.attempt)
    }

    /// Reads it.
    ///
    /// # Errors
    /// If there are too few bytes.
    pub fn unmarshal(from: &mut Unmarshal<'_>) -> Result<RequestHeader, Malformed> {
        let (stream, call) = (from.u64()?, from.u64()?);
        let (procedure, semantics, attempt) = (from.u32()?, from.u32()?, from.u32()?);
        Ok(RequestHeader { stream, call, procedure, semantics, attempt })
    }
}

/// What stands before the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplyHeader {
    /// Which call is answered.
    pub call: u64,
    /// The process that ran it.
    pub pid: u32,
    /// 0, or the status of a [`Fault`](crate::service::Fault).
    pub status: u32,
}

impl ReplyHeader {
    /// Writes it.
    pub fn marshal<'a>(&self, to: &'a mut Marshal) -> &'a mut Marshal {
        to.u64(self.call).u32(self.pid).u32(self.status)
    }

    /// Reads it.
    ///
    /// # Errors
    /// If there are too few bytes.
    pub fn unmarshal(from: &mut Unmarshal<'_>) -> Result<ReplyHeader, Malformed> {
        Ok(ReplyHeader { call: from.u64()?, pid: from.u32()?, status: from.u32()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_fit_what_is_written() {
        let header = RequestHeader { stream: 1, call: 2, procedure: 3, semantics: 2, attempt: 4 };
        let mut bytes = Marshal::default();
        assert_eq!(header.marshal(&mut bytes).bytes().len(), REQUEST_HEADER);
        assert_eq!(RequestHeader::unmarshal(&mut Unmarshal::new(bytes.bytes())), Ok(header));
        bytes.set_u32(ATTEMPT_AT, 5);
        let again = RequestHeader { attempt: 5, ..header };
        assert_eq!(RequestHeader::unmarshal(&mut Unmarshal::new(bytes.bytes())), Ok(again));
        let mut bytes = Marshal::default();
        assert_eq!(ReplyHeader::default().marshal(&mut bytes).bytes().len(), REPLY_HEADER);
    }
}
