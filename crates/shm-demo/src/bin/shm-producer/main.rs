//! Pushes items into a bounded buffer in shared memory.

mod flags;
mod two_way;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use common::{args, place::Place, session::Session, source::Items};
use shm_demo::buffer::{self, Buffer};
use shm_demo::gauge::Gauge;
use shm_demo::object::SyncKind;
use shm_demo::seat;

use crate::flags::Args;

fn main() -> ExitCode {
    let args: Args = args::parse();
    let sync = SyncKind::of_name(&args.sync);
    Session::producer("shm", sync.name(), &args.producer, |session| produce(&args, sync, session))
}

fn produce(args: &Args, sync: SyncKind, session: &mut Session) -> Result<()> {
    let mut items = Items::new(&args.producer, session)?;
    let (shape, how) = (args.shape()?, buffer::how(sync, args.wait.as_deref())?);
    let (place, name, kind) = (Place::open()?, &args.producer.both.name, buffer::kind(sync, args.duplex)?);
    if kind != SyncKind::Semaphore {
        session.other_side_needs(format!("--sync {}", kind.name()));
    }
    session.watch(seat::channel(&place, name).watch()?);
    let mut buffer = Buffer::create(&place, name, kind, shape)?;
    buffer.wait_by(how);
    let mut end = End { replies: buffer.replies()?, buffer, hint: session.start_hint() };
    if end.buffer.object().shape.slots != shape.slots {
        session.say(&format!("the buffer has {} slots already", end.buffer.object().shape.slots));
    }
    if args.gauge {
        let gauge = Gauge::of(end.buffer.object())?;
        session.gauge(move |columns, blocked| gauge.line(columns, blocked));
    }

    let sent = push_all(&mut items, session, &mut end);
    if session.stopped().is_some() {
        // Ctrl-C is a goodbye too: the buffer can always take it.
        end.buffer.leave()?;
    }
    if let Some(tally) = end.buffer.tally() {
        tally.numbers().into_iter().for_each(|(key, n)| session.report.extra(key, n));
        tally.luck().into_iter().for_each(|luck| session.report.note(luck));
        tally.faults().into_iter().for_each(|fault| session.report.fault(fault));
    }
    sent
    // Any other failure drops the buffer without a goodbye: consumers learn that the stream was cut.
}

/// The loop: every item is pushed, then the goodbye.
fn push_all(items: &mut Items, session: &mut Session, end: &mut End) -> Result<()> {
    while let Some(item) = items.next(session)? {
        session.wait(end, End::why, End::look, |end, block| end.push(item, block))?;
        session.sent(item)?;
        if let Some(note) = end.buffer.note() {
            session.say(&note);
        }
        if end.replies.is_some() {
            two_way::read_reply(session, end, item)?;
        }
    }
    // The memory goes with the last process: so the last producer waits until somebody has what is left.
    session.meet(|_| end.buffer.finish()).map_err(|e| e.context(end.left()))
}

/// The buffer, the way back if there is one, and how to start the other side.
struct End {
    buffer: Buffer,
    replies: Option<Buffer>,
    hint: String,
}

impl End {
    fn why(&self) -> String {
        self.buffer.why() + &self.how_to_start()
    }

    fn how_to_start(&self) -> String {
        let hint = || format!(", start one with: {}", self.hint);
        if self.buffer.has_consumer() { String::new() } else { hint() }
    }

    /// What cannot be left to nobody.
    fn left(&self) -> &'static str {
        if self.buffer.items() > 0 {
            "items are left in the buffer"
        } else {
            "nobody learns that there were no items"
        }
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
