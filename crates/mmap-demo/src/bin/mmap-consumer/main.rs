//! Reads items from a memory-mapped file.

mod in_place;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use common::{args, place::Place, session::Session};
use mmap_demo::private::is_private;
use mmap_demo::reader::Record;
use mmap_demo::waiting::How;
use mmap_demo::{Consumer, Cost, Site};

use crate::in_place::{check, write_payload};

/// Reads items from a memory-mapped file, behind the last one that a consumer has finished
#[derive(Parser, Debug)]
#[command(name = "mmap-consumer", version, after_help = TERMINALS)]
struct Args {
    #[command(flatten)]
    consumer: args::Consumer,
    /// The file to map [default: NAME.map in the run-time directory]
    #[arg(long, value_name = "FILE", help_heading = "Mapped file")]
    file: Option<PathBuf>,
    /// How to wait for the other side: sleep at once; look for as long as that helps, then sleep; or only look, which
    /// takes a processor
    #[arg(long, value_name = "HOW", default_value = "adaptive", value_parser = How::NAMES, help_heading = "Mapped file")]
    wait: String,
}

const TERMINALS: &str = "\
Terminal 1:  cargo run --bin mmap-consumer
Terminal 2:  cargo run --bin mmap-producer";

fn main() -> ExitCode {
    let args: Args = args::parse();
    Session::consumer("mmap", "file", &args.consumer, |session| run(&args, session))
}

fn run(args: &Args, session: &mut Session) -> Result<()> {
    if let Some(file) = &args.file {
        session.other_side_needs(format!("--file {}", file.display()));
    }
    let site = Site::new(&Place::open()?, &args.consumer.both.name, args.file.as_deref())?;
    let path = site.path.display().to_string();
    let watch = site.channel.watch()?;
    let mut consumer = Consumer::attach(site)?;
    consumer.wait_by(How::of_name(&args.wait));
    session.watch(watch);
    let received = receive_all(args.consumer.forever, session, &mut consumer);
    let cost = Cost::now().context("look at what it cost")?;
    session.report.note(cost.to_string());
    for (key, value) in cost.figures() {
        session.report.extra(key, value);
    }
    let left = consumer.finish();
    if let Ok(Some(unread)) = left {
        let unread =
            if unread == 0 { "all of it read".into() } else { format!("{unread} bytes of it unread") };
        session.report.note(format!("{path} stays, {unread}; remove it with: rm {path}"));
    }
    // What ended the loop is the reason; that leaving failed too is not.
    received.and(left.map(|_| ()).context("leave"))
}

/// The loop: every record is checked where it lies in the file, and committed when it is processed.
fn receive_all(forever: bool, session: &mut Session, consumer: &mut Consumer) -> Result<()> {
    let mut piece = vec![0; 64 * 1024];
    loop {
        session.meet(|_| consumer.try_meet())?;
        if consumer.joined_later() {
            session.report.shared(true);
        }
        while let Some(record) = next(session, consumer)? {
            let header = check(&record, &mut piece)?;
            if header.is_some() && session.has_output() {
                write_payload(session, &record)?;
            }
            let more_wanted = session.received_in_place(0, record.len(), header.as_ref());
            // Written and counted, it is finished, even if Ctrl-C ended its --delay.
            if more_wanted.is_ok() || session.stopped().is_some() {
                record.commit();
            }
            if !more_wanted? {
                return Ok(());
            }
        }
        if !forever {
            return Ok(());
        }
    }
}

fn next<'a>(session: &mut Session, consumer: &'a mut Consumer) -> Result<Option<Record<'a>>> {
    let found = session.wait(consumer, why_empty, Consumer::look, |consumer, block| {
        if block { consumer.find() } else { consumer.try_find() }
    })?;
    Ok(found.and_then(|_| consumer.record()))
}

/// Why there is nothing to read, as far as it can be seen from here.
fn why_empty(consumer: &Consumer) -> String {
    match consumer.producer() {
        Some(pid) if is_private(pid, consumer.path()) => format!(
            "private: producer {pid} has mapped the file MAP_PRIVATE (rw-p in /proc/{pid}/maps): nobody else \
             will ever see its items (drop --private)"
        ),
        Some(_) => "file empty".into(),
        None if consumer.nobody_arrived() => {
            "file empty, and who made it never arrived in it: it died at once, \
             or mapped it MAP_PRIVATE (drop --private)"
                .into()
        }
        None => "file empty; no producer is attached".into(),
    }
}
