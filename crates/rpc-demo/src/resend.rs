//! When no reply comes to calls that are under way: what is known of each, and sending them again.
//!
//! ```text
//!  overdue            those whose deadline has passed      ── again() ──► resend()        the same numbers, attempt 2
//!  connection lost    all that are under way               ── again() ──► reconnected()   over a new connection
//! ```
//!
//! `retry.rs` says what may be sent again; here it is asked for each call by itself. If one of them must not be,
//! none is: a stream of calls with a hole in it is not what its caller asked for.

use socket_demo::dial::Link;

use crate::error::RpcError;
use crate::message::ATTEMPT_AT;
use crate::pipeline::{Flight, Pipeline};
use crate::retry::Outcome;

impl Pipeline {
    /// The server has gone; `taken` is how many requests of this connection it took, if it could say so.
    pub(crate) fn lost(&mut self, taken: Option<u64>) -> RpcError {
        self.broken = true;
        for flight in &mut self.flights {
            flight.unanswered = Some(Outcome::of(flight.place, taken, flight.elsewhere));
        }
        let why = format!("the server has gone after {} calls", self.answered);
        self.unanswered(why)
    }

    /// The worst that is known of a call without a reply, as an error.
    pub(crate) fn unanswered(&self, why: String) -> RpcError {
        let outcomes = self.flights.iter().filter_map(|flight| flight.unanswered);
        let worst = outcomes.max_by_key(|outcome| match outcome {
            Outcome::DidNotRun => 0,
            Outcome::Ran => 1,
            Outcome::Unknown => 2,
        });
        RpcError::Unanswered(why, worst.unwrap_or(Outcome::DidNotRun))
    }

    /// Counts another try for each call that got no reply: how many they are; `None` if there is none, or one of
    /// them is not to be sent again.
    pub fn again(&mut self) -> Option<usize> {
        let terms = self.terms;
        let mut unanswered: Vec<_> = self.flights.iter_mut().filter(|f| f.unanswered.is_some()).collect();
        let may = |f: &&mut Flight| f.unanswered.is_some_and(|known| terms.again(known, f.retried));
        if unanswered.is_empty() || !unanswered.iter().all(may) {
            return None;
        }
        unanswered.iter_mut().for_each(|flight| flight.retried += 1);
        Some(unanswered.len())
    }

    /// Sends the calls that got no reply again, with a new deadline.
    ///
    /// # Errors
    /// As [`Pipeline::begin`].
    pub fn resend(&mut self) -> Result<(), RpcError> {
        for at in 0..self.flights.len() {
            let flight = &mut self.flights[at];
            if flight.unanswered.take().is_none() {
                continue;
            }
            flight.until = self.terms.until();
            // What is still on its way goes on as it is.
            if std::mem::take(&mut flight.sent) {
                flight.attempt += 1;
                flight.request.set_u32(ATTEMPT_AT, flight.attempt);
                self.gather(at)?;
            }
        }
        Ok(())
    }

    /// Whether the connection has been lost.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Sends all calls under way again, over this connection.
    ///
    /// # Errors
    /// As [`Pipeline::begin`].
    pub fn reconnected(&mut self, link: Link) -> Result<(), RpcError> {
        (self.link, self.broken, self.sent, self.came) = (link, false, 0, 0);
        self.outbox.clear();
        self.ends.clear();
        (self.written, self.whole) = (0, 0);
        for at in 0..self.flights.len() {
            let flight = &mut self.flights[at];
            (flight.sent, flight.place, flight.until) = (false, None, self.terms.until());
            match flight.unanswered.take() {
                // For whoever serves now it is the first time.
                Some(Outcome::DidNotRun) => flight.attempt = 1,
                _ => (flight.elsewhere, flight.attempt) = (true, flight.attempt + 1),
            }
            flight.request.set_u32(ATTEMPT_AT, flight.attempt);
            self.gather(at)?;
        }
        Ok(())
    }

    /// How many calls got no reply, and will not be sent again.
    pub fn abandoned(&self) -> usize {
        self.flights.iter().filter(|flight| flight.unanswered.is_some()).count()
    }
}
