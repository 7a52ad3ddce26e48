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
//! can know ([`again.rs`](crate::again)).
//!
//! *System calls.* A call takes three: writev, poll, read. After a silence it begins with a read more.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket_demo::dial::Link;
use socket_demo::frame::{GOODBYE, REQUEST};

use crate::error::{RpcError, check_flood};
use crate::marshal::{Marshal, Unmarshal};
use crate::message::{ReplyHeader, RequestHeader};
use crate::retry::{Outcome, Terms};

/// When the server has not been heard for so long it may have gone, or have said something that nobody waits for.
const SILENCE: Duration = Duration::from_micros(50);

/// The client's end of a connection on which calls are made, or of several, one after the other.
#[derive(Debug)]
pub struct Exchange {
    pub(crate) link: Link,
    /// The connection has been lost, and is not made again yet.
    pub(crate) broken: bool,
    pub(crate) terms: Terms,
    pub(crate) nonblocking: bool,
    /// Whose calls these are, and how many there have been, over all connections.
    pub(crate) stream: u64,
    pub(crate) calls: u64,
    /// The request that is being sent or has been, marshalled.
    pub(crate) request: Marshal,
    /// The call that the caller waits for.
    pub(crate) current: Option<Call>,
    /// The last call, if it got no reply, and what is known of it.
    pub(crate) unanswered: Option<(Call, Outcome)>,
    pub(crate) answered: u64,
    pub(crate) late: u64,
    /// When the last reply came.
    heard: Option<Instant>,
    /// Of this connection: requests sent, and replies that came.
    pub(crate) sent: u64,
    pub(crate) came: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Call {
    pub(crate) number: u64,
    pub(crate) procedure: u32,
    pub(crate) attempt: u32,
    /// When its reply is overdue.
    pub(crate) until: Option<Instant>,
    /// This attempt has been sent whole.
    pub(crate) sent: bool,
    /// Its first attempt's place among the requests of this connection.
    pub(crate) place: Option<u64>,
    /// It may have run in a server that an earlier connection led to.
    pub(crate) elsewhere: bool,
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
            heard: None,
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
        while !self.has_reply(&call)? {
            if call.sent { self.receive(&call)? } else { self.send(&mut call)? }
        }
        self.current = None;
        self.answered += 1;
        self.heard = Some(Instant::now());
        Ok(self.link.reader.body())
    }

    fn send(&mut self, call: &mut Call) -> Result<(), RpcError> {
        // Before it is sent we listen: so late replies go away, and a server that has gone is noticed while it is
        // certain that the call did not run. Who has just been heard need not be listened to.
        if self.heard.take().is_none_or(|heard| heard.elapsed() >= SILENCE) && self.read(call)? {
            return Ok(());
        }
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
                // The server has still to wake up: this is for the next try, which may wait.
                if self.nonblocking { Err(RpcError::Transport(ErrorKind::WouldBlock.into())) } else { Ok(()) }
            }
            // Also for what it says: who is not listened to may not listen either.
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                self.wait(call, PollFlags::POLLIN | PollFlags::POLLOUT)
            }
            Err(e) => Err(self.failed(call, e)),
        }
    }

    /// Waits until the server says something, or until the reply is overdue, and reads once.
    fn receive(&mut self, call: &Call) -> Result<(), RpcError> {
        self.wait(call, PollFlags::POLLIN)?;
        self.read(call).map(drop)
    }

    /// Reads once what has come: whether anything has.
    fn read(&mut self, call: &Call) -> Result<bool, RpcError> {
        match self.link.reader.fill(&self.link.connection) {
            Ok(0) => Err(self.lost(call, None)),
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(self.failed(call, e)),
        }
    }

    /// Whether the reply to this call is among what has been read. A reply to any other is late, or doubled.
    fn has_reply(&mut self, call: &Call) -> Result<bool, RpcError> {
        if self.broken {
            return Err(self.lost(call, None));
        }
        while let Some(kind) = self.link.reader.next_frame().map_err(|e| RpcError::Protocol(e.to_string()))? {
            let mut body = Unmarshal::new(self.link.reader.body());
            if kind == GOODBYE {
                let taken = body.u64().ok();
                return Err(self.lost(call, taken));
            }
            self.came += 1;
            if ReplyHeader::unmarshal(&mut body).is_ok_and(|reply| reply.call == call.number) {
                return Ok(true);
            }
            self.late += 1;
            // Else this would have no end, whatever the deadline, and whoever wants to stop us.
            if let Err(flood) = check_flood(self.sent, self.came) {
                (self.broken, self.current) = (true, None);
                return Err(flood);
            }
        }
        Ok(false)
    }

    /// Waits, if we may, until the connection can be read or written, or the reply is overdue.
    fn wait(&mut self, call: &Call, until: PollFlags) -> Result<(), RpcError> {
        let left = call.until.map(|until| until.saturating_duration_since(Instant::now()));
        let patience = match left {
            _ if self.nonblocking => PollTimeout::ZERO,
            Some(Duration::ZERO) => PollTimeout::ZERO,
            // A millisecond more: poll(2) counts in them, and is not to return before the time.
            Some(left) => PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        let ready = poll(&mut [PollFd::new(self.link.connection.as_fd(), until)], patience);
        match ready.map_err(|e| RpcError::Transport(e.into()))? {
            0 if left == Some(Duration::ZERO) => {
                let why = format!("no reply within {:.1?}", self.terms.deadline.unwrap_or_default());
                Err(self.unanswered(call, Outcome::of(call.place, None, call.elsewhere), why))
            }
            0 if self.nonblocking => Err(RpcError::Transport(ErrorKind::WouldBlock.into())),
            _ => Ok(()),
        }
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
