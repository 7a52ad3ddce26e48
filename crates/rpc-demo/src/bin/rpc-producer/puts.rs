//! Several puts under way, until each has its receipt: waits for the replies, and sends again where that was asked for.

use std::io::{self, ErrorKind};
use std::time::Duration;

use anyhow::Result;
use common::session::Session;
use rpc_demo::pipeline::{Answer, Pipeline};
use rpc_demo::retry::Terms;
use rpc_demo::service::Receipt;
use socket_demo::dial::{Dial, Link};

use crate::flags::Args;
use crate::meet;

/// Puts, and puts again.
pub struct Puts {
    pub pipeline: Pipeline,
    dial: Dial,
    terms: Terms,
    retries: u64,
    ran_in: u32,
}

impl Puts {
    /// Puts over `link`, and over others that `dial` makes when that is lost.
    pub fn new(args: &Args, (dial, link): (Dial, Link), stream: u64) -> Puts {
        let terms = args.terms();
        let pipeline = Pipeline::new(link, stream, terms, args.in_flight);
        Puts { pipeline, dial, terms, retries: 0, ran_in: 0 }
    }

    /// Waits for all receipts.
    pub fn receive_all(&mut self, session: &mut Session) -> Result<()> {
        while self.pipeline.in_flight() > 0 {
            self.receive(session)?;
        }
        Ok(())
    }

    /// Waits for the next receipt, and sends again the calls that get none, where that was asked for.
    pub fn receive(&mut self, session: &mut Session) -> Result<()> {
        let mut received = self.once(session);
        while let Err(e) = &received
            && let Some(calls) = self.pipeline.again()
        {
            self.retries += calls as u64;
            let (of, semantics) = (self.terms.retries, self.terms.semantics);
            session.warn("retry", || format!("{calls} calls, each up to {of} times, {semantics}: {e:#}"));
            let sent = if !self.pipeline.is_broken() {
                self.pipeline.resend()
            } else if let Some(link) = meet::again(session, &mut self.dial, self.terms.until())? {
                self.pipeline.reconnected(link)
            } else {
                continue;
            };
            sent.map_err(io::Error::from)?;
            received = self.once(session);
        }
        self.check(session, &received?)
    }

    fn once(&mut self, session: &mut Session) -> Result<Answer<Receipt>> {
        let unanswered = |p: &Pipeline| format!("no reply yet from {} to {} calls", p.peer(), p.in_flight());
        session.wait(
            &mut self.pipeline,
            unanswered,
            |_| Ok(()),
            |pipeline, block| Ok(pipeline.receive(block, |result| result.receipt())?),
        )
    }

    fn check(&mut self, session: &mut Session, answer: &Answer<Receipt>) -> Result<()> {
        let (item, receipt) = (answer.arguments(), answer.result);
        if receipt.bytes != item.len() as u64 {
            let why = format!("{receipt:?} for an item of {} bytes", item.len());
            return Err(io::Error::new(ErrorKind::InvalidData, why).into());
        }
        self.ran_in = answer.ran_in;
        session.report.remark(|| format!("ran in process {}", answer.ran_in));
        session.sent(item)
    }

    /// Says goodbye, and takes in the replies that are on their way; when a signal hurries us, for a moment only.
    pub fn leave(&mut self, session: &mut Session) -> Result<()> {
        if !self.pipeline.leave() {
            return Ok(());
        }
        if session.stopped().is_none() {
            let busy = |p: &Pipeline| format!("{} has still to answer what was sent", p.peer());
            return session.wait(&mut self.pipeline, busy, |_| Ok(()), Pipeline::drain);
        }
        let waited = (0..40).take_while(|_| self.pipeline.drain(false).is_err());
        waited.for_each(|_| std::thread::sleep(Duration::from_millis(5)));
        Ok(())
    }

    /// What there is to be told at the end.
    pub fn report(&self, session: &mut Session) {
        let (retries, late) = (self.retries, self.pipeline.late_replies());
        session.report.extra("retries", retries);
        session.report.extra("late_replies", late);
        session.report.extra("ran_in", self.ran_in);
        if retries > 0 {
            session.report.note(format!("retries {retries}, late replies thrown away {late}"));
        }
        let abandoned = self.pipeline.abandoned();
        if abandoned > 0 {
            let hint =
                if self.terms.retries == 0 { "; to send them again: --deadline 1s --retries 3" } else { "" };
            session.report.note(format!("{abandoned} calls under way got no reply{hint}"));
        }
    }
}
