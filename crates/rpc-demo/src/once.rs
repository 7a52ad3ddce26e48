//! At most once: the server's memory of what it has run, so that a call that comes again need not run again.
//!
//! ```text
//!  stream (a client)   its newest call   the reply to it
//!  9f3c1d…             7                 REPLY 7, pid, 0, …      call 7 comes again: this is sent again
//!  02b7e4…             3                 REPLY 3, pid, 0, …      call 2 comes again: too old, refused
//! ```
//!
//! *Guarantees.* One reply for each client is enough: a client asks for call 8 only when it has the reply to
//! call 7, or has given it up. So memory is bounded by [`CLIENTS`] replies, however many calls there are. When
//! one more client comes, the one that has been silent the longest is forgotten.
//!
//! *Limits.* The memory is this process's: it dies with it. A request that says that it has been sent before,
//! from a client of which nothing is known (it was forgotten, or its call went to a server before this one),
//! may have been run or not. Nobody can know, and it is refused. Only a memory that is written to a disk
//! together with what the procedure changes can do better.
//!
//! See also: A. D. Birrell, B. J. Nelson, *Implementing Remote Procedure Calls* (1984), section 3.2; RFC 5531,
//! section 4 ("reply cache"); RFC 8881, section 2.10.6 (NFS 4.1: exactly once by slots).

use std::collections::HashMap;

use crate::message::RequestHeader;

/// How many clients are remembered.
pub const CLIENTS: usize = 1024;

/// What is known of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known<'a> {
    /// It has not been run.
    New,
    /// It has been run. The reply, if it is still there.
    Ran(Option<&'a [u8]>),
    /// Nobody can know whether it has been run.
    Unknown,
}

/// The newest call of each client, and its reply.
#[derive(Debug, Default)]
pub struct Once {
    clients: HashMap<u64, Newest>,
    /// Counts up: who was heard last.
    now: u64,
}

#[derive(Debug)]
struct Newest {
    call: u64,
    reply: Vec<u8>,
    heard: u64,
}

impl Once {
    /// What is known of this request.
    pub fn look_up(&self, request: &RequestHeader) -> Known<'_> {
        match self.clients.get(&request.stream) {
            Some(newest) if request.call == newest.call => Known::Ran(Some(&newest.reply)),
            Some(newest) if request.call < newest.call => Known::Ran(None),
            Some(_) => Known::New,
            // The first sending of all comes once: a connection neither doubles nor reorders.
            None if request.attempt <= 1 => Known::New,
            None => Known::Unknown,
        }
    }

    /// Whether this client is unknown, and has made calls before this one: to another server, then.
    pub fn is_heir(&self, request: &RequestHeader) -> bool {
        request.call > 1 && !self.clients.contains_key(&request.stream)
    }

    /// Remembers that a request was run, and its reply.
    pub fn remember(&mut self, request: &RequestHeader, reply: &[u8]) {
        self.now += 1;
        if self.clients.len() >= CLIENTS && !self.clients.contains_key(&request.stream) {
            let silent =
                self.clients.iter().min_by_key(|(_, newest)| newest.heard).map(|(stream, _)| *stream);
            silent.and_then(|stream| self.clients.remove(&stream));
        }
        let empty = || Newest { call: 0, reply: Vec::new(), heard: 0 };
        let newest = self.clients.entry(request.stream).or_insert_with(empty);
        if request.call >= newest.call {
            newest.call = request.call;
            newest.reply.clear();
            newest.reply.extend_from_slice(reply);
        }
        newest.heard = self.now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(stream: u64, call: u64, attempt: u32) -> RequestHeader {
        RequestHeader { stream, call, attempt, ..RequestHeader::default() }
    }

    #[test]
    fn the_newest_call_of_each_client_is_remembered() {
        let mut once = Once::default();
        assert_eq!(once.look_up(&request(1, 1, 1)), Known::New);
        once.remember(&request(1, 1, 1), b"one");
        once.remember(&request(2, 1, 1), b"other");
        assert_eq!(once.look_up(&request(1, 1, 2)), Known::Ran(Some(b"one")));
        assert_eq!(once.look_up(&request(2, 1, 2)), Known::Ran(Some(b"other")));
        // A first sending that was lost on its way is new also when it is sent again.
        assert_eq!(once.look_up(&request(1, 2, 2)), Known::New);
        once.remember(&request(1, 2, 2), b"two");
        assert_eq!(once.look_up(&request(1, 2, 3)), Known::Ran(Some(b"two")));
        assert_eq!(once.look_up(&request(1, 1, 2)), Known::Ran(None), "the client has its reply");
    }

    #[test]
    fn of_a_stranger_who_says_it_sends_again_nothing_is_known() {
        let once = Once::default();
        assert_eq!(once.look_up(&request(1, 7, 2)), Known::Unknown);
        assert_eq!(once.look_up(&request(1, 7, 1)), Known::New);
        assert!(once.is_heir(&request(1, 7, 1)) && !once.is_heir(&request(1, 1, 1)));
    }

    #[test]
    fn memory_is_bounded_and_the_silent_are_forgotten() {
        let mut once = Once::default();
        once.remember(&request(0, 1, 1), b"zero");
        for stream in 1..10 * CLIENTS as u64 {
            once.remember(&request(stream, 1, 1), &[0; 16]);
            once.remember(&request(0, stream, 1), b"zero");
        }
        assert_eq!(once.clients.len(), CLIENTS);
        assert!(matches!(once.look_up(&request(0, 1, 2)), Known::Ran(_)), "it was heard all the time");
        assert_eq!(once.look_up(&request(1, 1, 2)), Known::Unknown);
    }
}
