//! `--transport udp`: datagrams.

use std::time::Duration;

use anyhow::{Context, Result};
use common::{session::Session, source::Items};
use socket_demo::endpoint::inet;
use socket_demo::protocol::TCP_ADDRESS;
use socket_demo::udp_producer::UdpProducer;

use crate::flags::Args;

/// Meets the consumer, sends all items, and hears how many of them have come.
pub fn run(args: &Args, session: &mut Session) -> Result<()> {
    let to = inet(args.addr.as_deref().unwrap_or(TCP_ADDRESS))?;
    let mut items = Items::new(&args.producer, session)?;
    let mut producer = UdpProducer::new(to, items.stream())?;
    producer.check(items.longest())?;
    // A question, and a moment for its answer, before it is said that nobody is there.
    if producer.meet(false).is_err() {
        session.sleep(Duration::from_millis(5))?;
    }
    session.meet(|block| producer.meet(block))?;
    let sent = send_all(&mut items, session, &mut producer);
    if session.stopped().is_some() {
        producer.leave();
    }
    sent.with_context(|| format!("send to {to}"))
}

/// The loop. What is "full" here is our own buffer: the consumer's is not known, and overflows.
fn send_all(items: &mut Items, session: &mut Session, producer: &mut UdpProducer) -> Result<()> {
    let full = |_: &UdpProducer| "our own buffer is full".to_owned();
    while let Some(item) = items.next(session)? {
        session.wait(producer, full, |_| Ok(()), |p, block| p.send(item, block))?;
        session.sent(item)?;
    }
    let unanswered = |p: &UdpProducer| format!("the goodbye after {} items is not answered yet", p.sent());
    session.wait(producer, unanswered, |_| Ok(()), UdpProducer::finish)
}
