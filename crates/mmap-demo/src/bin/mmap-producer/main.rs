//! Writes items into a memory-mapped file.

mod costs;
mod flags;

use std::process::ExitCode;

use anyhow::{Context, Result};
use common::{args, place::Place, session::Session, source::Items};
use mmap_demo::waiting::How;
use mmap_demo::{Producer, Site};

use crate::flags::Args;

fn main() -> ExitCode {
    let args: Args = args::parse();
    Session::producer("mmap", "file", &args.producer, |session| run(&args, session))
}

/// The producer, and what it says when it has to wait.
struct End {
    producer: Producer,
    start_hint: String,
    private: bool,
}

fn run(args: &Args, session: &mut Session) -> Result<()> {
    let mut items = Items::new(&args.producer, session)?;
    if let Some(file) = &args.file {
        session.other_side_needs(format!("--file {}", file.display()));
    }
    let site = Site::new(&Place::open()?, &args.producer.both.name, args.file.as_deref())?;
    let path = site.path.display().to_string();
    let watch = site.channel.watch()?;
    let attach = if args.private { Producer::attach_privately } else { Producer::attach };
    let mut producer = attach(site, args.capacity(items.longest()), items.longest())?;
    producer.keep(args.durability.into())?;
    producer.wait_by(How::of_name(&args.wait));
    session.watch(watch);
    if args.private {
        session.say("private: nobody else will ever see these items (drop --private)");
    }
    if producer.found() > 0 {
        session.say(&format!("{path} holds {} bytes that are not read yet: going on", producer.found()));
    }
    let mut end = End { producer, start_hint: session.start_hint(), private: args.private };
    let sent = send_all(&mut items, session, &mut end);
    // Ctrl-C is a goodbye too: the file takes it at any time. A failure is none.
    let in_good_order = sent.is_ok() || session.stopped().is_some();
    let left = in_good_order.then(|| end.producer.finish());
    costs::report(args, session, &end.producer)?;
    session.report.note(costs::what_stays(args, &path, &left, &end.start_hint));
    let Some(left) = left else { return sent };
    if args.private {
        return sent.and(costs::all_is_lost(&path, left?, session.report.items()));
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
    if end.private {
        return format!(
            "private: this process's own copy is full, {unread}/{capacity} bytes, and no consumer can reach it \
             (drop --private)"
        );
    }
    let full = format!("file full, {unread}/{capacity} bytes");
    if end.producer.has_consumer() {
        return full;
    }
    format!("{full}; no consumer is attached, start one with: {}", end.start_hint)
}
