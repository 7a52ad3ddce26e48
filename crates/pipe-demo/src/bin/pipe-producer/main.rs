//! Writes items into a pipe.

mod child;
mod end;
mod flags;
mod pages;
mod two_way;

use std::io::ErrorKind::WouldBlock;
use std::process::ExitCode;

use anyhow::{Context, Result};
use common::{args, item, place::Place, session::Session, source::Items};
use pipe_demo::batch::BatchWriter;
use pipe_demo::duplex::Replies;
use pipe_demo::fifo::{self, FifoWriter};
use pipe_demo::frame::{FrameWriter, PIPE_BUF};
use pipe_demo::independent;
use pipe_demo::zero_copy::PageWriter;

use crate::end::End;
use crate::flags::Args;

fn main() -> ExitCode {
    let args: Args = args::parse();
    let variant = if args.anonymous { "anonymous" } else { "fifo" };
    // Before the session, which starts a thread: a process with one thread forks more easily.
    let seen = args.independent.then(independent::show);
    Session::producer("pipe", variant, &args.producer, |session| {
        if args.output.as_ref().is_some_and(|p| p.as_os_str() == "-") {
            session.report.leave_stdout();
        }
        if let Some(seen) = seen {
            child::tell_independent(seen.context("fork")?, session);
        }
        let mut items = Items::new(&args.producer, session)?;
        if args.anonymous {
            child::send(&args, &mut items, session)
        } else {
            by_name(&args, &mut items, session)
        }
    })
}

fn by_name(args: &Args, items: &mut Items, session: &mut Session) -> Result<()> {
    let (place, name) = (Place::open()?, &args.producer.both.name);
    let longest = item::HEADER + args.producer.size();
    let mut fifo = FifoWriter::create(place.channel(name, "fifo"), longest, args.allow_torn)?;
    if args.duplex {
        session.other_side_needs("--duplex");
    }
    let mut replies = args.duplex.then(|| Replies::create(place.channel(name, "back"))).transpose()?;
    session.watch(fifo.watch()?);
    let pipe = session
        .meet(|block| if block || fifo.has_reader()? { fifo.open() } else { Err(WouldBlock.into()) })?;
    if let Some(replies) = &mut replies {
        session.transfer(|| replies.open().map(|()| 0))?;
    }
    send_all(args, items, session, End { pipe, fifo: Some(fifo), replies })
}

/// Writes all items, and tells how many the pipe has taken if it does not take them all.
fn send_all(args: &Args, items: &mut Items, session: &mut Session, end: End<FrameWriter>) -> Result<()> {
    match args.capacity {
        Some(bytes) => fifo::set_capacity(&end.pipe, bytes).context("set --capacity")?,
        None => fifo::make_room_for(&end.pipe, items.longest()),
    };
    if args.zero_copy {
        return pages::send_all(args, items, session, end.with(PageWriter::new));
    }
    let most = if args.unbatched { 0 } else { PIPE_BUF };
    let mut end = end.with(|frames| BatchWriter::new(frames, most));
    let written = write_all(args, items, session, &mut end);
    if session.stopped().is_some() {
        // Ctrl-C is a goodbye too, if the pipe can take it at once. If not, the reader finds a dead writer.
        let _ = end.pipe.goodbye(false);
    }
    let reported = session.handed_over(end.pipe.waiting());
    end.tell_writes(session);
    told(written, session).and(reported)
}

/// An error with the number of items that were handed over before it.
fn told(written: Result<()>, session: &Session) -> Result<()> {
    let handed_over = session.report.items();
    written.with_context(|| format!("write to the pipe, which had taken {handed_over} items"))
}

/// The loop: every item is written, at once or together with others, then the goodbye.
fn write_all(
    args: &Args,
    items: &mut Items,
    session: &mut Session,
    end: &mut End<BatchWriter>,
) -> Result<()> {
    while let Some(item) = end.next(items, session)? {
        if args.deadlock {
            two_way::read_too_early(session, end)?;
        }
        end.wait(session, |pipe, block| pipe.write(item, block))?;
        session.gathered(item, end.pipe.waiting())?;
        if end.replies.is_some() {
            end.flush(session)?;
            two_way::read_reply(session, end)?;
        }
    }
    end.wait(session, BatchWriter::goodbye)
}
