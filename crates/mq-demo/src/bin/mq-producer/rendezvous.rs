//! `--rendezvous`: the blocking send of the textbooks, which ends when the receiver has the message.

use std::time::{Duration, Instant};

use anyhow::Result;
use common::item::Header;
use common::session::Session;
use hdrhistogram::Histogram;
use serde_json::json;

use crate::End;

/// How long each item was held.
#[derive(Debug)]
pub struct HeldTimes(Histogram<u64>);

impl HeldTimes {
    /// None yet.
    pub fn new() -> HeldTimes {
        // Up to an hour at three digits: some tens of KiB, however long the run.
        HeldTimes(Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("valid bounds"))
    }

    /// Waits until the item, which was sent `since`, has been received.
    pub fn hold(&mut self, item: &[u8], since: Instant, session: &mut Session, end: &mut End) -> Result<()> {
        end.queue.expect(Header::parse(item.first_chunk().expect("an encoded item")).seq);
        session.wait(
            end,
            |e| match e.queue.consumers() {
                0 => format!("{} and no consumer attached (start one with: {})", e.queue.held_why(), e.hint),
                _ => e.queue.held_why(),
            },
            |e| e.queue.look(),
            |e, block| e.queue.held(block),
        )?;
        let held = since.elapsed();
        self.0.saturating_record(held.as_nanos() as u64);
        session.line(format_args!("held {held:.1?} until it was received"));
        Ok(())
    }

    /// What the summary says of all of them.
    pub fn report(&self, session: &mut Session) {
        let at = |q| self.0.value_at_quantile(q);
        session.report.extra("held_ns", json!({"p50": at(0.5), "p99": at(0.99), "max": at(1.0)}));
        if !self.0.is_empty() {
            let [p50, p99, max] = [0.5, 0.99, 1.0].map(|q| Duration::from_nanos(at(q)));
            session.report.note(format!("held p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?}"));
        }
    }
}
