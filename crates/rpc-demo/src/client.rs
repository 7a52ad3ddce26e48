//! The client stub: methods that look like the service's, and send a message instead of running it.
//!
//! ```text
//!  client.divide(7, 2)
//!    1. marshal      id, DIVIDE, 7, 2 → bytes
//!    2. send         REQUEST ─────────────────────►
//!    3. wait         (the procedure runs in another process)
//!    4. receive      REPLY with our id ◄───────────   any other id is stale or doubled: thrown away
//!    5. unmarshal    bytes → 3, or a Fault
//! ```
//!
//! *Guarantees.* A reply is matched with its call by the id. A call is sent once and never repeated, so it runs
//! at most once. When the connection is lost during a call, the error says whether the procedure ran, did not
//! run, or that nobody can know.
//!
//! *Like a system call*, a method returns `Interrupted` when a signal comes, and `WouldBlock` if the client was
//! set non-blocking and the reply has not come. The call is then still under way: call the same method again
//! with the same arguments to go on with it.
//!
//! *System calls.* writev, read, poll.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, ErrorKind};

use nix::poll::PollFlags;
use socket_demo::dial::{Dial, Hello, Link};
use socket_demo::endpoint::Address;
use socket_demo::frame::{GOODBYE, REPLY, REQUEST, Rules};

use crate::marshal::{Malformed, Marshal, Unmarshal};
use crate::service::{Counters, DIVIDE, Fault, PUT, Receipt, STATS, SUM};
use crate::service::{MAX_REPLY, PROTOCOL, REPLY_HEADER, VERSION};

/// Why a call returned no result: what a caller can do about it differs.
#[derive(Debug)]
pub enum RpcError {
    /// The messages did not get through. `Interrupted` and `WouldBlock`: call again. Else the server is lost,
    /// and the message says what that means for this call.
    Transport(io::Error),
    /// The server answered something that is no answer.
    Protocol(String),
    /// The procedure, or the server stub, refused.
    Remote(Fault),
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RpcError::Transport(e) => e.fmt(f),
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
            RpcError::Protocol(_) => io::Error::new(ErrorKind::InvalidData, e),
            RpcError::Remote(_) => io::Error::other(e),
        }
    }
}

/// Calls the procedures of a server.
#[derive(Debug)]
pub struct Client {
    link: Link,
    nonblocking: bool,
    /// The id of the next call; ids are not used twice on a connection.
    next_id: u64,
    /// The request that is being sent or has been, marshalled.
    request: Marshal,
    /// The call that the caller waits for.
    current: Option<Call>,
    /// The ids of all calls that have been sent and not answered.
    in_flight: BTreeSet<u64>,
    sent: u64,
    ran_in: u32,
    discarded: u64,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    id: u64,
    procedure: u32,
    sent: bool,
}

impl Client {
    /// Will connect to the server at `to`.
    pub fn dial(to: Address) -> Dial {
        let rules = Rules::new([(REPLY, REPLY_HEADER..=MAX_REPLY), (GOODBYE, 8..=8)]);
        Dial::new(to, Hello::new(PROTOCOL, VERSION, MAX_REPLY), rules)
    }

    /// On a connection that has been made.
    pub fn new(link: Link) -> Client {
        Client {
            link,
            nonblocking: false,
            next_id: 1,
            request: Marshal::default(),
            current: None,
            in_flight: BTreeSet::new(),
            sent: 0,
            ran_in: 0,
            discarded: 0,
        }
    }

    /// Whether calls return `WouldBlock` while the reply has not come, instead of waiting for it.
    pub fn set_nonblocking(&mut self, nonblocking: bool) {
        self.nonblocking = nonblocking;
    }

    /// [`Service::put`](crate::service::Service::put), there.
    ///
    /// # Errors
    /// See [`RpcError`]; the same holds for all procedures.
    pub fn put(&mut self, item: &[u8]) -> Result<Receipt, RpcError> {
        self.call(PUT, |args| args.raw(item), |result| result.receipt())
    }

    /// [`Service::sum`](crate::service::Service::sum), there.
    pub fn sum(&mut self, numbers: &[i64]) -> Result<i64, RpcError> {
        self.call(SUM, |args| args.i64s(numbers), |result| result.i64())
    }

    /// [`Service::stats`](crate::service::Service::stats), there.
    pub fn stats(&mut self) -> Result<Counters, RpcError> {
        self.call(STATS, |args| args, |result| result.counters())
    }

    /// [`Service::divide`](crate::service::Service::divide), there.
    pub fn divide(&mut self, dividend: i64, divisor: i64) -> Result<i64, RpcError> {
        self.call(DIVIDE, |args| args.i64(dividend).i64(divisor), |result| result.i64())
    }

    /// What all of them have in common.
    fn call<T>(
        &mut self,
        procedure: u32,
        marshal: impl FnOnce(&mut Marshal) -> &mut Marshal,
        unmarshal: impl FnOnce(&mut Unmarshal<'_>) -> Result<T, Malformed>,
    ) -> Result<T, RpcError> {
        let id = match self.current {
            Some(call) if call.procedure == procedure => call.id,
            Some(_) => return Err(RpcError::Protocol("another call is under way".into())),
            None => self.begin(procedure, marshal),
        };
        self.finish_sending()?;
        while self.receive()? != id {}
        self.current = None;
        let mut reply = Unmarshal::new(self.link.reader.body());
        // The rules let no reply through that is shorter than its header.
        let malformed = |_| RpcError::Protocol("its length is wrong".into());
        let (_, pid, status) =
            (reply.u64(), reply.u32().map_err(malformed)?, reply.u32().map_err(malformed)?);
        self.ran_in = pid;
        if status != 0 {
            return Err(RpcError::Remote(Fault::from_status(status)));
        }
        let result = unmarshal(&mut reply).map_err(malformed)?;
        reply.end().map_err(malformed)?;
        Ok(result)
    }

    /// Gives a call its id, and marshals it.
    fn begin(&mut self, procedure: u32, marshal: impl FnOnce(&mut Marshal) -> &mut Marshal) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.request.clear();
        marshal(self.request.u64(id).u32(procedure));
        self.current = Some(Call { id, procedure, sent: false });
        id
    }

    fn finish_sending(&mut self) -> Result<(), RpcError> {
        let Some(Call { id, procedure, sent: false }) = self.current else { return Ok(()) };
        let (len, max) = (self.request.bytes().len(), self.link.server.max_frame as usize);
        if len > max {
            self.current = None;
            let why = format!("a request of {len} bytes; the server takes up to {max}");
            return Err(RpcError::Transport(io::Error::new(ErrorKind::FileTooLarge, why)));
        }
        while let Err(e) = self.link.try_write(REQUEST, self.request.bytes()) {
            self.wait_or_fail(e, PollFlags::POLLOUT)?;
        }
        self.current = Some(Call { id, procedure, sent: true });
        self.in_flight.insert(id);
        self.sent += 1;
        Ok(())
    }

    /// The id of the next reply to a call that is in flight.
    fn receive(&mut self) -> Result<u64, RpcError> {
        loop {
            match self.link.try_read() {
                Ok(Some(REPLY)) => {
                    let id = Unmarshal::new(self.link.reader.body()).u64().unwrap_or(0);
                    if self.in_flight.remove(&id) {
                        return Ok(id);
                    }
                    self.discarded += 1;
                }
                Ok(Some(_)) => {
                    let executed = Unmarshal::new(self.link.reader.body()).u64().ok();
                    return Err(self.lost(executed));
                }
                Ok(None) => return Err(self.lost(None)),
                Err(e) => self.wait_or_fail(e, PollFlags::POLLIN)?,
            }
        }
    }

    /// Waits, if waiting helps against `e` and is wanted.
    fn wait_or_fail(&mut self, e: io::Error, until: PollFlags) -> Result<(), RpcError> {
        match e.kind() {
            ErrorKind::WouldBlock if !self.nonblocking => {
                self.link.connection.wait(until).map_err(RpcError::Transport)
            }
            ErrorKind::WouldBlock | ErrorKind::Interrupted => Err(RpcError::Transport(e)),
            ErrorKind::InvalidData => Err(RpcError::Protocol(e.to_string())),
            _ => {
                let executed = self.link.last_word();
                Err(self.lost(executed))
            }
        }
    }

    /// The server has gone; `executed` is how many of our calls it ran, if it was able to say so.
    fn lost(&mut self, executed: Option<u64>) -> RpcError {
        let call = self.current.take();
        let outcome = match (call, executed) {
            (None, _) => "no call was under way",
            // Half a request is no request: nobody runs it.
            (Some(Call { sent: false, .. }), _) => "the call did not run: it was not sent",
            (Some(_), Some(n)) if n < self.sent => "the call did not run: the server left before it",
            (Some(_), Some(_)) => "the call ran, but its result is lost",
            (Some(_), None) => "outcome unknown: the call may have run, or not",
        };
        let answered = self.sent - self.in_flight.len() as u64;
        let why = format!("the server has gone after {answered} calls; {outcome}");
        RpcError::Transport(io::Error::new(ErrorKind::ConnectionAborted, why))
    }

    /// Says goodbye, if it fits at once and not in the middle of a request. Nothing is to be waited for: the
    /// replies have said all there is to say. Whether it was sent.
    pub fn leave(&mut self) -> bool {
        if self.link.writer.is_inside_frame() {
            return false;
        }
        loop {
            // A goodbye that a signal swallows would look like a death.
            match self.link.try_write(GOODBYE, &self.sent.to_le_bytes()) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                said => return said.is_ok(),
            }
        }
    }

    /// Who the server is.
    pub fn peer(&self) -> &str {
        &self.link.connection.peer
    }

    /// In which process the last call ran.
    pub fn ran_in(&self) -> u32 {
        self.ran_in
    }

    /// Replies that belonged to no call in flight.
    pub fn discarded(&self) -> u64 {
        self.discarded
    }
}
