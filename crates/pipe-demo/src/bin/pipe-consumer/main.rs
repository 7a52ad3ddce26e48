//! Reads items from a pipe.

mod ends;
mod mistakes;

use std::io::ErrorKind::WouldBlock;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use common::{args, place::Place, session::Session};
use pipe_demo::anonymous;
use pipe_demo::duplex::Replier;
use pipe_demo::fifo::FifoReader;
use pipe_demo::frame_reader::FrameReader;
use pipe_demo::torn::TornReader;

/// Reads items from a pipe: a byte stream in the kernel that another process writes
#[derive(Parser, Debug)]
#[command(name = "pipe-consumer", version, after_help = TERMINALS)]
struct Args {
    #[command(flatten)]
    consumer: args::Consumer,
    /// The pipe is standard input, as `pipe-producer --anonymous` starts its child
    #[arg(long, conflicts_with = "forever", help_heading = "Pipe")]
    anonymous: bool,
    /// Reply to every item, through a second pipe; to be said to both sides
    #[arg(long, conflicts_with = "anonymous", help_heading = "Pipe")]
    duplex: bool,
    /// The producer reads first, as this side does; to be said to both sides
    #[arg(long, requires = "duplex", help_heading = "Mistakes")]
    deadlock: bool,
    /// Count what several writers of long frames have torn; to be said to both sides
    #[arg(long, conflicts_with_all = ["anonymous", "duplex", "forever"], help_heading = "Mistakes")]
    allow_torn: bool,
}

const TERMINALS: &str = "\
Terminal 1:  cargo run --bin pipe-consumer
Terminal 2:  cargo run --bin pipe-producer";

fn main() -> ExitCode {
    let args: Args = args::parse();
    let variant = if args.anonymous { "anonymous" } else { "fifo" };
    Session::consumer("pipe", variant, &args.consumer, |session| {
        if args.anonymous {
            let pipe = anonymous::inherited()?;
            session.say(&ends::of_the_child(&pipe.fd)?);
            receive_all(session, &mut End { pipe, replier: None, deadlocked_with: None }).map(|_| ())
        } else {
            by_name(&args, session)
        }
    })
}

/// The pipe, and the way back if there is one.
struct End {
    pipe: FrameReader,
    replier: Option<Replier>,
    /// `--deadlock`: the producer that waits for us.
    deadlocked_with: Option<u32>,
}

fn by_name(args: &Args, session: &mut Session) -> Result<()> {
    let (place, name) = (Place::open()?, &args.consumer.both.name);
    let fifo = FifoReader::create(place.channel(name, "fifo"))?;
    if args.duplex {
        session.other_side_needs("--duplex");
    }
    let mut replier = args.duplex.then(|| Replier::create(place.channel(name, "back"))).transpose()?;
    let pipe = session.meet(|block| {
        if block || !fifo.writers()?.is_empty() { fifo.open() } else { Err(WouldBlock.into()) }
    })?;
    if let Some(replier) = &mut replier {
        session.transfer(|| replier.open().map(|()| 0))?;
    }
    if args.allow_torn {
        return mistakes::receive_torn(session, TornReader::new(pipe.fd));
    }
    let deadlocked_with = if args.deadlock { fifo.writers()?.first().copied() } else { None };
    let mut end = End { pipe, replier, deadlocked_with };
    loop {
        let more_wanted = receive_all(session, &mut end)?;
        // A stream without a HELLO was no producer's: somebody opened the FIFO and went away.
        if !more_wanted || (end.pipe.writers().0 > 0 && !args.consumer.forever) {
            return Ok(());
        }
        session.meet(|block| if block { fifo.reopen(&mut end.pipe) } else { Err(WouldBlock.into()) })?;
    }
}

/// The loop: reads items until the end of the stream. False if `--count` was reached before.
fn receive_all(session: &mut Session, end: &mut End) -> Result<bool> {
    while session.wait(
        end,
        End::why,
        |_| Ok(()),
        |e, block| if block { e.pipe.read() } else { e.pipe.try_read() },
    )? {
        let more_wanted = session.received(0, end.pipe.message())?;
        let bytes = end.pipe.message().len() as u64;
        if let Some(replier) = &mut end.replier {
            session.wait(
                replier,
                |_| "the replies' pipe is full".into(),
                |_| Ok(()),
                |r, block| r.write(bytes, block),
            )?;
            end.pipe.expect_an_answer();
        }
        if !more_wanted {
            return Ok(false);
        }
    }
    Ok(true)
}
