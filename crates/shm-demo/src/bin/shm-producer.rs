//! Pushes items into a bounded buffer in shared memory.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use common::{args, item, place::Place, session::Session, source::Items};
use shm_demo::buffer::Buffer;
use shm_demo::object::{Shape, SyncKind};
use shm_demo::seat;

/// Pushes items into a bounded buffer in shared memory, from which another process pops them
#[derive(Parser, Debug)]
#[command(name = "shm-producer", version, after_help = TERMINALS)]
struct Args {
    #[command(flatten)]
    producer: args::Producer,
    /// How the processes keep out of each other's way; both sides must say the same
    #[arg(long, value_name = "HOW", default_value = "semaphore", value_parser = SyncKind::NAMES, help_heading = "Buffer")]
    sync: String,
    /// How many items the buffer holds
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1 << 20), help_heading = "Buffer")]
    slots: u32,
    /// The largest payload that a slot can hold [default: --size]
    #[arg(long, value_name = "BYTES", value_parser = args::size, help_heading = "Buffer")]
    slot_size: Option<usize>,
}

const TERMINALS: &str = "\
Terminal 1:  cargo run --bin shm-consumer
Terminal 2:  cargo run --bin shm-producer";

fn main() -> ExitCode {
    let args: Args = args::parse();
    let sync = SyncKind::of_name(&args.sync);
    Session::producer("shm", sync.name(), &args.producer, |session| produce(&args, sync, session))
}

fn produce(args: &Args, sync: SyncKind, session: &mut Session) -> Result<()> {
    let mut items = Items::new(&args.producer, session)?;
    let shape = shape(args)?;
    let (place, name) = (Place::open()?, &args.producer.both.name);
    if sync != SyncKind::Semaphore {
        session.other_side_needs(format!("--sync {}", sync.name()));
    }
    session.watch(seat::channel(&place, name).watch()?);
    let buffer = Buffer::create(&place, name, sync, shape)?;
    let mut end = End { buffer, hint: session.start_hint() };
    if end.buffer.object().shape.slots != shape.slots {
        session.say(&format!("the buffer has {} slots already", end.buffer.object().shape.slots));
    }

    let sent = push_all(&mut items, session, &mut end);
    if session.stopped().is_some() {
        // Ctrl-C is a goodbye too: the buffer can always take it.
        end.buffer.leave()?;
    }
    sent
    // Any other failure drops the buffer without a goodbye: consumers learn that the stream was cut.
}

/// The loop: every item is pushed, then the goodbye.
fn push_all(items: &mut Items, session: &mut Session, end: &mut End) -> Result<()> {
    while let Some(item) = items.next(session)? {
        session.wait(end, End::why, End::look, |end, block| end.buffer.push(item, block))?;
        session.sent(item)?;
        if let Some(note) = end.buffer.note() {
            session.say(&note);
        }
    }
    // The memory goes with the last process: so the last producer waits until somebody has what is left.
    session.meet(|_| end.buffer.finish()).context("items are left in the buffer")
}

/// The buffer, and how to start the other side.
struct End {
    buffer: Buffer,
    hint: String,
}

impl End {
    fn why(&self) -> String {
        let hint = if self.buffer.has_consumer() {
            String::new()
        } else {
            format!(", start one with: {}", self.hint)
        };
        self.buffer.why() + &hint
    }

    /// Says at once what it finds: the wait, in the middle of which this is called, may never end.
    fn look(&mut self) -> io::Result<()> {
        let looked = self.buffer.look();
        if let Some(note) = self.buffer.note() {
            let _ = writeln!(io::stderr(), "{note}");
        }
        looked
    }
}

fn shape(args: &Args) -> Result<Shape> {
    let size = args.producer.size();
    let slot_size = args.slot_size.unwrap_or(size);
    if size > slot_size {
        let message = format!("--size {size} is larger than --slot-size {slot_size}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message).into());
    }
    Ok(Shape { slots: args.slots, slot_size: (item::HEADER + slot_size) as u32 })
}
