//! The server stub (skeleton): takes requests, unmarshals, dispatches to the service, marshals the reply.
//!
//! ```text
//!  REQUEST id, procedure, arguments
//!     │ unmarshal                                 a message that is no request of ours:
//!     ▼ dispatch: which procedure is it?          refused here, the service never sees it
//!  service.divide(7, 2)      ◄── the function runs
//!     │ marshal
//!     ▼
//!  REPLY id, pid, status, result
//! ```
//!
//! *Guarantees.* Every request that came whole is run once and answered once, those of one client in order.
//! Bad arguments and unknown procedures are answered with a fault; the connection stays.
//!
//! *Limits.* One request at a time, whoever it is from: the service needs no locks, and a slow procedure is
//! slow for all.

use std::io;

use socket_demo::consumer::{Consumer, Received};
use socket_demo::dial::Hello;
use socket_demo::endpoint::Address;
use socket_demo::frame::{GOODBYE, REPLY, REQUEST, Rules};
use socket_demo::listener::Listener;
use socket_demo::server::Server;

use crate::marshal::{Malformed, Marshal, Unmarshal};
use crate::service::{DIVIDE, Fault, PROTOCOL, PUT, REQUEST_HEADER, STATS, SUM, Service, VERSION};

/// Receives calls and answers them.
#[derive(Debug)]
pub struct ServerStub {
    /// Requests are the items of a socket's consumer; what makes it RPC is that each is answered.
    requests: Consumer,
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
        let server = Server::new(Listener::open(address)?, hello, rules);
        let (result, reply) = (Marshal::default(), Marshal::default());
        Ok(ServerStub { requests: Consumer::new(server), result, reply })
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

    /// Runs the request that was received last, and sends the reply.
    pub fn run(&mut self, service: &mut impl Service) {
        let mut request = Unmarshal::new(self.requests.item());
        // The rules let no request through that is shorter than its header.
        let (Ok(id), Ok(procedure)) = (request.u64(), request.u32()) else { return };
        self.result.clear();
        let status = match dispatch(service, procedure, &mut request, &mut self.result) {
            Ok(()) => 0,
            Err(fault) => {
                self.result.clear();
                fault.status()
            }
        };
        self.reply.clear();
        self.reply.u64(id).u32(std::process::id()).u32(status).raw(self.result.bytes());
        self.requests.answer(REPLY, self.reply.bytes());
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
