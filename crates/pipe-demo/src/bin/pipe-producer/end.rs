//! The end of the pipe that is written: how it is waited for, and when it is flushed.

use std::io;
use std::os::fd::AsFd;

use anyhow::Result;
use common::{session::Session, source::Items};
use pipe_demo::batch::BatchWriter;
use pipe_demo::duplex::Replies;
use pipe_demo::fifo::{self, FifoWriter};

/// The pipe; the seat at its name if it has one; the way back if there is one.
pub struct End<P> {
    pub pipe: P,
    pub fifo: Option<FifoWriter>,
    pub replies: Option<Replies>,
}

impl<P: AsFd> End<P> {
    /// The same, with another way of writing.
    pub fn with<Q>(self, writer: impl FnOnce(P) -> Q) -> End<Q> {
        End { pipe: writer(self.pipe), fifo: self.fifo, replies: self.replies }
    }

    /// Does `op`, waiting while the pipe is full.
    pub fn wait(
        &mut self,
        session: &mut Session,
        mut op: impl FnMut(&mut P, bool) -> io::Result<()>,
    ) -> Result<()> {
        let full = |e: &End<P>| format!("pipe full ({} B)", fifo::capacity(&e.pipe).unwrap_or(0));
        let look = |e: &mut End<P>| e.fifo.as_mut().map_or(Ok(()), FifoWriter::look);
        session.wait(self, full, look, |e, block| op(&mut e.pipe, block))
    }
}

impl End<BatchWriter> {
    /// The next item. Nothing stays gathered while it is waited for, nor if none comes.
    pub fn next<'a>(&mut self, items: &'a mut Items, session: &mut Session) -> Result<Option<&'a [u8]>> {
        if items.may_pause() {
            self.flush(session)?;
        }
        let item = items.next(session);
        if !matches!(item, Ok(Some(_))) {
            self.flush(session)?;
        }
        item
    }

    /// Writes what has been gathered.
    pub fn flush(&mut self, session: &mut Session) -> Result<()> {
        self.wait(session, BatchWriter::flush)?;
        session.handed_over(self.pipe.waiting())
    }

    /// How many calls it took, if that is a fraction of what one for each item would be.
    pub fn tell_writes(&self, session: &mut Session) {
        let (items, writes) = (session.report.items(), self.pipe.writes());
        session.report.extra("writes", writes);
        if writes * 10 <= items {
            session.report.note(format!(
                "{items} items in {writes} writes: frames that nobody waits for travel together (each by itself: --unbatched)"
            ));
        }
    }
}
