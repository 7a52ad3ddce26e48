//! At most once: the server's memory of what it has run, so that a call that comes again need not run again.
//!
//! ```text
//!  stream (a client)   its newest call   the replies to the newest WINDOW
//!  9f3c1d…             7                 … REPLY 6, REPLY 7         call 7 comes again: its reply is sent again
//!  02b7e4…             300               REPLY 237 … REPLY 300      call 200 comes again: too old, refused
//! ```
//!
//! *Guarantees.* So many replies for each client are enough: a client has no more than [`WINDOW`] calls under way, so it
//! asks for call 300 only when it has the reply to call 236, or has given it up. (One at a time, one reply would do.)
//! So memory is bounded by [`CLIENTS`] times as many replies, however many calls there are. When one more client comes,
//! the one that has been silent the longest is forgotten.
//!
//! *Limits.* The memory is this process's: it dies with it. A request that says that it has been sent before,
//! from a client of which nothing is known (it was forgotten, or its call went to a server before this one),
//! may have been run or not. Nobody can know, and it is refused. Only a memory that is written to a disk
//! together with what the procedure changes can do better.
//!
//! See also: A. D. Birrell, B. J. Nelson, *Implementing Remote Procedure Calls* (1984), section 3.2; RFC 5531,
//! section 4 ("reply cache"); RFC 8881, section 2.10.6 (NFS 4.1: exactly once by slots).

use std::collections::HashMap;

use crate::message::{RequestHeader, WINDOW};

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

/// The newest calls of each client, and their replies.
#[derive(Debug, Default)]
pub struct Once {
    clients: HashMap<u64, Client>,
    /// Counts up: who was heard last.
    now: u64,
}

#[derive(Debug)]
struct Client {
    /// What it asked for before this call, it asked somebody else.
    first: u64,
    newest: u64,
    /// Call n is at n modulo [`WINDOW`], so a newer one takes the place of one that is too old.
    replies: Vec<(u64, Vec<u8>)>,
    heard: u64,
}

impl Client {
    fn reply(&self, call: u64) -> Option<&[u8]> {
        // Empty is a place that nothing has been put in: the shortest reply has a header.
        let (of, reply) = self.replies.get(call as usize % WINDOW)?;
        (*of == call && !reply.is_empty()).then_some(reply)
    }
}

impl Once {
    /// What is known of this request.
    pub fn look_up(&self, request: &RequestHeader) -> Known<'_> {
        let call = request.call;
        match self.clients.get(&request.stream) {
            Some(client) if client.reply(call).is_some() => Known::Ran(client.reply(call)),
            Some(client) if client.newest.saturating_sub(call) >= WINDOW as u64 => Known::Ran(None),
            // Of its newest calls every one that ran here is remembered.
            Some(client) if call >= client.first => Known::New,
            // The first sending of all comes once: a connection neither doubles nor reorders.
            _ if request.attempt <= 1 => Known::New,
            _ => Known::Unknown,
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
                self.clients.iter().min_by_key(|(_, client)| client.heard).map(|(stream, _)| *stream);
            silent.and_then(|stream| self.clients.remove(&stream));
        }
        let (call, slot) = (request.call, request.call as usize % WINDOW);
        let client = self.clients.entry(request.stream).or_insert_with(|| Client {
            first: call,
            newest: call,
            replies: Vec::new(),
            heard: 0,
        });
        client.heard = self.now;
        client.newest = client.newest.max(call);
        if client.replies.len() <= slot {
            client.replies.resize(slot + 1, (0, Vec::new()));
        }
        let (of, kept) = &mut client.replies[slot];
        if call >= *of {
            *of = call;
            kept.clear();
            kept.extend_from_slice(reply);
        }
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
    }

    #[test]
    fn so_many_calls_are_remembered_as_may_be_under_way() {
        let mut once = Once::default();
        let window = WINDOW as u64;
        // The first two come in the other order, as after a broken connection.
        for call in [11, 10].into_iter().chain(12..10 + 3 * window) {
            assert_eq!(once.look_up(&request(1, call, 1)), Known::New, "{call}");
            once.remember(&request(1, call, 1), &call.to_le_bytes());
        }
        let newest = 9 + 3 * window;
        for call in newest + 1 - window..=newest {
            assert_eq!(once.look_up(&request(1, call, 2)), Known::Ran(Some(&call.to_le_bytes())), "{call}");
        }
        for call in 0..newest + 1 - window {
            assert_eq!(
                once.look_up(&request(1, call, 2)),
                Known::Ran(None),
                "{call}: the client has its reply"
            );
        }
        assert!(once.clients[&1].replies.len() <= WINDOW);
    }

    #[test]
    fn what_an_heir_was_not_asked_for_first_may_have_run_elsewhere() {
        let mut once = Once::default();
        // Calls 1 to 7 went to another server, of which 6 and 7 certainly did not run.
        once.remember(&request(1, 6, 1), b"six");
        assert_eq!(once.look_up(&request(1, 5, 2)), Known::Unknown);
        assert_eq!(once.look_up(&request(1, 7, 1)), Known::New);
        assert_eq!(once.look_up(&request(1, 0, 2)), Known::Unknown, "an empty place is no reply");
        assert_eq!(once.look_up(&request(1, 5, 1)), Known::New);
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
