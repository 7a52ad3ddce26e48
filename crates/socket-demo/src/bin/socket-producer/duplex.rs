//! `--duplex`: each item comes back over the connection that it went by.

use std::time::Instant;

use anyhow::Result;
use common::{session::Session, source::Items};
use socket_demo::duplex::DuplexProducer;
use socket_demo::producer::Producer;

/// Sends all items, each when the one before has come back.
pub fn send_all(items: &mut Items, session: &mut Session, producer: &mut Producer) -> Result<()> {
    let mut duplex = DuplexProducer::new(producer);
    let sent = send_each(items, session, &mut duplex);
    let answered = duplex.answered();
    session.report.extra("answered", answered);
    if sent.is_err() {
        session.report.note(format!("{answered} items have come back"));
    }
    sent?;
    crate::finish(session, producer)
}

fn send_each(items: &mut Items, session: &mut Session, duplex: &mut DuplexProducer<'_>) -> Result<()> {
    let full = |_: &DuplexProducer<'_>| "socket full".to_owned();
    let unanswered = |d: &DuplexProducer<'_>| format!("#{} has not come back yet", d.answered());
    while let Some(item) = items.next(session)? {
        let since = Instant::now();
        session.wait(duplex, full, |_| Ok(()), |d, block| d.send(item, block))?;
        session.sent(item)?;
        session.wait(duplex, unanswered, |_| Ok(()), |d, block| d.answer(item, block))?;
        let number = duplex.answered() - 1;
        session.line(format_args!("#{number} came back  after {:.1?}", since.elapsed()));
    }
    Ok(())
}
