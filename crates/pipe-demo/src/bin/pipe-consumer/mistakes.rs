//! What is said, and counted, when a mistake was switched on.

use anyhow::Result;
use common::session::Session;
use pipe_demo::leak;
use pipe_demo::torn::TornReader;

use crate::End;

impl End {
    /// Why there is nothing to read.
    pub fn why(&self) -> String {
        if self.deadlock {
            return "deadlock: both sides are in read(); nobody is left to write (drop --deadlock)".into();
        }
        let (came, left) = self.pipe.writers();
        if came == 0 || left < came {
            return "pipe empty".into();
        }
        let who = |pid: u32| {
            if pid == std::process::id() { format!("{pid} (this process)") } else { pid.to_string() }
        };
        let holders: Vec<_> = leak::holders(&self.pipe.fd).unwrap_or_default().into_iter().map(who).collect();
        format!("no end-of-file: pid {} still holds a write end", holders.join(", "))
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
        session.received(0, pipe.message())?;
    }
    let torn = pipe.torn();
    session.report.extra("torn", torn);
    session.report.note(format!(
        "{torn}× there was no header behind a frame: writes over PIPE_BUF were mixed (drop --allow-torn)"
    ));
    Ok(())
}
