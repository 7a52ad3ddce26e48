//! `--to PID`: the one that is sent to must be there, and be the only one that can take it.

use std::io::ErrorKind::WouldBlock;

use anyhow::Result;
use common::session::Session;
use mq_demo::direct::Link;

use crate::End;

/// Waits until the process listens to what is sent to it.
pub fn meet(pid: u32, session: &mut Session, end: &mut End) -> Result<()> {
    end.queue.link(Link::to(pid));
    end.queue.look()?;
    session.other_side_needs("--direct");
    let mut waiting = (&mut *end, session.start_hint());
    // What is left behind is for anybody who comes.
    session.other_side_needs("");
    session.wait(
        &mut waiting,
        |(end, hint)| {
            let why = end.queue.linked().map_or_else(String::new, Link::why);
            format!("{why}; start one that says its pid with: {hint}")
        },
        |(end, _)| end.queue.look(),
        |(end, _), _| {
            if end.queue.linked().is_some_and(Link::listens) { Ok(()) } else { Err(WouldBlock.into()) }
        },
    )?;
    if let Some(thief) = end.queue.linked().and_then(Link::thief) {
        session.say(&format!(
            "consumer {thief} receives any type: it may take what is for {pid} (start it with --direct or --type)"
        ));
    }
    Ok(())
}
