//! Pops items from a bounded buffer in shared memory.

use std::io::{self, ErrorKind::WouldBlock, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use common::{args, place::Place, session::Session};
use shm_demo::buffer::Buffer;
use shm_demo::object::SyncKind;
use shm_demo::seat;

/// Pops items from a bounded buffer in shared memory, into which another process pushes them
#[derive(Parser, Debug)]
#[command(name = "shm-consumer", version, after_help = TERMINALS)]
struct Args {
    #[command(flatten)]
    consumer: args::Consumer,
    /// How the processes keep out of each other's way; both sides must say the same
    #[arg(long, value_name = "HOW", default_value = "semaphore", value_parser = SyncKind::NAMES, help_heading = "Buffer")]
    sync: String,
}

const TERMINALS: &str = "\
Terminal 1:  cargo run --bin shm-consumer
Terminal 2:  cargo run --bin shm-producer";

fn main() -> ExitCode {
    let args: Args = args::parse();
    let sync = SyncKind::of_name(&args.sync);
    Session::consumer("shm", sync.name(), &args.consumer, |session| consume(&args, sync, session))
}

fn consume(args: &Args, sync: SyncKind, session: &mut Session) -> Result<()> {
    let (place, name) = (Place::open()?, &args.consumer.both.name);
    if sync != SyncKind::Semaphore {
        session.other_side_needs(format!("--sync {}", sync.name()));
    }
    session.watch(seat::channel(&place, name).watch()?);
    let mut seat = Some(Buffer::wait(&place, name, sync)?);
    let mut buffer = session.meet(|_| Buffer::open(&mut seat, sync)?.ok_or(WouldBlock.into()))?;
    let mut more_wanted = pop_all(session, &mut buffer)?;
    while more_wanted && args.consumer.forever {
        session.meet(|_| {
            buffer.look()?;
            if buffer.has_producer() { Ok(()) } else { Err(WouldBlock.into()) }
        })?;
        more_wanted = pop_all(session, &mut buffer)?;
    }
    session.wait(&mut buffer, Buffer::why, look, |buffer, _| buffer.finish())
    // Any failure drops the buffer with the item still in hand, for the next consumer.
}

/// The loop: pops items until the end of the stream. False if `--count` was reached before.
fn pop_all(session: &mut Session, buffer: &mut Buffer) -> Result<bool> {
    loop {
        let popped = session.wait(buffer, Buffer::why, look, Buffer::pop);
        session.report.shared(buffer.object().is_shared());
        if let Some(note) = buffer.note() {
            session.say(&note);
        }
        if !popped? {
            return Ok(true);
        }
        let more_wanted = session.received(0, buffer.item())?;
        // Only now may another have the slot. It may have to wait, because somebody is stopped in the lock.
        session.wait(buffer, Buffer::why, look, |buffer, _| buffer.done())?;
        if !more_wanted {
            return Ok(false);
        }
    }
}

/// Says at once what it finds: the wait, in the middle of which this is called, may never end.
fn look(buffer: &mut Buffer) -> io::Result<()> {
    let looked = buffer.look();
    if let Some(note) = buffer.note() {
        let _ = writeln!(io::stderr(), "{note}");
    }
    looked
}
