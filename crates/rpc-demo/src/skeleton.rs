//! The server stub (skeleton): takes requests, unmarshals, dispatches to the service, marshals the reply.
//!
//! ```text
//!  REQUEST call, procedure, arguments
//!     │ has it been run before?                   then the reply is at hand: see once.rs
//!     │ unmarshal                                 a message that is no request of ours:
//!     ▼ dispatch: which procedure is it?          refused here, the service never sees it
//!  service.divide(7, 2)      ◄── the function runs
//!     │ marshal
//!     ▼
//!  REPLY call, pid, status, result
//! ```
//!
//! *Guarantees.* Every request that came whole is answered once, those of one client in order. A call that says
//! *at most once* is not run again when it comes again; one that says *at least once* is. Bad arguments and
//! unknown procedures are answered with a fault; the connection stays.
//!
//! *Limits.* One request at a time, whoever it is from: the service needs no locks, and a slow procedure is
//! slow for all; also for a reply that is to be written together with that of the next request.

use std::io;
use std::time::Duration;

use socket_demo::consumer::{Consumer, Received};
use socket_demo::dial::Hello;
use socket_demo::endpoint::Address;
use socket_demo::frame::{GOODBYE, REPLY, REQUEST, Rules};
use socket_demo::listener::Listener;
use socket_demo::server::Server;

use crate::marshal::{Malformed, Marshal, Unmarshal};
use crate::message::{PROTOCOL, REQUEST_HEADER, ReplyHeader, RequestHeader, Semantics, VERSION};
use crate::once::{Known, Once};
use crate::service::{DIVIDE, Fault, PUT, STATS, SUM, Service};

/// What was done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It ran.
    Ran,
    /// It ran, for a client that has called another server before this one.
    TakenOver,
    /// It ran, and had run before: its client got no reply in time and asked for at least once.
    RanAgain,
    /// It had run before, and the same reply is sent again.
    Remembered,
    /// It did not run.
    Refused(Fault),
}

/// Receives calls and answers them.
#[derive(Debug)]
pub struct ServerStub {
    /// Requests are the items of a socket's consumer; what makes it RPC is that each is answered.
    requests: Consumer,
    once: Once,
    /// This process, asked once: getpid(2) is a system call each time.
    pid: u32,
    result: Marshal,
    reply: Marshal,
}

impl ServerStub {
    /// Listens at `address` for requests with up to `max_arguments` bytes of arguments.
    ///
    /// # Errors
    /// As [`Listener::open`].
    pub fn listen(address: &Address, max_arguments: usize) -> io::Result<ServerStub> {
        let longest = REQUEST_HEADER + max_arguments;
        let hello = Hello::new(PROTOCOL, VERSION, longest);
        let rules = Rules::new([(REQUEST, REQUEST_HEADER..=longest), (GOODBYE, 8..=8)]);
        let server = Server::new(Listener::open(address)?, hello, rules)?;
        let (result, reply) = (Marshal::default(), Marshal::default());
        let (once, pid) = (Once::default(), std::process::id());
        Ok(ServerStub { requests: Consumer::new(server), once, pid, result, reply })
    }

    /// Sets within what time a request that has begun must be there as a whole.
    pub fn frame_deadline(&mut self, deadline: Duration) {
        self.requests.frame_deadline(deadline);
    }

    /// How many clients are connected.
    pub fn clients(&self) -> usize {
        self.requests.producers()
    }

    /// Waits for the first client; see [`Consumer::meet`].
    ///
    /// # Errors
    /// `WouldBlock`, or, if `block`, `Interrupted`.
    pub fn meet(&mut self, block: bool) -> io::Result<Option<String>> {
        self.requests.meet(block)
    }

    /// The next request: [`Received::Item`] is one, to be run by [`ServerStub::run`]. With `block`, waits for
    /// it.
    ///
    /// # Errors
    /// `WouldBlock`, or, if `block`, `Interrupted`.
    pub fn receive(&mut self, block: bool) -> io::Result<Received> {
        if block { self.requests.receive() } else { self.requests.try_receive() }
    }

    /// The header of the request that was received last.
    pub fn request(&self) -> RequestHeader {
        // The rules let no request through that is shorter than its header.
        RequestHeader::unmarshal(&mut Unmarshal::new(self.requests.item())).unwrap_or_default()
    }

    /// Runs the request that was received last, unless it has run already and is not to run twice. The reply
    /// is then ready for [`ServerStub::answer`].
    pub fn run(&mut self, service: &mut impl Service) -> Done {
        let request = self.request();
        let run_twice = match Semantics::from_number(request.semantics) {
            Some(semantics) => semantics == Semantics::AtLeastOnce,
            None => return self.refuse(&request, Fault::BadArguments),
        };
        let done = match self.once.look_up(&request) {
            Known::Ran(_) if run_twice => Done::RanAgain,
            Known::Ran(Some(reply)) => {
                self.reply.clear();
                self.reply.raw(reply);
                return Done::Remembered;
            }
            Known::Ran(None) | Known::Unknown if !run_twice => {
                return self.refuse(&request, Fault::Forgotten);
            }
            _ if self.once.is_heir(&request) => Done::TakenOver,
            _ => Done::Ran,
        };
        let mut args = Unmarshal::new(&self.requests.item()[REQUEST_HEADER..]);
        self.result.clear();
        let status = match dispatch(service, request.procedure, &mut args, &mut self.result) {
            Ok(()) => 0,
            Err(fault) if fault.is_of_the_procedure() => fault.status(),
            Err(fault) => return self.refuse(&request, fault),
        };
        self.make_reply(&request, status);
        self.once.remember(&request, self.reply.bytes());
        done
    }

    fn refuse(&mut self, request: &RequestHeader, fault: Fault) -> Done {
        self.result.clear();
        self.make_reply(request, fault.status());
        Done::Refused(fault)
    }

    fn make_reply(&mut self, request: &RequestHeader, status: u32) {
        self.reply.clear();
        let header = ReplyHeader { call: request.call, pid: self.pid, status };
        header.marshal(&mut self.reply).raw(self.result.bytes());
    }

    /// Sends the reply that [`ServerStub::run`] has made ready; together with others, if more requests were read with
    /// this one.
    pub fn answer(&mut self) {
        self.requests.answer_soon(REPLY, self.reply.bytes());
    }

    /// The bodies of the request that was received last and of its reply.
    pub fn last(&self) -> (&[u8], &[u8]) {
        (self.requests.item(), self.reply.bytes())
    }

    /// Leaves: tells every client, if it can be told at once, how many of its calls were run.
    pub fn leave(&mut self) {
        self.requests.leave();
    }
}

/// Calls the procedure that a request names with the arguments that it holds.
fn dispatch(
    service: &mut impl Service,
    procedure: u32,
    args: &mut Unmarshal<'_>,
    result: &mut Marshal,
) -> Result<(), Fault> {
    match procedure {
        PUT => {
            let item = args.raw();
            result.receipt(&service.put(item));
        }
        SUM => {
            let numbers = args.i64s()?;
            args.end()?;
            result.i64(service.sum(&numbers)?);
        }
        STATS => {
            args.end()?;
            result.counters(&service.stats());
        }
        DIVIDE => {
            let (dividend, divisor) = (args.i64()?, args.i64()?);
            args.end()?;
            result.i64(service.divide(dividend, divisor)?);
        }
        _ => return Err(Fault::UnknownProcedure),
    }
    Ok(())
}

impl From<Malformed> for Fault {
    fn from(_: Malformed) -> Fault {
        Fault::BadArguments
    }
}
