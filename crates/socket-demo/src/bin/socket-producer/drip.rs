//! `--drip`: every frame byte by byte.

use std::time::Duration;

use anyhow::Result;
use common::{session::Session, source::Items};
use socket_demo::producer::Producer;

/// The loop of the plain producer, with a pause after each byte. An item counts as sent with its last.
pub fn send_all(
    pause: Duration,
    items: &mut Items,
    session: &mut Session,
    producer: &mut Producer,
) -> Result<()> {
    while let Some(item) = items.next(session)? {
        while !session.wait(
            producer,
            |_| "socket full".to_owned(),
            |_| Ok(()),
            |p, block| p.drip(item, block),
        )? {
            session.sleep(pause)?;
        }
        session.sent(item)?;
    }
    crate::finish(session, producer)
}
