//! Sends items into a message queue.

mod flags;

use std::ffi::c_long;
use std::process::ExitCode;

use anyhow::{Context, Result};
use common::{args, exit::Stopped, place::Place, session::Session, source::Items};
use mq_demo::registry::Api;
use mq_demo::sender::{Sender, Shape};

use crate::flags::Args;

fn main() -> ExitCode {
    let args: Args = args::parse();
    Session::producer("mq", args.api.name(), &args.producer, |session| {
        let kinds = args.kinds()?;
        if args.api == Api::Posix {
            session.other_side_needs("--api posix");
        }
        let mut items = Items::new(&args.producer, session)?;
        let channel = Place::open()?.channel(&args.producer.both.name, "mq");
        let shape = Shape { api: args.api, capacity: args.capacity, size: items.longest() };
        let queue = Sender::create(channel, &shape).context("make the message queue")?;
        session.watch(queue.watch()?);
        let mut end = (queue, session.start_hint());
        let sent = send_all(&mut items, kinds, session, &mut end);
        // Ctrl-C is a goodbye too: all that was sent is in the queue. A failure is none.
        let left = match &sent {
            Ok(()) => end.0.finish(),
            Err(e) if e.is::<Stopped>() => end.0.stop(),
            Err(_) => end.0.fail(),
        };
        if let Ok(Some(left)) = &left {
            session.report.note(format!("{left}; take what is there with: {}", end.1));
            session.report.note(format!("or remove it with: {}", left.remove));
        }
        sent.and(left.map(drop).context("leave the message queue"))
    })
}

/// The loop: every item is sent, with the next type or priority.
fn send_all(
    items: &mut Items,
    kinds: &[c_long],
    session: &mut Session,
    end: &mut (Sender, String),
) -> Result<()> {
    let mut kinds = kinds.iter().cycle();
    while let Some(item) = items.next(session)? {
        let kind = *kinds.next().expect("it goes round");
        session.wait(
            end,
            full,
            |e| e.0.look(),
            |e, block| if block { e.0.send(kind, item) } else { e.0.try_send(kind, item) },
        )?;
        session.sent(item)?;
    }
    Ok(())
}

fn full((queue, hint): &(Sender, String)) -> String {
    let gauge = queue.gauge();
    match queue.consumers() {
        0 => format!("queue full {gauge} and no consumer attached (start one with: {hint})"),
        _ => format!("queue full {gauge}"),
    }
}
