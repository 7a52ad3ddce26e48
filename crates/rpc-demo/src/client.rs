//! The client stub: methods that look like the service's, and send a message instead of running it.
//!
//! ```text
//!  client.divide(7, 2)
//!    1. marshal      call 3, DIVIDE, 7, 2 → bytes
//!    2. send         REQUEST ─────────────────────►
//!    3. wait         (the procedure runs in another process)
//!    4. receive      REPLY to call 3 ◄─────────────
//!    5. unmarshal    bytes → 3, or a Fault
//! ```
//!
//! Steps 2 to 4 are [`exchange`](crate::exchange)'s: the stub itself knows procedures and their arguments, and
//! nothing of connections.
//!
//! *Like a system call*, a method returns `Interrupted` when a signal comes, and `WouldBlock` if the client was
//! set non-blocking and the reply has not come. The call is then still under way: call the same method again
//! with the same arguments to go on with it.

use socket_demo::dial::{Dial, Hello, Link};
use socket_demo::endpoint::Address;
use socket_demo::frame::{GOODBYE, REPLY, Rules};

use crate::error::RpcError;
use crate::exchange::Exchange;
use crate::marshal::{Malformed, Marshal, Unmarshal};
use crate::message::{MAX_REPLY, PROTOCOL, REPLY_HEADER, ReplyHeader, VERSION};
use crate::retry::{Outcome, Terms};
use crate::service::{Counters, DIVIDE, Fault, PUT, Receipt, STATS, SUM};

/// Calls the procedures of a server.
#[derive(Debug)]
pub struct Client {
    /// What carries requests there and replies back.
    pub exchange: Exchange,
    ran_in: u32,
}

impl Client {
    /// Will connect to the server at `to`.
    pub fn dial(to: Address) -> Dial {
        let rules = Rules::new([(REPLY, REPLY_HEADER..=MAX_REPLY), (GOODBYE, 8..=8)]);
        Dial::new(to, Hello::new(PROTOCOL, VERSION, MAX_REPLY), rules)
    }

    /// On a connection that has been made. `stream` is a random number, by which a server knows this client
    /// again.
    pub fn new(link: Link, stream: u64, terms: Terms) -> Client {
        Client { exchange: Exchange::new(link, stream, terms), ran_in: 0 }
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
        if !self.exchange.is_under_way(procedure)? {
            marshal(self.exchange.begin(procedure));
        }
        read_reply(self.exchange.finish()?, &mut self.ran_in, unmarshal)
    }

    /// In which process the last call ran.
    pub fn ran_in(&self) -> u32 {
        self.ran_in
    }
}

/// Step 5, and in which process the call `ran_in`, if it ran.
pub(crate) fn read_reply<T>(
    reply: &[u8],
    ran_in: &mut u32,
    unmarshal: impl FnOnce(&mut Unmarshal<'_>) -> Result<T, Malformed>,
) -> Result<T, RpcError> {
    let mut reply = Unmarshal::new(reply);
    let malformed = |_| RpcError::Protocol("its length is wrong".into());
    let header = ReplyHeader::unmarshal(&mut reply).map_err(malformed)?;
    let fault = Fault::from_status(header.status);
    if header.status == 0 || fault.is_of_the_procedure() {
        *ran_in = header.pid;
    }
    match fault {
        _ if header.status == 0 => {}
        Fault::Forgotten => {
            let why = format!("the server answered: {fault}");
            return Err(RpcError::Unanswered(why, Outcome::Unknown));
        }
        fault => return Err(RpcError::Remote(fault)),
    }
    let result = unmarshal(&mut reply).map_err(malformed)?;
    reply.end().map_err(malformed)?;
    Ok(result)
}
