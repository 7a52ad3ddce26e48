//! `--unframed`: items into the stream, and nothing between them.

use anyhow::{Context, Result};
use common::{session::Session, source::Items};
use socket_demo::endpoint::Address;
use socket_demo::unframed::Sender;

/// Meets the consumer and writes all items.
pub fn run(address: Address, items: &mut Items, session: &mut Session) -> Result<()> {
    let mut sender = Sender::new(crate::meet(session, Sender::dial(address))?);
    let sent = write_all(items, session, &mut sender);
    let (items, writes) = (session.report.items(), sender.writes());
    session.report.extra("writes", writes);
    session
        .report
        .note(format!("{items} items in {writes} writes, and nothing in the stream says where one ends"));
    sent.with_context(|| format!("write to the consumer, after {items} items"))
}

/// The loop: every item is written, then the stream is ended.
fn write_all(items: &mut Items, session: &mut Session, sender: &mut Sender) -> Result<()> {
    let full = |_: &Sender| "socket full".to_owned();
    while let Some(item) = items.next(session)? {
        session.wait(sender, full, |_| Ok(()), |s, block| s.send(item, block))?;
        session.sent(item)?;
    }
    session.wait(sender, |_| "the consumer has not read all of it yet".into(), |_| Ok(()), Sender::finish)
}
