//! Sends items into a message queue.

mod direct;
mod flags;
mod limits;
mod rendezvous;
mod structs;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use common::item::HEADER;
use common::{args, exit::Stopped, place::Place, session::Session, source::Items};
use mq_demo::registry::Api;
use mq_demo::sender::{Sender, Shape};
use mq_demo::structs::LONGEST;

use crate::flags::Args;
use crate::rendezvous::HeldTimes;

fn main() -> ExitCode {
    let args: Args = args::parse();
    if args.limits {
        return limits::print();
    }
    Session::producer("mq", args.api.name(), &args.producer, |session| {
        let kinds = args.kinds()?;
        if args.api == Api::Posix {
            session.other_side_needs("--api posix");
        }
        let mut items = Items::new(&args.producer, session)?;
        let channel = Place::open()?.channel(&args.producer.both.name, "mq");
        let size = if args.structs { HEADER + LONGEST } else { items.longest() };
        let shape = Shape { api: args.api, capacity: args.capacity, size, structs: args.structs };
        let queue = Sender::create(channel, &shape).context("make the message queue")?;
        session.watch(queue.watch()?);
        let mut end = End { queue, hint: session.start_hint() };
        let mut held = args.rendezvous.then(HeldTimes::new);
        let sent = send_all(&args, &mut items, &kinds, &mut held, session, &mut end);
        if let Some(held) = held {
            held.report(session);
        }
        // Ctrl-C is a goodbye too: all that was sent is in the queue. A failure is none.
        let left = match &sent {
            Ok(()) => end.queue.finish(),
            Err(e) if e.is::<Stopped>() => end.queue.stop(),
            Err(_) => end.queue.fail(),
        };
        if let Ok(Some(left)) = &left {
            session.report.note(format!("{left}; take what is there with: {}", end.hint));
            session.report.note(format!("or remove it with: {}", left.remove));
        }
        sent.and(left.map(drop).context("leave the message queue"))
    })
}

/// The queue, and how to start a consumer.
pub struct End {
    queue: Sender,
    hint: String,
}

/// The loop: every item is sent, with the next type or priority.
fn send_all(
    args: &Args,
    items: &mut Items,
    kinds: &[i64],
    held: &mut Option<HeldTimes>,
    session: &mut Session,
    end: &mut End,
) -> Result<()> {
    if held.is_some() {
        end.queue.want_receipts().context("make the queue for receipts")?;
    }
    if let Some(pid) = args.to {
        direct::meet(pid, session, end)?;
    }
    let mut kinds = kinds.iter().cycle();
    while let Some(item) = items.next(session)? {
        let kind = *kinds.next().expect("it goes round");
        let filled = args.structs.then(|| structs::fill(kind, item));
        let item = filled.as_ref().map_or(item, |(bytes, _)| bytes);
        let since = Instant::now();
        session.wait(
            end,
            full,
            |e| e.queue.look(),
            |e, block| if block { e.queue.send(kind, item) } else { e.queue.try_send(kind, item) },
        )?;
        if let Some((_, one)) = &filled {
            session.report.remark(|| one.to_string());
        }
        session.sent(item)?;
        if let Some(held) = held {
            held.hold(item, since, session, end)?;
        }
    }
    Ok(())
}

fn full(end: &End) -> String {
    let gauge = end.queue.gauge();
    match end.queue.consumers() {
        0 => format!("queue full {gauge} and no consumer attached (start one with: {})", end.hint),
        _ => format!("queue full {gauge}"),
    }
}
