//! Several calls under way at once: a request is sent before the reply to the one before has come.
//!
//! ```text
//!  one at a time   1 ──►    ◄── 1   2 ──►    ◄── 2   3 ──►    ◄── 3      each waits for two wake-ups
//!  in flight       1 2 3 ──►    ◄── 1 2 3   4 5 6 ──►    ◄── 4 5 6      three share them
//! ```
//!
//! What is new compared to `exchange.rs`: a list of calls in place of one, each with its own request, deadline and
//! attempts. A reply belongs to the call whose number it carries, whenever it comes. Requests are *gathered* until
//! there is nothing to do but to wait for a reply, and are then written by one system call.
//!
//! *Guarantees.* Those of one at a time, call by call: it is sent once, and again only by [`Pipeline::resend`] or
//! [`Pipeline::reconnected`]; when no reply comes it is said whether it ran, did not run, or that nobody can know.
//! Calls run in the order in which they were begun, but for those that are sent again.
//!
//! *Limits.* A call cannot use the result of the one before. Between the oldest call under way and the newest are
//! fewer than [`WINDOW`] numbers, because a server remembers no more replies of one client. A deadline runs from
//! the beginning of a call, so it must leave time for all that are before it.
//!
//! *System calls.* write, read, poll.
//!
//! See also: RFC 8881, section 2.10.6 (NFS 4.1: a session's slots); HTTP/1.1 pipelining, RFC 9112, section 9.3.2.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket_demo::dial::Link;
use socket_demo::frame::{GOODBYE, REQUEST, header};

use crate::client::read_reply;
use crate::error::{RpcError, check_flood};
use crate::marshal::{Malformed, Marshal, Unmarshal};
use crate::message::{REQUEST_HEADER, ReplyHeader, RequestHeader, WINDOW};
use crate::retry::{Outcome, Terms};

/// When so many bytes have been gathered, no call is begun before they are written.
const ENOUGH: usize = 64 << 10;

/// The client's end of a connection on which several calls are under way.
#[derive(Debug)]
pub struct Pipeline {
    pub(crate) link: Link,
    pub(crate) broken: bool,
    pub(crate) terms: Terms,
    pub(crate) window: u64,
    pub(crate) stream: u64,
    /// How many calls there have been.
    pub(crate) calls: u64,
    /// Those under way, the oldest first.
    pub(crate) flights: VecDeque<Flight>,
    /// Frames that are being written, or wait for it.
    pub(crate) outbox: Vec<u8>,
    pub(crate) written: usize,
    /// Where the last frame that was written whole ends.
    pub(crate) whole: usize,
    /// Whose the others are, and where each ends.
    pub(crate) ends: VecDeque<(u64, usize)>,
    /// Of this connection: requests sent, and replies that came.
    pub(crate) sent: u64,
    pub(crate) came: u64,
    pub(crate) answered: u64,
    pub(crate) late: u64,
}

/// A call that is under way.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    pub(crate) number: u64,
    pub(crate) request: Marshal,
    pub(crate) attempt: u32,
    /// How often it has been sent again, or should have been.
    pub(crate) retried: u32,
    /// When its reply is overdue.
    pub(crate) until: Option<Instant>,
    /// This attempt has been sent whole.
    pub(crate) sent: bool,
    /// Its first attempt's place among the requests of this connection.
    pub(crate) place: Option<u64>,
    /// It may have run in a server that an earlier connection led to.
    pub(crate) elsewhere: bool,
    /// What is known of it, since no reply came in time.
    pub(crate) unanswered: Option<Outcome>,
}

/// A call that has come back.
#[derive(Debug)]
pub struct Answer<T> {
    request: Marshal,
    /// The process that ran it.
    pub ran_in: u32,
    /// What it returned.
    pub result: T,
}

impl<T> Answer<T> {
    /// The marshalled arguments.
    pub fn arguments(&self) -> &[u8] {
        &self.request.bytes()[REQUEST_HEADER..]
    }
}

impl Pipeline {
    /// On a connection that has been made (see [`Client::dial`](crate::client::Client::dial)), with up to `calls`
    /// under way, but at most [`WINDOW`]. `stream` is a random number, by which a server knows this client again.
    pub fn new(link: Link, stream: u64, terms: Terms, calls: usize) -> Pipeline {
        Pipeline {
            link,
            broken: false,
            terms,
            window: calls.clamp(1, WINDOW) as u64,
            stream,
            calls: 0,
            flights: VecDeque::new(),
            outbox: Vec::new(),
            written: 0,
            whole: 0,
            ends: VecDeque::new(),
            sent: 0,
            came: 0,
            answered: 0,
            late: 0,
        }
    }

    /// How many calls are under way.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Whether another call may be begun; if not, [`Pipeline::receive`] first.
    pub fn has_room(&self) -> bool {
        let near = self.flights.front().is_none_or(|oldest| self.calls + 1 - oldest.number < self.window);
        near && self.outbox.len() < ENOUGH
    }

    /// Begins a call, which is sent when [`Pipeline::receive`] is called next.
    ///
    /// # Errors
    /// `FileTooLarge` if the server does not take so long a request.
    pub fn begin(
        &mut self,
        procedure: u32,
        marshal: impl FnOnce(&mut Marshal) -> &mut Marshal,
    ) -> Result<(), RpcError> {
        self.calls += 1;
        let (number, until) = (self.calls, self.terms.until());
        let mut flight = Flight { number, attempt: 1, until, ..Flight::default() };
        let (stream, call, semantics) = (self.stream, number, self.terms.semantics.number());
        let header = RequestHeader { stream, call, procedure, semantics, attempt: 1 };
        marshal(header.marshal(&mut flight.request));
        self.flights.push_back(flight);
        self.gather(self.flights.len() - 1)
    }

    /// Puts a call's frame behind those that are to be written.
    pub(crate) fn gather(&mut self, at: usize) -> Result<(), RpcError> {
        let (flight, max) = (&self.flights[at], self.link.server.max_frame as usize);
        let (request, number) = (flight.request.bytes(), flight.number);
        if request.len() > max {
            let why = format!("a request of {} bytes; the server takes up to {max}", request.len());
            return Err(RpcError::Transport(io::Error::new(ErrorKind::FileTooLarge, why)));
        }
        let header = header(REQUEST, request.len()).map_err(RpcError::Transport)?;
        self.outbox.extend_from_slice(&header);
        self.outbox.extend_from_slice(request);
        self.ends.push_back((number, self.outbox.len()));
        Ok(())
    }

    /// The next call that has come back, whichever that is; what was gathered is written before it is waited for.
    ///
    /// # Errors
    /// [`RpcError::Transport`] with `WouldBlock`, or with `block` `Interrupted`: call it again.
    /// [`RpcError::Unanswered`] if a call is overdue or the connection broke: see [`Pipeline::again`].
    pub fn receive<T>(
        &mut self,
        block: bool,
        unmarshal: impl FnOnce(&mut Unmarshal<'_>) -> Result<T, Malformed>,
    ) -> Result<Answer<T>, RpcError> {
        let at = loop {
            match self.answered()? {
                Some(at) => break at,
                None => self.write_and_read(block)?,
            }
        };
        let Flight { request, .. } = self.flights.remove(at).unwrap_or_default();
        self.answered += 1;
        let mut ran_in = 0;
        let result = read_reply(self.link.reader.body(), &mut ran_in, unmarshal)?;
        Ok(Answer { request, ran_in, result })
    }

    /// Whose call the next reply answers, of those that have been read.
    fn answered(&mut self) -> Result<Option<usize>, RpcError> {
        while let Some(kind) = self.link.reader.next_frame().map_err(|e| RpcError::Protocol(e.to_string()))? {
            let mut body = Unmarshal::new(self.link.reader.body());
            if kind == GOODBYE {
                let taken = body.u64().ok();
                return Err(self.lost(taken));
            }
            self.came += 1;
            let number = ReplyHeader::unmarshal(&mut body).map_or(0, |reply| reply.call);
            match self.flights.binary_search_by_key(&number, |flight| flight.number) {
                Ok(at) => return Ok(Some(at)),
                // It came late, or twice.
                Err(_) => {
                    self.late += 1;
                    check_flood(self.sent, self.came).inspect_err(|_| self.broken = true)?;
                }
            }
        }
        Ok(None)
    }

    /// Writes what has been gathered, and reads once; waits for either if it may `block`.
    fn write_and_read(&mut self, block: bool) -> Result<(), RpcError> {
        // A connection that takes nothing more may still have replies, and a last word.
        let wrote = if self.broken { Ok(()) } else { self.write() };
        match self.link.reader.fill(&self.link.connection) {
            Ok(0) => Err(self.lost(None)),
            Ok(_) => Ok(()),
            Err(e) if e.kind() == ErrorKind::Interrupted => Err(RpcError::Transport(e)),
            Err(e) if e.kind() != ErrorKind::WouldBlock => Err(self.lost(None)),
            Err(_) => match wrote.map_err(|e| e.kind()) {
                Ok(()) => self.wait(block, PollFlags::POLLIN),
                Err(ErrorKind::WouldBlock) => self.wait(block, PollFlags::POLLIN | PollFlags::POLLOUT),
                Err(kind @ ErrorKind::Interrupted) => Err(RpcError::Transport(kind.into())),
                Err(_) => Err(self.lost(None)),
            },
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.ends.is_empty() {
            self.written += nix::unistd::write(&self.link.connection, &self.outbox[self.written..])?;
            while let Some(&(number, end)) = self.ends.front()
                && end <= self.written
            {
                self.ends.pop_front();
                (self.whole, self.sent) = (end, self.sent + 1);
                if let Ok(at) = self.flights.binary_search_by_key(&number, |flight| flight.number) {
                    self.flights[at].sent = true;
                    self.flights[at].place.get_or_insert(self.sent);
                }
            }
        }
        self.outbox.clear();
        (self.written, self.whole) = (0, 0);
        Ok(())
    }

    /// Waits until the connection can be read or written, or a reply is overdue.
    fn wait(&mut self, block: bool, until: PollFlags) -> Result<(), RpcError> {
        let now = Instant::now();
        let next = self.flights.iter().filter_map(|flight| flight.until).min();
        if next.is_some_and(|next| next <= now) {
            let overdue = self.flights.iter_mut().filter(|f| f.until.is_some_and(|until| until <= now));
            for flight in overdue {
                flight.unanswered = Some(Outcome::of(flight.place, None, flight.elsewhere));
            }
            let why = format!("no reply within {:.1?}", self.terms.deadline.unwrap_or_default());
            return Err(self.unanswered(why));
        }
        if !block {
            return Err(RpcError::Transport(ErrorKind::WouldBlock.into()));
        }
        // A millisecond more: poll(2) counts in them, and is not to return before the time.
        let patience = next.map_or(PollTimeout::NONE, |next| {
            PollTimeout::try_from(next - now + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let polled = poll(&mut [PollFd::new(self.link.connection.as_fd(), until)], patience);
        polled.map(drop).map_err(|e| RpcError::Transport(e.into()))
    }

    /// Who the server is.
    pub fn peer(&self) -> &str {
        &self.link.connection.peer
    }

    /// How many replies were thrown away, because they came late or twice.
    pub fn late_replies(&self) -> u64 {
        self.late
    }
}
