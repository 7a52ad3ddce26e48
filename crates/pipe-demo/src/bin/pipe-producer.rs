//! Writes items into a pipe.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use common::{args, exit, item, place::Place, session::Session, source::Items};
use pipe_demo::anonymous;
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
            with_child(&args, &mut items, session)
        } else {
            by_name(&args, &mut items, session)
        }
    })
}

fn by_name(args: &Args, items: &mut Items, session: &mut Session) -> Result<()> {
    let channel = Place::open()?.channel(&args.producer.both.name, "fifo");
    let mut fifo = FifoWriter::create(channel, item::HEADER + args.producer.size(), false)?;
    session.watch(fifo.watch()?);
    let mut pipe = session.meet(|block| {
        if block || fifo.has_reader()? { fifo.open() } else { Err(std::io::ErrorKind::WouldBlock.into()) }
    })?;
    send_all(args, items, session, &mut pipe, || fifo.look())
}

/// The loop: every item is written, then the goodbye.
fn send_all(
    args: &Args,
    items: &mut Items,
    session: &mut Session,
    pipe: &mut FrameWriter,
    mut look: impl FnMut() -> std::io::Result<()>,
) -> Result<()> {
    if let Some(bytes) = args.capacity {
        fifo::set_capacity(pipe, bytes).context("set --capacity")?;
    }
    let mut end = (pipe, &mut look);
    let mut write_all = || -> Result<()> {
        while let Some(item) = items.next(session)? {
            session.wait(
                &mut end,
                |e| full(e.0),
                |e| (e.1)(),
                |e, block| {
                    if block { e.0.write(item) } else { e.0.try_write(item) }
                },
            )?;
            session.sent(item)?;
        }
        session.wait(
            &mut end,
            |e| full(e.0),
            |e| (e.1)(),
            |e, block| {
                if block { e.0.goodbye() } else { e.0.try_goodbye() }
            },
        )
    };
    let written = write_all();
    if session.stopped().is_some() {
        // Ctrl-C is a goodbye too, if the pipe can take it at once. If not, the reader finds a dead writer.
        let _ = end.0.try_goodbye();
    }
    let handed_over = session.report.items();
    written.with_context(|| format!("write to the pipe after {handed_over} items were handed over"))
}

fn full(pipe: &FrameWriter) -> String {
    format!("pipe full ({} B)", fifo::capacity(pipe).unwrap_or(0))
}

fn with_child(args: &Args, items: &mut Items, session: &mut Session) -> Result<()> {
    let (mut child, mut pipe) = anonymous::spawn(consumer(args)?).context("start pipe-consumer")?;
    let (parent, id) = (std::process::id(), child.id());
    session.say(&format!(
        "parent {parent} writes, and closed the read end; child {id} reads (its descriptor 0)"
    ));
    let sent = send_all(args, items, session, &mut pipe, || Ok(()));
    // The child's end-of-file comes when every write end is closed.
    drop(pipe);
    let status = match session.transfer(|| anonymous::wait(&mut child).map(usize::from)) {
        Ok(status) => status as u8,
        Err(_) => anonymous::end(&mut child, session.stopped().map(|s| s.0))?,
    };
    match sent {
        Ok(()) if status == 0 => Ok(()),
        Err(e) if exit::worse(status, exit::status(&e)) == exit::status(&e) => Err(e),
        _ => Err(exit::Exit { status, message: format!("the child ended with {status}") }.into()),
    }
}

/// The command that makes the child: the consumer beside this binary, told what it needs to know.
fn consumer(args: &Args) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?.with_file_name("pipe-consumer"));
    command.arg("--anonymous");
    let both = &args.producer.both;
    for (flag, given) in [("--json", both.json), ("--quiet", both.quiet), ("--nonblocking", both.nonblocking)]
    {
        command.args(given.then_some(flag));
    }
    for (flag, time) in [("--timeout", both.timeout), ("--delay", args.delay)] {
        command.args(time.map(|t| format!("{flag}={}ns", t.as_nanos())));
    }
    if let Some(output) = &args.output {
        command.arg("--output").arg(output);
    }
    Ok(command)
}
