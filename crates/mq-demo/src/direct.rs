//! Direct communication: partners name each other, and the message's type carries the name.
//!
//! ```text
//!                          one queue, sorted by the kernel
//!   send(P, message)      ┌──────────────────────────────┐    receive from anybody, as P
//!   msgsnd(2³² + P) ─────>│ type 1 … 2³²-1: the user's   │──> msgrcv(2³² + P)
//!   msgsnd(2³³ + Q) ─────>│ 2³² + P: to process P        │──> msgrcv(2³³ + Q)
//!   from Q, to anybody    │ 2³³ + Q: from process Q      │    receive(Q, message)
//!                         └──────────────────────────────┘
//! ```
//!
//! msgrcv(2) can look for one number only. So a message says *either* whom it is for *or* whom it is from, and
//! where it has a type of the user's it says neither. No two of these collide, because a process id has 22 bits.
//!
//! Guarantees: those of the queue; a message to P is taken by P, or by a receiver that takes any type (type 0, or
//! all but one). A link ends with its partner: no other process can ever have its name.
//! Limits: a C `long` of 64 bits; one queue holds the messages of all links, and a partner who does not take
//! his fills it for all.

use std::ffi::c_long;
use std::io::{self, ErrorKind};

use common::place::{Attached, Channel, Role};

use crate::card;
use crate::sysv::Select;

/// The largest type that is the user's.
pub const LAST_TYPE: c_long = TO - 1;
/// The largest process id that Linux gives: `kernel.pid_max` cannot be set higher.
pub const LAST_PID: u32 = 1 << 22;

const TO: c_long = 1 << 32;
const FROM: c_long = 1 << 33;

/// The type of a message to a process, whoever sends it.
pub fn to(pid: u32) -> c_long {
    TO + c_long::from(pid)
}

/// The type of a message from a process, whoever takes it.
pub fn from(pid: u32) -> c_long {
    FROM + c_long::from(pid)
}

/// Whom a message of this type is for, if it is for one process alone.
pub fn addressee(kind: c_long) -> Option<u32> {
    pid(kind, TO)
}

/// Whom a receiver listens to, if to one process alone.
pub fn partner(select: Select) -> Option<u32> {
    match select {
        Select::Only(kind) => pid(kind, FROM),
        _ => None,
    }
}

fn pid(kind: c_long, base: c_long) -> Option<u32> {
    let pid = u32::try_from(kind.checked_sub(base)?).ok()?;
    (1..=LAST_PID).contains(&pid).then_some(pid)
}

/// Whether a receiver that selects so can get a message of this type.
fn can_take(select: Select, kind: c_long) -> bool {
    match select {
        Select::Any => true,
        Select::Only(only) => kind == only,
        Select::UpTo(most) => kind <= most,
        Select::Except(other) => kind != other,
    }
}

/// A producer's link to one consumer.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    to: u32,
    state: State,
    thief: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No consumer has this pid.
    Nobody,
    /// A consumer has it, and takes other types only.
    Deaf,
    Listens,
}

impl Link {
    /// A link to a process, which need not be there yet.
    pub fn to(pid: u32) -> Link {
        Link { to: pid, state: State::Nobody, thief: None }
    }

    /// The process at the other end.
    pub fn pid(&self) -> u32 {
        self.to
    }

    /// Whether it was there at the last look, and takes what is sent to it.
    pub fn listens(&self) -> bool {
        self.state == State::Listens
    }

    /// Another consumer, found at the last look, that can take what is not for it.
    pub fn thief(&self) -> Option<u32> {
        self.thief
    }

    /// Why nothing can be sent: `no consumer has pid 4711`.
    pub fn why(&self) -> String {
        match self.state {
            State::Nobody => format!("no consumer has pid {}", self.to),
            _ => format!("consumer {} does not take what is sent to it (it needs --direct)", self.to),
        }
    }

    /// Looks for the partner: the caller holds the channel's lock.
    pub(crate) fn look(&mut self, channel: &Channel, attached: &[Attached]) -> io::Result<()> {
        let kind = to(self.to);
        let mut state = State::Nobody;
        self.thief = None;
        for consumer in attached.iter().filter(|a| a.role == Role::Consumer && a.alive) {
            let takes = card::takes(channel, consumer.pid).is_some_and(|select| can_take(select, kind));
            match (consumer.pid == self.to, takes) {
                (true, true) => state = State::Listens,
                (true, false) => state = State::Deaf,
                (false, true) => self.thief = Some(consumer.pid),
                (false, false) => {}
            }
        }
        if self.listens() && state == State::Nobody {
            let died = attached.iter().any(|a| a.pid == self.to && a.role == Role::Consumer);
            let how = if died { "died" } else { "has left" };
            let why = format!("consumer {} {how}, and nobody else can be meant", self.to);
            return Err(io::Error::new(ErrorKind::ConnectionAborted, why));
        }
        self.state = state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_types_do_not_collide() {
        for pid in [1, 4711, LAST_PID] {
            assert_eq!(addressee(to(pid)), Some(pid));
            assert_eq!(partner(Select::Only(from(pid))), Some(pid));
            assert!(addressee(from(pid)).is_none() && partner(Select::Only(to(pid))).is_none());
            assert!(to(pid) > LAST_TYPE && from(pid) > to(LAST_PID));
        }
        for kind in [c_long::MIN, -1, 0, 1, LAST_TYPE, TO, TO + 1 + c_long::from(LAST_PID), c_long::MAX] {
            assert!(addressee(kind).is_none() && partner(Select::Only(kind)).is_none(), "{kind}");
        }
    }

    #[test]
    fn who_can_take_a_message_to_another() {
        assert!(can_take(Select::Any, to(7)) && can_take(Select::Except(2), to(7)));
        assert!(can_take(Select::Only(to(7)), to(7)) && !can_take(Select::Only(to(8)), to(7)));
        assert!(!can_take(Select::UpTo(LAST_TYPE), to(7)) && !can_take(Select::Only(from(7)), to(7)));
    }
}
