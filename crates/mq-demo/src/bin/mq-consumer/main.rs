//! Receives items from a message queue.

mod flags;

use std::process::ExitCode;

use anyhow::{Context, Result};
use common::{args, place::Place, session::Session};
use mq_demo::receiver::Receiver;
use mq_demo::registry::Api;

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
        let mut end = (queue, session.start_hint());
        let received = receive_all(session, &mut end, args.consumer.forever);
        let left = end.0.leave();
        session.report.shared(end.0.is_shared());
        if let Ok(Some(left)) = &left {
            session.report.note(format!("{left} for the next consumer, or remove it with: {}", left.remove));
        }
        received.and(left.map(drop).context("leave the message queue"))
    })
}

/// The loop: receives items until the end of the stream, or of each.
fn receive_all(session: &mut Session, end: &mut (Receiver, String), forever: bool) -> Result<()> {
    loop {
        session.meet(|_| end.0.open())?;
        while let Some(kind) = session.wait(
            end,
            empty,
            |e| e.0.look(),
            |e, block| if block { e.0.receive() } else { e.0.try_receive() },
        )? {
            // Types and priorities overtake each other; within each the order is kept.
            if !session.received(kind as u64, end.0.message())? {
                return Ok(());
            }
        }
        if !forever {
            return Ok(());
        }
    }
}

fn empty((queue, hint): &(Receiver, String)) -> String {
    let gauge = queue.gauge();
    match queue.producers() {
        0 => format!("{gauge} and no producer attached (start one with: {hint})"),
        _ => gauge,
    }
}
