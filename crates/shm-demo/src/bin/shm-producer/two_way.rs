//! `--duplex`: the reply that comes back for every item through the second ring.

use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

use anyhow::{Context, Result};
use common::item::{self, Header};
use common::session::Session;

use crate::End;

/// Waits for the reply to the item that was pushed last.
pub fn read_reply(session: &mut Session, end: &mut End, item: &[u8]) -> Result<()> {
    let asked = Header::parse(item.first_chunk().expect("an encoded item"));
    let bytes = session
        .wait(end, End::why_no_reply, End::look, |end, block| end.reply(&asked, block))
        .context("read the reply")?;
    session.line(format_args!("reply: {bytes} B came  after {}", Since(asked.sent_ns)));
    Ok(())
}

impl End {
    /// Pushes an item.
    pub fn push(&mut self, item: &[u8], block: bool) -> io::Result<()> {
        let pushed = self.buffer.push(item, block);
        if let (Err(e), Some(replies)) = (&pushed, &mut self.replies)
            && e.kind() == ErrorKind::WouldBlock
        {
            // A reply to an item that is not there yet is none: somebody may need its slot, to be done with an item
            // whose slot we need.
            while let Ok(true) = replies.pop(false) {}
        }
        pushed
    }

    /// Pops the reply to an item: how many bytes came.
    fn reply(&mut self, asked: &Header, block: bool) -> io::Result<u64> {
        let wrong = |what| Err(io::Error::new(ErrorKind::InvalidData, what));
        let replies = self.replies.as_mut().ok_or(ErrorKind::NotConnected)?;
        loop {
            if !replies.pop(block)? {
                return wrong("damaged: a goodbye among the replies");
            }
            let Some((header, payload)) = item::open(replies.item()) else {
                return wrong("a corrupted reply, whose checksum does not fit");
            };
            // Another's: of a producer before us; or again, from a consumer that had the item again because the one
            // before it was killed with it in hand.
            if (header.stream, header.seq) == (asked.stream, asked.seq) {
                let bytes = payload.try_into().map_err(|_| ErrorKind::InvalidData)?;
                return Ok(u64::from_le_bytes(bytes));
            }
        }
    }

    fn why_no_reply(&self) -> String {
        let nobody = if self.buffer.has_consumer() { "" } else { "; no consumer attached" };
        format!("no reply yet{nobody}{}", self.how_to_start())
    }
}

/// The time since then; the clock is looked at only if it is to be shown.
struct Since(u64);

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1?}", Duration::from_nanos(item::now_ns().saturating_sub(self.0)))
    }
}
