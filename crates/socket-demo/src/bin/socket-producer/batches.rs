//! The loop: every item is sent, at once or together with others, then the goodbye.

use std::io;

use anyhow::Result;
use common::{session::Session, source::Items};
use socket_demo::batch::{BatchProducer, ENOUGH};
use socket_demo::producer::Producer;

use crate::flags::Args;

/// Sends all items, and counts those that the socket has.
pub fn send_all(
    args: &Args,
    items: &mut Items,
    session: &mut Session,
    producer: &mut Producer,
) -> Result<()> {
    let mut batch = BatchProducer::new(producer, if args.unbatched { 0 } else { ENOUGH });
    let sent = send_each(items, session, &mut batch);
    if session.stopped().is_some() {
        // What has been gathered goes before the goodbye, if the socket can take it at once.
        let _ = batch.flush(false);
    }
    let reported = session.handed_over(batch.waiting());
    let (items, writes) = (session.report.items(), batch.writes());
    session.report.extra("writes", writes);
    if writes * 10 <= items {
        session.report.note(format!(
            "{items} items in {writes} writes: items that nobody waits for travel together (each by itself: --unbatched)"
        ));
    }
    sent.and(reported)?;
    crate::finish(session, producer)
}

fn send_each(items: &mut Items, session: &mut Session, batch: &mut BatchProducer<'_>) -> Result<()> {
    while let Some(item) = next(items, session, batch)? {
        wait(session, batch, |batch, block| batch.send(item, block))?;
        session.gathered(item, batch.waiting())?;
    }
    Ok(())
}

/// The next item. Nothing stays gathered while it is waited for, nor if none comes.
fn next<'a>(
    items: &'a mut Items,
    session: &mut Session,
    batch: &mut BatchProducer<'_>,
) -> Result<Option<&'a [u8]>> {
    if items.may_pause() {
        flush(session, batch)?;
    }
    let item = items.next(session);
    if !matches!(item, Ok(Some(_))) {
        flush(session, batch)?;
    }
    item
}

fn flush(session: &mut Session, batch: &mut BatchProducer<'_>) -> Result<()> {
    wait(session, batch, BatchProducer::flush)?;
    session.handed_over(batch.waiting())
}

fn wait<'a>(
    session: &mut Session,
    batch: &mut BatchProducer<'a>,
    op: impl FnMut(&mut BatchProducer<'a>, bool) -> io::Result<()>,
) -> Result<()> {
    session.wait(batch, |_| "socket full".to_owned(), |_| Ok(()), op)
}
