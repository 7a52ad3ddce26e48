//! Writes items into a pipe.

mod child;

use std::io::ErrorKind::WouldBlock;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use common::{args, item, place::Place, session::Session, source::Items};
use pipe_demo::fifo::{self, FifoWriter};
use pipe_demo::frame::FrameWriter;

/// Writes items into a pipe: a byte stream in the kernel that another process reads
#[derive(Parser, Debug)]
#[command(name = "pipe-producer", version, after_help = TERMINALS)]
struct Args {
    #[command(flatten)]
    producer: args::Producer,
    /// Start the consumer as a child process, over a pipe without a name
    #[arg(long, help_heading = "Pipe")]
    anonymous: bool,
    /// How many bytes the pipe holds [default: the kernel's, 64KiB]
    #[arg(long, value_name = "BYTES", value_parser = args::size, help_heading = "Pipe")]
    capacity: Option<usize>,
    /// With --anonymous: where the child writes the payloads
    #[arg(long, value_name = "FILE", requires = "anonymous", help_heading = "Pipe")]
    output: Option<std::path::PathBuf>,
    /// With --anonymous: the time that the child spends on each item
    #[arg(long, value_name = "DURATION", value_parser = args::duration, requires = "anonymous", help_heading = "Pipe")]
    delay: Option<std::time::Duration>,
}

const TERMINALS: &str = "\
Terminal 1:  cargo run --bin pipe-consumer
Terminal 2:  cargo run --bin pipe-producer";

fn main() -> ExitCode {
    let args: Args = args::parse();
    let variant = if args.anonymous { "anonymous" } else { "fifo" };
    Session::producer("pipe", variant, &args.producer, |session| {
        if args.output.as_ref().is_some_and(|p| p.as_os_str() == "-") {
            session.report.leave_stdout();
        }
        let mut items = Items::new(&args.producer, session)?;
        if args.anonymous {
            child::send(&args, &mut items, session)
        } else {
            by_name(&args, &mut items, session)
        }
    })
}

/// The pipe, and the seat at its name if it has one.
struct End {
    pipe: FrameWriter,
    fifo: Option<FifoWriter>,
}

fn by_name(args: &Args, items: &mut Items, session: &mut Session) -> Result<()> {
    let channel = Place::open()?.channel(&args.producer.both.name, "fifo");
    let mut fifo = FifoWriter::create(channel, item::HEADER + args.producer.size(), false)?;
    session.watch(fifo.watch()?);
    let pipe = session
        .meet(|block| if block || fifo.has_reader()? { fifo.open() } else { Err(WouldBlock.into()) })?;
    send_all(args, items, session, &mut End { pipe, fifo: Some(fifo) })
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
            session.wait(
                end,
                full,
                look,
                |e, block| if block { e.pipe.write(item) } else { e.pipe.try_write(item) },
            )?;
            session.sent(item)?;
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
