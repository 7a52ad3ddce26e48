//! Reads items from a pipe.

use std::io::ErrorKind::WouldBlock;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use common::{args, place::Place, session::Session};
use pipe_demo::anonymous;
use pipe_demo::fifo::FifoReader;
use pipe_demo::frame::FrameReader;

/// Reads items from a pipe: a byte stream in the kernel that another process writes
#[derive(Parser, Debug)]
#[command(name = "pipe-consumer", version, after_help = TERMINALS)]
struct Args {
    #[command(flatten)]
    consumer: args::Consumer,
    /// The pipe is standard input, as `pipe-producer --anonymous` starts its child
    #[arg(long, conflicts_with = "forever", help_heading = "Pipe")]
    anonymous: bool,
}

const TERMINALS: &str = "\
Terminal 1:  cargo run --bin pipe-consumer
Terminal 2:  cargo run --bin pipe-producer";

fn main() -> ExitCode {
    let args: Args = args::parse();
    let variant = if args.anonymous { "anonymous" } else { "fifo" };
    Session::consumer("pipe", variant, &args.consumer, |session| {
        if args.anonymous {
            receive_all(session, &mut anonymous::inherited()?).map(|_| ())
        } else {
            by_name(&args, session)
        }
    })
}

fn by_name(args: &Args, session: &mut Session) -> Result<()> {
    let fifo = FifoReader::create(Place::open()?.channel(&args.consumer.both.name, "fifo"))?;
    let mut pipe = session
        .meet(|block| if block || fifo.has_writer()? { fifo.open() } else { Err(WouldBlock.into()) })?;
    loop {
        let more_wanted = receive_all(session, &mut pipe)?;
        // A stream without a HELLO was no producer's: somebody opened the FIFO and went away.
        if !more_wanted || (pipe.had_writer() && !args.consumer.forever) {
            return Ok(());
        }
        session.meet(|block| if block { fifo.reopen(&mut pipe) } else { Err(WouldBlock.into()) })?;
    }
}

/// The loop: reads items until the end of the stream. False if `--count` was reached before.
fn receive_all(session: &mut Session, pipe: &mut FrameReader) -> Result<bool> {
    let empty = |_: &FrameReader| "pipe empty".to_owned();
    while session.wait(pipe, empty, |_| Ok(()), |p, block| if block { p.read() } else { p.try_read() })? {
        if !session.received(0, pipe.message())? {
            return Ok(false);
        }
    }
    Ok(true)
}
