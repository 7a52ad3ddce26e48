//! `--ack-window W`: never more than W items ahead of what the consumer has acknowledged.

use anyhow::{Context, Result};
use common::{session::Session, source::Items};
use socket_demo::endpoint::Address;
use socket_demo::window_producer::WindowProducer;

/// Meets the consumer and sends all items; whatever becomes of that, says which of them are unknown.
pub fn run(window: u32, address: Address, items: &mut Items, session: &mut Session) -> Result<()> {
    let link = crate::meet(session, WindowProducer::dial(address, window))?;
    let mut producer = WindowProducer::new(link, window);
    let checked = producer.check(items.longest()).map_err(Into::into);
    let sent = checked.and_then(|()| send_all(items, session, &mut producer));
    if session.stopped().is_some() || producer.sent() == 0 {
        producer.leave();
    }
    let report = &mut session.report;
    report.extra("window", producer.window().size());
    report.extra("window_full", producer.times_full());
    report.extra("acknowledged", producer.window().acknowledged());
    let unknown = producer.unknown();
    report.extra("unknown", unknown.end - unknown.start);
    if !unknown.is_empty() {
        report.extra("unknown_first", unknown.start);
        report.extra("unknown_last", unknown.end - 1);
    }
    if session.stopped().is_some() && !unknown.is_empty() {
        session.report.note(producer.unanswered());
    }
    sent.with_context(|| format!("send to {}", producer.peer()))
}

/// The loop of the plain producer; only what it waits for is another thing.
fn send_all(items: &mut Items, session: &mut Session, producer: &mut WindowProducer) -> Result<()> {
    while let Some(item) = items.next(session)? {
        session.wait(
            producer,
            |p| p.full(),
            |_| Ok(()),
            |p, block| if block { p.send(item) } else { p.try_send(item) },
        )?;
        session.sent(item)?;
    }
    session.wait(
        producer,
        |p| p.unanswered(),
        |_| Ok(()),
        |p, block| if block { p.finish() } else { p.try_finish() },
    )
}
