//! Pops items from a bounded buffer in shared memory.

mod flags;
mod two_way;

use std::io::ErrorKind::WouldBlock;
use std::process::ExitCode;

use anyhow::Result;
use common::{args, place::Place, session::Session};
use shm_demo::buffer::{self, Buffer};
use shm_demo::gauge::Gauge;
use shm_demo::object::SyncKind;
use shm_demo::seat;

use crate::flags::Args;
use crate::two_way::End;

fn main() -> ExitCode {
    let args: Args = args::parse();
    let sync = SyncKind::of_name(&args.sync);
    Session::consumer("shm", sync.name(), &args.consumer, |session| consume(&args, sync, session))
}

fn consume(args: &Args, sync: SyncKind, session: &mut Session) -> Result<()> {
    let how = buffer::how(sync, args.wait.as_deref())?;
    let (place, name) = (Place::open()?, &args.consumer.both.name);
    let kind = buffer::kind(sync, args.duplex)?;
    if kind != SyncKind::Semaphore {
        session.other_side_needs(format!("--sync {}", kind.name()));
    }
    session.watch(seat::channel(&place, name).watch()?);
    let mut seat = Some(Buffer::wait(&place, name, kind)?);
    let mut buffer = session.meet(|_| Buffer::open(&mut seat, kind)?.ok_or(WouldBlock.into()))?;
    buffer.wait_by(how);
    if args.gauge {
        let gauge = Gauge::of(buffer.object())?;
        session.gauge(move |columns, blocked| gauge.line(columns, blocked));
    }
    let mut end = End::new(buffer)?;
    let mut more_wanted = pop_all(session, &mut end)?;
    while more_wanted && args.consumer.forever {
        session.meet(|_| {
            end.buffer.look()?;
            // A producer cancels the goodbye when it comes; it may have gone again, and left items.
            let more = end.buffer.items() > 0 || !end.buffer.object().is_closed();
            if more { Ok(()) } else { Err(WouldBlock.into()) }
        })?;
        more_wanted = pop_all(session, &mut end)?;
    }
    session.wait(&mut end, End::why, End::look, |end, _| end.buffer.finish())?;
    if sync == SyncKind::None {
        judge(&end.buffer, session);
    }
    Ok(())
    // Any failure drops the buffer with the item still in hand, for the next consumer.
}

/// Pops all items. False if `--count` was reached before the end of the stream.
fn pop_all(session: &mut Session, end: &mut End) -> Result<bool> {
    let popped = pop_each(session, end);
    if session.stopped().is_some() {
        // Ctrl-C came between two items. The one in hand was received and counted: it is finished, or the next
        // consumer would have it again.
        let _ = end.reply(false).and_then(|()| end.buffer.done());
    }
    popped
}

/// The loop: pops items until the end of the stream, likewise.
fn pop_each(session: &mut Session, end: &mut End) -> Result<bool> {
    loop {
        let popped = session.wait(end, End::why, End::look, End::pop);
        session.report.shared(end.buffer.object().is_shared());
        if let Some(note) = end.buffer.note() {
            session.say(&note);
        }
        if !popped? {
            return Ok(true);
        }
        let more_wanted = session.received(0, end.buffer.item())?;
        if end.replies.is_some() {
            session.wait(end, End::why_no_reply, End::look, End::reply)?;
        }
        // Only then may another have the slot: the next pop says so.
        if !more_wanted {
            // It may have to wait, because somebody is stopped in the lock.
            session.wait(end, End::why, End::look, |end, _| end.buffer.done())?;
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
