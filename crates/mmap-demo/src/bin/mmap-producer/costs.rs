//! What the run has cost, and where its items are.

use std::io::{self, ErrorKind};

use anyhow::{Context, Result};
use common::session::Session;
use mmap_demo::inspect::inspect;
use mmap_demo::{Cost, Durability, Producer};

use crate::flags::Args;

/// Page faults, memory, and calls of msync(2).
pub fn report(args: &Args, session: &mut Session, producer: &Producer) -> Result<()> {
    let cost = Cost::now().context("look at what it cost")?;
    session.report.note(cost.to_string());
    for (key, value) in cost.figures() {
        session.report.extra(key, value);
    }
    let (calls, took) = producer.spent_on_msync();
    let durability = Durability::from(args.durability);
    let (name, kept) = match durability {
        Durability::None => ("none", ""),
        Durability::Async => ("async", "writeback was asked for"),
        Durability::Sync => ("sync", "all that was sent is on the device"),
    };
    session.report.extra("durability", name);
    session.report.extra("msync", calls);
    session.report.extra("msync_s", took.as_secs_f64());
    if durability != Durability::None {
        session.report.note(format!("durability {name}: {calls}× msync took {took:.1?}; {kept}"));
    }
    Ok(())
}

/// The file, and how many bytes are unread in it, if it was left in good order.
pub fn what_stays(args: &Args, path: &str, left: &Option<io::Result<u64>>, start_hint: &str) -> String {
    let stays = match left {
        Some(Ok(0)) if !args.private => ", all of it read".into(),
        Some(Ok(unread)) if !args.private => {
            format!(", with {unread} bytes that a consumer has yet to read (start one with: {start_hint})")
        }
        _ => String::new(),
    };
    format!("{path} stays{stays}; remove it with: rm {path}")
}

/// `--private`: `ours` bytes are unread in this process's copy. How many are in the file?
pub fn all_is_lost(path: &str, ours: u64, sent: u64) -> Result<()> {
    let file = inspect(path.as_ref())?.map_or(0, |seen| seen.unread);
    if ours == file {
        return Ok(());
    }
    let why = format!(
        "private: {sent} items are lost: {ours} bytes of items are unread in this process's own copy of {path}, \
         and {file} in the file (drop --private)"
    );
    Err(io::Error::new(ErrorKind::InvalidData, why).into())
}
