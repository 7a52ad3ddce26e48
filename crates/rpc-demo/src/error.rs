//! Why a call brought no result: what a local call never has to say.

use std::fmt;
use std::io::{self, ErrorKind};

use crate::message::SURPLUS;
use crate::retry::Outcome;
use crate::service::Fault;

/// Why a call brought no result: what a caller can do about it differs.
#[derive(Debug)]
pub enum RpcError {
    /// `Interrupted`, `WouldBlock`: the call is under way, so call again. `FileTooLarge`: it cannot be sent.
    Transport(io::Error),
    /// No reply came: in time, or because the connection broke. What that means for the call.
    Unanswered(String, Outcome),
    /// The server answered something that is no answer.
    Protocol(String),
    /// The procedure, or the server stub, refused.
    Remote(Fault),
}

/// Refuses a server that sends replies without an end: of a connection on which `sent` requests went and `came` replies
/// came. Who throws them away one after the other does nothing else any more.
pub(crate) fn check_flood(sent: u64, came: u64) -> Result<(), RpcError> {
    if came <= sent.saturating_add(SURPLUS) {
        return Ok(());
    }
    Err(RpcError::Protocol(format!("one of {came} that came for {sent} requests")))
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RpcError::Transport(e) => e.fmt(f),
            RpcError::Unanswered(why, outcome) => write!(f, "{why}; {outcome}"),
            RpcError::Protocol(what) => write!(f, "not a reply: {what}"),
            RpcError::Remote(fault) => write!(f, "the server answered: {fault}"),
        }
    }
}

impl std::error::Error for RpcError {}

impl From<RpcError> for io::Error {
    fn from(e: RpcError) -> io::Error {
        match e {
            RpcError::Transport(e) => e,
            RpcError::Unanswered(..) => io::Error::new(ErrorKind::ConnectionAborted, e),
            RpcError::Protocol(_) => io::Error::new(ErrorKind::InvalidData, e),
            RpcError::Remote(_) => io::Error::other(e),
        }
    }
}
