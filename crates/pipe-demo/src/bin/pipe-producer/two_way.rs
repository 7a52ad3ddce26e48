//! `--duplex`: the replies that come back through the second pipe.

use std::time::Instant;

use anyhow::{Context, Result};
use common::session::Session;

use crate::End;

/// Reads the reply to the item that was written last. `why` is what is said while it does not come.
pub fn read_reply(session: &mut Session, end: &mut End, why: &'static str) -> Result<()> {
    let Some(replies) = &mut end.replies else { return Ok(()) };
    let since = Instant::now();
    let mut waiting = (replies, why);
    let bytes = session
        .wait(&mut waiting, |w| w.1.to_owned(), |_| Ok(()), |w, block| w.0.read(block))
        .context("read the reply")?;
    session.line(format_args!("reply: {bytes} B came  after {:.1?}", since.elapsed()));
    Ok(())
}
