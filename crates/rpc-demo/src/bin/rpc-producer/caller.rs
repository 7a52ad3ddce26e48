//! One call, until it has a result: waits for the reply, and sends the call again where that was asked for.

use std::fmt::Display;

use anyhow::Result;
use common::session::Session;
use rpc_demo::client::Client;
use rpc_demo::error::RpcError;
use rpc_demo::retry::{Outcome, Terms};
use socket_demo::dial::{Dial, Link};

use crate::flags::Args;
use crate::{meet, trace};

/// Calls, and calls again.
pub struct Caller {
    pub client: Client,
    dial: Dial,
    terms: Terms,
    trace: bool,
    retries: u64,
}

impl Caller {
    /// Calls over `link`, and over others that `dial` makes when that is lost.
    pub fn new(args: &Args, (dial, link): (Dial, Link), stream: u64) -> Caller {
        let terms = args.terms();
        Caller { client: Client::new(link, stream, terms), dial, terms, trace: args.trace, retries: 0 }
    }

    /// Makes a call (`what` says which) until it has a result, or cannot have one.
    pub fn call<T: Display>(
        &mut self,
        session: &mut Session,
        what: &dyn Display,
        call: impl Fn(&mut Client) -> Result<T, RpcError>,
    ) -> Result<T> {
        let mut result = self.once(session, what, &call);
        let mut retried = 0;
        while let (Err(e), Some(outcome)) = (&result, self.client.exchange.outcome()) {
            if !self.terms.again(outcome, retried) {
                break;
            }
            retried += 1;
            self.retries += 1;
            let of = self.terms.retries;
            let semantics = self.terms.semantics;
            session.warn("retry", || format!("{retried} of {of}, {semantics}: {what}: {e:#}"));
            if self.client.exchange.is_broken() {
                match meet::again(session, &mut self.dial, self.terms.until())? {
                    Some(link) => self.client.exchange.reconnected(link),
                    None => continue,
                }
            }
            self.client.exchange.again();
            result = self.once(session, what, &call);
        }
        if let (Err(_), Some(outcome), 0) = (&result, self.client.exchange.outcome(), self.terms.retries)
            && outcome != Outcome::Ran
        {
            let call = if outcome == Outcome::DidNotRun { "did not run" } else { "got no reply" };
            session.report.note(format!("a call that {call} can be sent again: --deadline 1s --retries 3"));
        }
        result
    }

    /// Sends a call, and waits for its reply until its deadline.
    fn once<T: Display>(
        &mut self,
        session: &mut Session,
        what: &dyn Display,
        call: impl Fn(&mut Client) -> Result<T, RpcError>,
    ) -> Result<T> {
        let unanswered = |c: &Client| format!("no reply yet from {}", c.exchange.peer());
        let mut first = self.trace.then(|| trace::send(session, &mut self.client, what, &call));
        let result = session.wait(
            &mut self.client,
            unanswered,
            |_| Ok(()),
            |client, block| {
                client.exchange.set_nonblocking(!block);
                Ok(first.take().unwrap_or_else(|| call(client))?)
            },
        );
        if self.trace {
            trace::returned(session, &self.client, &result);
        }
        result
    }

    /// Says goodbye; with calls sent again there may be replies on their way, which are waited for.
    pub fn leave(&mut self, session: &mut Session) -> Result<()> {
        if self.client.exchange.leave() && session.stopped().is_none() {
            let busy = |c: &Client| format!("{} has still to answer what was sent again", c.exchange.peer());
            session.wait(
                &mut self.client,
                busy,
                |_| Ok(()),
                |client, block| {
                    client.exchange.set_nonblocking(!block);
                    client.exchange.drain()
                },
            )?;
        }
        Ok(())
    }

    /// What there is to be told at the end.
    pub fn report(&self, session: &mut Session) {
        let (retries, late) = (self.retries, self.client.exchange.late_replies());
        session.report.extra("retries", retries);
        session.report.extra("late_replies", late);
        session.report.extra("ran_in", self.client.ran_in());
        if retries > 0 {
            session.report.note(format!("retries {retries}, late replies thrown away {late}"));
        }
    }
}
