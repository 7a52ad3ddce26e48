//! When no reply comes: what is known of the call, and sending it again.
//!
//! ```text
//!  overdue            the call's deadline has passed       ── again() ──► the same number, attempt 2
//!  connection lost    nothing more will come by it         ── reconnected(), again() ──► over a new connection
//! ```
//!
//! `retry.rs` says what may be sent again; here is only how. The call is then to be made once more, by the same method.

use std::io::{self, ErrorKind};

use socket_demo::dial::Link;

use crate::error::RpcError;
use crate::exchange::{Call, Exchange};
use crate::message::ATTEMPT_AT;
use crate::retry::Outcome;

impl Exchange {
    /// What an error of the connection means for the call.
    pub(crate) fn failed(&mut self, call: &Call, e: io::Error) -> RpcError {
        match e.kind() {
            ErrorKind::Interrupted => RpcError::Transport(e),
            ErrorKind::InvalidData => RpcError::Protocol(e.to_string()),
            _ => {
                let taken = self.link.last_word();
                self.lost(call, taken)
            }
        }
    }

    /// The server has gone; `taken` is how many requests of this connection it took, if it could say so.
    pub(crate) fn lost(&mut self, call: &Call, taken: Option<u64>) -> RpcError {
        self.broken = true;
        let why = format!("the server has gone after {} calls", self.answered);
        self.unanswered(call, Outcome::of(call.place, taken, call.elsewhere), why)
    }

    pub(crate) fn unanswered(&mut self, call: &Call, outcome: Outcome, why: String) -> RpcError {
        self.current = None;
        self.unanswered = Some((*call, outcome));
        RpcError::Unanswered(why, outcome)
    }

    /// What is known of the last call, if it got no reply.
    pub fn outcome(&self) -> Option<Outcome> {
        self.unanswered.map(|(_, outcome)| outcome)
    }

    /// Whether the connection has been lost: before anything else is sent, it is to be [made
    /// again](Exchange::reconnected).
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// From now on over this connection.
    pub fn reconnected(&mut self, link: Link) {
        (self.link, self.broken, self.sent, self.came) = (link, false, 0, 0);
        match &mut self.unanswered {
            Some((call, Outcome::DidNotRun)) => {
                (call.sent, call.place, call.attempt) = (false, None, 1);
                self.request.set_u32(ATTEMPT_AT, 1);
            }
            Some((call, _)) => (call.place, call.elsewhere) = (None, true),
            None => {}
        }
    }

    /// Makes the call that got no reply the current one again, with a new deadline: call the same method again.
    pub fn again(&mut self) {
        let Some((mut call, _)) = self.unanswered.take() else { return };
        call.until = self.terms.until();
        // What is still on its way goes on as it is.
        if std::mem::take(&mut call.sent) {
            call.attempt += 1;
            self.request.set_u32(ATTEMPT_AT, call.attempt);
        }
        self.current = Some(call);
    }
}
