//! Writes items into a memory-mapped file.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use common::{args, place::Place, session::Session, source::Items};
use mmap_demo::{Producer, Site};

/// Writes items into a memory-mapped file: a ring of bytes that another process maps too, now or later
#[derive(Parser, Debug)]
#[command(name = "mmap-producer", version, after_help = TERMINALS)]
struct Args {
    #[command(flatten)]
    producer: args::Producer,
    /// The file to map [default: NAME.map in the run-time directory]
    #[arg(long, value_name = "FILE", help_heading = "Mapped file")]
    file: Option<PathBuf>,
    /// How many bytes the ring holds: the next power of two, at least 4KiB
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = args::size, help_heading = "Mapped file")]
    capacity: usize,
}

const TERMINALS: &str = "\
Terminal 1:  cargo run --bin mmap-consumer
Terminal 2:  cargo run --bin mmap-producer";

fn main() -> ExitCode {
    let args: Args = args::parse();
    Session::producer("mmap", "file", &args.producer, |session| run(&args, session))
}

/// The producer, and what it says when it has to wait.
struct End {
    producer: Producer,
    start_hint: String,
}

fn run(args: &Args, session: &mut Session) -> Result<()> {
    let mut items = Items::new(&args.producer, session)?;
    if let Some(file) = &args.file {
        session.other_side_needs(format!("--file {}", file.display()));
    }
    let site = Site::new(&Place::open()?, &args.producer.both.name, args.file.as_deref())?;
    let path = site.path.display().to_string();
    let watch = site.channel.watch()?;
    let producer = Producer::attach(site, args.capacity as u64, items.longest())?;
    session.watch(watch);
    if producer.found() > 0 {
        session.say(&format!("{path} holds {} bytes that are not read yet: going on", producer.found()));
    }
    let mut end = End { producer, start_hint: session.start_hint() };
    let sent = send_all(&mut items, session, &mut end);
    if sent.is_err() && session.stopped().is_none() {
        return sent;
    }
    // Ctrl-C is a goodbye too: the file takes it at any time.
    let left = end.producer.finish();
    match &left {
        Ok(0) => session.report.note(format!("{path} stays, all of it read; remove it with: rm {path}")),
        Ok(unread) => session.report.note(format!(
            "{path} stays, with {unread} bytes that a consumer has yet to read (start one with: {}); \
             remove it with: rm {path}",
            end.start_hint
        )),
        Err(_) => {}
    }
    sent.and(left.map(|_| ()).context("leave"))
}

/// The loop: every item is built in the file, piece by piece, and then committed.
fn send_all(items: &mut Items, session: &mut Session, end: &mut End) -> Result<()> {
    let longest = items.longest();
    loop {
        let mut first = true;
        let put = |session: &mut Session, offset: usize, piece: &[u8]| {
            if std::mem::take(&mut first) {
                session.wait(end, why_full, look, |end, block| {
                    if block { end.producer.reserve(longest) } else { end.producer.try_reserve(longest) }
                })?;
            }
            end.producer.reserved().write_at(offset, piece);
            Ok(())
        };
        let Some((head, len)) = items.next_in_pieces(session, put)? else { return Ok(()) };
        end.producer.reserved().commit(len)?;
        session.sent_in_place(&head, len)?;
    }
}

fn look(end: &mut End) -> std::io::Result<()> {
    end.producer.look()
}

fn why_full(end: &End) -> String {
    let (unread, capacity) = end.producer.gauge();
    let full = format!("file full, {unread}/{capacity} bytes");
    if end.producer.has_consumer() {
        return full;
    }
    format!("{full}; no consumer is attached, start one with: {}", end.start_hint)
}
