//! Sending a call again: when that may be done, and what it means.
//!
//! A reply that does not come says nothing: the request was lost, or the reply, or the server is slow, or dead.
//! Who sends the call again runs it twice, perhaps; who does not, not at all, perhaps. There are two ways out:
//!
//! ```text
//!  what is known of the call         at-least-once            at-most-once
//!  it did not run                    send it again            send it again
//!  unknown (no reply in time,        send it again: it may    send it again: the server that ran it answers
//!    or the connection broke)          run twice                from memory (once.rs), any other refuses
//!  it ran, but its reply is lost     send it again: it runs   give up: who ran it has gone, and with it
//!                                      twice                    the memory
//! ```
//!
//! For an idempotent procedure, whose second run changes nothing (`sum`, `divide`, `stats`), at-least-once is
//! right, and the server needs no memory for it. For any other (`put`) it is a mistake.

use std::fmt;
use std::time::{Duration, Instant};

use crate::message::Semantics;

/// What is known of a call that brought no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not sent whole, or the server said that it left before it.
    DidNotRun,
    /// The server said so when it left; the result is lost.
    Ran,
    /// Nobody can know.
    Unknown,
}

impl Outcome {
    /// What follows when a connection breaks: the call was the `place`th request on it (`None`: it was not sent
    /// whole), the server said that it had taken `taken` requests (`None`: it could say nothing), and the call
    /// may have run `elsewhere`, where an earlier connection led to.
    pub fn of(place: Option<u64>, taken: Option<u64>, elsewhere: bool) -> Outcome {
        match (place, taken) {
            _ if elsewhere => Outcome::Unknown,
            // Half a request is no request: nobody runs it.
            (None, _) => Outcome::DidNotRun,
            (Some(place), Some(taken)) if taken < place => Outcome::DidNotRun,
            (Some(_), Some(_)) => Outcome::Ran,
            (Some(_), None) => Outcome::Unknown,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::DidNotRun => "the call did not run",
            Outcome::Ran => "the call ran, but its result is lost",
            Outcome::Unknown => "outcome unknown: the call may have run, or not",
        })
    }
}

/// On what terms calls are made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// How long a reply is waited for, each time that a call is sent; `None` is for ever.
    pub deadline: Option<Duration>,
    /// How often a call is sent again.
    pub retries: u32,
    /// What the server is told to do with what it has run already.
    pub semantics: Semantics,
}

impl Terms {
    /// Whether a call of which so much is known is to be sent again, after it has been so often.
    pub fn again(&self, outcome: Outcome, retried: u32) -> bool {
        let lost = outcome == Outcome::Ran && self.semantics == Semantics::AtMostOnce;
        retried < self.retries && !lost
    }

    /// The deadline of what is sent now.
    pub fn until(&self) -> Option<Instant> {
        self.deadline.map(|deadline| Instant::now() + deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Semantics::{AtLeastOnce, AtMostOnce};

    #[test]
    fn what_ran_for_certain_is_not_sent_again_at_most_once() {
        for (semantics, outcome, again) in [
            (AtLeastOnce, Outcome::DidNotRun, true),
            (AtLeastOnce, Outcome::Unknown, true),
            (AtLeastOnce, Outcome::Ran, true),
            (AtMostOnce, Outcome::DidNotRun, true),
            (AtMostOnce, Outcome::Unknown, true),
            (AtMostOnce, Outcome::Ran, false),
        ] {
            let terms = Terms { deadline: None, retries: 2, semantics };
            assert_eq!(terms.again(outcome, 1), again, "{semantics} {outcome}");
            assert!(!terms.again(outcome, 2), "twice is all");
        }
    }
}
