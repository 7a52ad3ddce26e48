//! Receives items from a message queue.

mod flags;
mod remarks;

use std::process::ExitCode;

use anyhow::{Context, Result};
use common::{args, place::Place, session::Session};
use mq_demo::receiver::Receiver;
use mq_demo::registry::Api;
use mq_demo::rendezvous::Receipt;
use mq_demo::rendezvous::Receipts;

use crate::flags::Args;

fn main() -> ExitCode {
    let args: Args = args::parse();
    Session::consumer("mq", args.api.name(), &args.consumer, |session| {
        let select = args.select()?;
        if args.api == Api::Posix {
            session.other_side_needs("--api posix");
        }
        let channel = Place::open()?.channel(&args.consumer.both.name, "mq");
        let queue = Receiver::attach(channel, args.api, select).context("attach to the message queue")?;
        session.watch(queue.watch()?);
        if args.direct {
            let pid = std::process::id();
            session.other_side_needs(format!("--to {pid}"));
            session.say(&format!("process {pid} takes what is sent to it, by: {}", session.start_hint()));
        }
        let mut end = End { receipts: queue.receipts(), queue, hint: session.start_hint() };
        let received = receive_all(session, &mut end, args.consumer.forever);
        let left = end.queue.leave();
        session.report.shared(end.queue.is_shared());
        if let Ok(Some(left)) = &left {
            session.report.note(format!("{left} for the next consumer, or remove it with: {}", left.remove));
        }
        received.and(left.map(drop).context("leave the message queue"))
    })
}

/// The queue; the way back to producers that wait for receipts; how to start a producer.
pub struct End {
    queue: Receiver,
    receipts: Receipts,
    hint: String,
}

/// The loop: receives items until the end of the stream, or of each.
fn receive_all(session: &mut Session, end: &mut End, forever: bool) -> Result<()> {
    loop {
        session.meet(|_| end.queue.open())?;
        while let Some(kind) = session.wait(
            end,
            empty,
            |e| e.queue.look(),
            |e, block| if block { e.queue.receive() } else { e.queue.try_receive() },
        )? {
            remarks::receipt(Receipt::Taken, end);
            remarks::remark(kind, session, end);
            // Types and priorities overtake each other; within each the order is kept.
            let more_wanted = session.received(kind as u64, end.queue.message());
            remarks::receipt(Receipt::Received, end);
            if !more_wanted? {
                return Ok(());
            }
        }
        if !forever {
            return Ok(());
        }
    }
}

fn empty(end: &End) -> String {
    let gauge = end.queue.gauge();
    match end.queue.producers() {
        0 => format!("{gauge} and no producer attached (start one with: {})", end.hint),
        _ => gauge,
    }
}
