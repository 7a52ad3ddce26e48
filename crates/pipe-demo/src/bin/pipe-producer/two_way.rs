//! `--duplex`: the replies that come back through the second pipe.

use std::time::Instant;

use anyhow::{Context, Result};
use common::session::Session;
use pipe_demo::batch::BatchWriter;
use pipe_demo::fifo::FifoWriter;

use crate::end::End;

/// Reads the reply to the item that was written last.
pub fn read_reply(session: &mut Session, end: &mut End<BatchWriter>) -> Result<()> {
    read(session, end, |_| "no reply yet".into())
}

/// `--deadlock`: reads a reply to an item that was not written. The consumer reads too.
pub fn read_too_early(session: &mut Session, end: &mut End<BatchWriter>) -> Result<()> {
    read(session, end, |end| {
        let consumer = end.fifo.as_ref().and_then(FifoWriter::reader).unwrap_or(0);
        format!(
            "deadlock: both sides are in read(); nobody is left to write (drop --deadlock): this process \
             waits for a reply from {consumer}, which waits for an item from this process"
        )
    })
}

fn read(
    session: &mut Session,
    end: &mut End<BatchWriter>,
    why: fn(&End<BatchWriter>) -> String,
) -> Result<()> {
    let since = Instant::now();
    let read = |end: &mut End<BatchWriter>, block| {
        end.replies.as_mut().map(|replies| replies.read(block)).transpose()
    };
    let Some(bytes) = session.wait(end, why, |_| Ok(()), read).context("read the reply")? else {
        return Ok(());
    };
    session.line(format_args!("reply: {bytes} B came  after {:.1?}", since.elapsed()));
    Ok(())
}
