//! What lies below the client stub: one request goes out, the reply to it comes back, or it does not.
//!
//! ```text
//!            REQUEST call 7 ──────────────►
//!            ◄────────────── REPLY call 6      a late one: thrown away
//!  deadline  ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄    no reply: the outcome is unknown
//!  again()   REQUEST call 7 ──────────────►    the same number, attempt 2
//!            ◄────────────── REPLY call 7
//!            ◄────────────── REPLY call 7      a doubled one: thrown away, in the next call
//! ```
//!
//! *Guarantees.* A reply is matched with its call by its number. A call is sent once; it is sent again only by
//! [`Exchange::again`]. When no reply comes, the error says whether the call ran, did not run, or that nobody
//! can know.
//!
//! *System calls.* writev, read, poll.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket_demo::dial::Link;
use socket_demo::frame::{GOODBYE, REPLY, REQUEST};

use crate::error::RpcError;
use crate::marshal::{Marshal, Unmarshal};
use crate::message::{ATTEMPT_AT, ReplyHeader, RequestHeader};
use crate::retry::{Outcome, Terms};

/// The client's end of a connection on which calls are made, or of several, one after the other.
#[derive(Debug)]
pub struct Exchange {
    link: Link,
    /// The connection has been lost, and is not made again yet.
    broken: bool,
    terms: Terms,
    nonblocking: bool,
    /// Whose calls these are, and how many there have been, over all connections.
    stream: u64,
    calls: u64,
    /// The request that is being sent or has been, marshalled.
    request: Marshal,
    /// The call that the caller waits for.
    current: Option<Call>,
    /// The last call, if it got no reply, and what is known of it.
    unanswered: Option<(Call, Outcome)>,
    answered: u64,
    late: u64,
    /// Of this connection: requests sent, and replies that came.
    sent: u64,
    came: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Call {
    number: u64,
    procedure: u32,
    attempt: u32,
    /// When its reply is overdue.
    until: Option<Instant>,
    /// This attempt has been sent whole.
    sent: bool,
    /// Its first attempt's place among the requests of this connection.
    place: Option<u64>,
    /// It may have run in a server that an earlier connection led to.
    elsewhere: bool,
}

impl Exchange {
    pub(crate) fn new(link: Link, stream: u64, terms: Terms) -> Exchange {
        Exchange {
            link,
            broken: false,
            terms,
            nonblocking: false,
            stream,
            calls: 0,
            request: Marshal::default(),
            current: None,
            unanswered: None,
            answered: 0,
            late: 0,
            sent: 0,
            came: 0,
        }
    }

    /// Whether calls return `WouldBlock` while the reply has not come, instead of waiting for it.
    pub fn set_nonblocking(&mut self, nonblocking: bool) {
        self.nonblocking = nonblocking;
    }

    /// Whether a call of this procedure is under way, so that it is to be gone on with.
    pub(crate) fn is_under_way(&self, procedure: u32) -> Result<bool, RpcError> {
        match self.current {
            Some(call) if call.procedure != procedure => {
                Err(RpcError::Protocol("another call is under way".into()))
            }
            None if self.link.writer.is_inside_frame() && !self.broken => {
                Err(RpcError::Protocol("half of a request that was given up is in the way".into()))
            }
            current => Ok(current.is_some()),
        }
    }

    /// Starts a call: the arguments are to be written behind what is returned.
    pub(crate) fn begin(&mut self, procedure: u32) -> &mut Marshal {
        self.calls += 1;
        self.unanswered = None;
        let (number, until) = (self.calls, self.terms.until());
        self.current = Some(Call { number, procedure, attempt: 1, until, ..Call::default() });
        self.request.clear();
        let (stream, call, semantics) = (self.stream, self.calls, self.terms.semantics.number());
        RequestHeader { stream, call, procedure, semantics, attempt: 1 }.marshal(&mut self.request)
    }

    /// Sends the request and waits for its reply, from wherever it was left off.
    pub(crate) fn finish(&mut self) -> Result<&[u8], RpcError> {
        let Some(mut call) = self.current else { return Err(RpcError::Protocol("there is no call".into())) };
        // Looked for also before it is sent: so late replies go away, and a server that has gone is noticed
        // while it is certain that the call did not run.
        while !self.has_reply(&call)? {
            if call.sent { self.wait(&call, PollFlags::POLLIN)? } else { self.send(&mut call)? }
        }
        self.current = None;
        self.answered += 1;
        Ok(self.link.reader.body())
    }

    fn send(&mut self, call: &mut Call) -> Result<(), RpcError> {
        let (len, max) = (self.request.bytes().len(), self.link.server.max_frame as usize);
        if len > max {
            self.current = None;
            let why = format!("a request of {len} bytes; the server takes up to {max}");
            return Err(RpcError::Transport(io::Error::new(ErrorKind::FileTooLarge, why)));
        }
        match self.link.try_write(REQUEST, self.request.bytes()) {
            Ok(()) => {
                self.sent += 1;
                call.sent = true;
                call.place.get_or_insert(self.sent);
                self.current = Some(*call);
                Ok(())
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => self.wait(call, PollFlags::POLLOUT),
            Err(e) => Err(self.failed(call, e)),
        }
    }

    /// Reads what has come: whether it is the reply to this call. A reply to any other is late, or doubled.
    fn has_reply(&mut self, call: &Call) -> Result<bool, RpcError> {
        while !self.broken {
            match self.link.try_read() {
                Ok(Some(REPLY)) => {
                    self.came += 1;
                    let reply = ReplyHeader::unmarshal(&mut Unmarshal::new(self.link.reader.body()));
                    if reply.is_ok_and(|reply| reply.call == call.number) {
                        return Ok(true);
                    }
                    self.late += 1;
                }
                Ok(Some(_)) => {
                    let taken = Unmarshal::new(self.link.reader.body()).u64().ok();
                    return Err(self.lost(call, taken));
                }
                Ok(None) => break,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(self.failed(call, e)),
            }
        }
        Err(self.lost(call, None))
    }

    /// Waits until the connection can be read or written, or the reply is overdue.
    fn wait(&mut self, call: &Call, until: PollFlags) -> Result<(), RpcError> {
        let left = call.until.map(|until| until.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            let why = format!("no reply within {:.1?}", self.terms.deadline.unwrap_or_default());
            return Err(self.unanswered(call, Outcome::of(call.place, None, call.elsewhere), why));
        }
        self.poll(until, left).map_err(RpcError::Transport)
    }

    fn poll(&self, until: PollFlags, left: Option<Duration>) -> io::Result<()> {
        if self.nonblocking {
            return Err(ErrorKind::WouldBlock.into());
        }
        // A millisecond more: poll(2) counts in them, and is not to return before the time.
        let patience = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        poll(&mut [PollFd::new(self.link.connection.as_fd(), until)], patience)?;
        Ok(())
    }

    fn failed(&mut self, call: &Call, e: io::Error) -> RpcError {
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
    fn lost(&mut self, call: &Call, taken: Option<u64>) -> RpcError {
        self.broken = true;
        let why = format!("the server has gone after {} calls", self.answered);
        self.unanswered(call, Outcome::of(call.place, taken, call.elsewhere), why)
    }

    fn unanswered(&mut self, call: &Call, outcome: Outcome, why: String) -> RpcError {
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

    /// Says goodbye, if it fits at once and not in the middle of a request: whether it was said.
    pub fn leave(&mut self) -> bool {
        while !self.broken && !self.link.writer.is_inside_frame() {
            match self.link.try_write(GOODBYE, &self.sent.to_le_bytes()) {
                // A goodbye that a signal swallows would look like a death.
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                said => return said.is_ok(),
            }
        }
        false
    }

    /// After the goodbye: takes in what is owed to calls that were sent again, until the server says goodbye too.
    /// Closed with a reply unread, a TCP connection is reset, and our goodbye may be lost.
    ///
    /// # Errors
    /// `WouldBlock`, `Interrupted`.
    pub fn drain(&mut self) -> io::Result<()> {
        while !self.broken && self.came < self.sent {
            match self.link.try_read() {
                Ok(Some(REPLY)) => (self.came, self.late) = (self.came + 1, self.late + 1),
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.poll(PollFlags::POLLIN, None)?,
                Err(e) if e.kind() == ErrorKind::Interrupted => return Err(e),
                _ => self.broken = true,
            }
        }
        Ok(())
    }

    /// Who the server is.
    pub fn peer(&self) -> &str {
        &self.link.connection.peer
    }

    /// How many replies were thrown away, because they came late or twice.
    pub fn late_replies(&self) -> u64 {
        self.late
    }

    /// The body of the request that was sent last, and of the reply that came last.
    pub fn last(&self) -> (&[u8], &[u8]) {
        (self.request.bytes(), self.link.reader.body())
    }
}
