//! What is said, and counted, when a mistake was switched on.

use anyhow::Result;
use common::session::Session;
use pipe_demo::leak;
use pipe_demo::torn::TornReader;

use crate::End;

impl End {
    /// Why there is nothing to read.
    pub fn why(&self) -> String {
        let (came, left) = self.pipe.writers();
        if let Some(producer) = self.deadlocked_with
            && came == 0
        {
            // Not even its HELLO has come, which it writes before its first item: it has written nothing.
            return format!(
                "deadlock: both sides are in read(); nobody is left to write (drop --deadlock): this process \
                 waits for an item from {producer}, which waits for a reply from this process"
            );
        }
        if came == 0 || left < came {
            return "pipe empty".into();
        }
        let holders = leak::holders(&self.pipe.fd).unwrap_or_default();
        let ours = holders.contains(&std::process::id());
        let who = |pid: u32| {
            if pid == std::process::id() { format!("{pid} (this process)") } else { pid.to_string() }
        };
        let who = holders.into_iter().map(who).collect::<Vec<_>>().join(", ");
        let fix = if ours { " (drop --leak-write-end)" } else { "" };
        format!("no end-of-file: pid {who} still holds a write end{fix}")
    }
}

/// `--allow-torn`: whatever looks like an item, until the end of the file.
pub fn receive_torn(session: &mut Session, mut pipe: TornReader) -> Result<()> {
    let empty = |_: &TornReader| "pipe empty".to_owned();
    while session.wait(
        &mut pipe,
        empty,
        |_| Ok(()),
        |p, block| if block { p.read() } else { p.try_read() },
    )? {
        if !session.received(0, pipe.message())? {
            break;
        }
    }
    let torn = pipe.torn();
    session.report.extra("torn", torn);
    session.report.note(if torn > 0 {
        format!(
            "{torn}× there was no header behind a frame: writes over PIPE_BUF were mixed (drop --allow-torn)"
        )
    } else {
        "every header was in its place this time: no two writers met in a full pipe; try again, with more items".into()
    });
    Ok(())
}
