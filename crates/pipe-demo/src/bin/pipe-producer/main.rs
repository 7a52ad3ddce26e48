//! Writes items into a pipe.

mod child;
mod flags;
mod two_way;

use std::io::ErrorKind::WouldBlock;
use std::process::ExitCode;

use anyhow::{Context, Result};
use common::{args, item, place::Place, session::Session, source::Items};
use pipe_demo::duplex::Replies;
use pipe_demo::fifo::{self, FifoWriter};
use pipe_demo::frame::FrameWriter;
use pipe_demo::independent;

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

/// The pipe; the seat at its name if it has one; the way back if there is one.
struct End {
    pipe: FrameWriter,
    fifo: Option<FifoWriter>,
    replies: Option<Replies>,
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
    send_all(args, items, session, &mut End { pipe, fifo: Some(fifo), replies })
}

/// The loop: every item is written, then the goodbye.
fn send_all(args: &Args, items: &mut Items, session: &mut Session, end: &mut End) -> Result<()> {
    if let Some(bytes) = args.capacity {
        fifo::set_capacity(&end.pipe, bytes).context("set --capacity")?;
    }
    let full = |e: &End| format!("pipe full ({} B)", fifo::capacity(&e.pipe).unwrap_or(0));
    let look = |e: &mut End| e.fifo.as_mut().map_or(Ok(()), FifoWriter::look);
    let mut write_all = || -> Result<()> {
        while let Some(item) = items.next(session)? {
            if args.deadlock {
                two_way::read_too_early(session, end)?;
            }
            session.wait(
                end,
                full,
                look,
                |e, block| if block { e.pipe.write(item) } else { e.pipe.try_write(item) },
            )?;
            session.sent(item)?;
            if end.replies.is_some() {
                two_way::read_reply(session, end)?;
            }
        }
        session.wait(end, full, look, |e, block| if block { e.pipe.goodbye() } else { e.pipe.try_goodbye() })
    };
    let written = write_all();
    if session.stopped().is_some() {
        // Ctrl-C is a goodbye too, if the pipe can take it at once. If not, the reader finds a dead writer.
        let _ = end.pipe.try_goodbye();
    }
    let handed_over = session.report.items();
    written.with_context(|| format!("write to the pipe, which had taken {handed_over} items"))
}
