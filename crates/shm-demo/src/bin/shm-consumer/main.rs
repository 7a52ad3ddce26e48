//! Pops items from a bounded buffer in shared memory.

mod flags;

use std::io::{self, ErrorKind::WouldBlock, Write};
use std::process::ExitCode;

use anyhow::Result;
use common::{args, place::Place, session::Session};
use shm_demo::buffer::{self, Buffer};
use shm_demo::gauge::Gauge;
use shm_demo::object::SyncKind;
use shm_demo::seat;

use crate::flags::Args;

fn main() -> ExitCode {
    let args: Args = args::parse();
    let sync = SyncKind::of_name(&args.sync);
    Session::consumer("shm", sync.name(), &args.consumer, |session| consume(&args, sync, session))
}

fn consume(args: &Args, sync: SyncKind, session: &mut Session) -> Result<()> {
    let how = buffer::how(sync, args.wait.as_deref())?;
    let (place, name) = (Place::open()?, &args.consumer.both.name);
    if sync != SyncKind::Semaphore {
        session.other_side_needs(format!("--sync {}", sync.name()));
    }
    session.watch(seat::channel(&place, name).watch()?);
    let mut seat = Some(Buffer::wait(&place, name, sync)?);
    let mut buffer = session.meet(|_| Buffer::open(&mut seat, sync)?.ok_or(WouldBlock.into()))?;
    buffer.wait_by(how);
    if args.gauge {
        let gauge = Gauge::of(buffer.object())?;
        session.gauge(move |columns, blocked| gauge.line(columns, blocked));
    }
    let mut more_wanted = pop_all(session, &mut buffer)?;
    while more_wanted && args.consumer.forever {
        session.meet(|_| {
            buffer.look()?;
            // A producer cancels the goodbye when it comes; it may have gone again, and left items.
            if buffer.items() > 0 || !buffer.object().is_closed() { Ok(()) } else { Err(WouldBlock.into()) }
        })?;
        more_wanted = pop_all(session, &mut buffer)?;
    }
    session.wait(&mut buffer, Buffer::why, look, |buffer, _| buffer.finish())?;
    if sync == SyncKind::None {
        judge(&buffer, session);
    }
    Ok(())
    // Any failure drops the buffer with the item still in hand, for the next consumer.
}

/// Pops all items. False if `--count` was reached before the end of the stream.
fn pop_all(session: &mut Session, buffer: &mut Buffer) -> Result<bool> {
    let popped = pop_each(session, buffer);
    if session.stopped().is_some() {
        // Ctrl-C came between two items. The one in hand was received and counted: it is finished, or the next
        // consumer would have it again.
        let _ = buffer.done();
    }
    popped
}

/// The loop: pops items until the end of the stream, likewise.
fn pop_each(session: &mut Session, buffer: &mut Buffer) -> Result<bool> {
    loop {
        let popped = session.wait(buffer, Buffer::why, look, Buffer::pop);
        session.report.shared(buffer.object().is_shared());
        if let Some(note) = buffer.note() {
            session.say(&note);
        }
        if !popped? {
            return Ok(true);
        }
        // Only then may another have the slot: the next pop says so.
        if !session.received(0, buffer.item())? {
            // It may have to wait, because somebody is stopped in the lock.
            session.wait(buffer, Buffer::why, look, |buffer, _| buffer.done())?;
            return Ok(false);
        }
    }
}

/// `--sync none`: what became of the items.
fn judge(buffer: &Buffer, session: &mut Session) {
    let torn = session.report.findings().corrupted;
    if torn > 0 {
        let why = "another process wrote into their slot at the same time";
        session.report.note(format!("torn items: {torn}; {why} (--sync semaphore or mutex)"));
    }
    if let Some(tally) = buffer.tally() {
        tally.numbers().into_iter().for_each(|(key, n)| session.report.extra(key, n));
        tally.luck().into_iter().for_each(|luck| session.report.note(luck));
        tally.faults().into_iter().for_each(|fault| session.report.fault(fault));
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
