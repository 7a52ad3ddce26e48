//! The end of the pipe that is written: how it is waited for, and when it is flushed.

use std::io;

use anyhow::Result;
use common::{session::Session, source::Items};
use pipe_demo::batch::BatchWriter;
use pipe_demo::duplex::Replies;
use pipe_demo::fifo::{self, FifoWriter};
use pipe_demo::frame::{FrameWriter, PIPE_BUF};

use crate::flags::Args;

/// The pipe; the seat at its name if it has one; the way back if there is one.
pub struct End {
    pub pipe: BatchWriter,
    pub fifo: Option<FifoWriter>,
    pub replies: Option<Replies>,
}

impl End {
    /// Without a name, and without a way back.
    pub fn new(frames: FrameWriter, args: &Args) -> End {
        let most = if args.unbatched { 0 } else { PIPE_BUF };
        End { pipe: BatchWriter::new(frames, most), fifo: None, replies: None }
    }

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

    /// Does `op`, waiting while the pipe is full.
    pub fn wait(
        &mut self,
        session: &mut Session,
        mut op: impl FnMut(&mut BatchWriter, bool) -> io::Result<()>,
    ) -> Result<()> {
        let full = |e: &End| format!("pipe full ({} B)", fifo::capacity(&e.pipe).unwrap_or(0));
        let look = |e: &mut End| e.fifo.as_mut().map_or(Ok(()), FifoWriter::look);
        session.wait(self, full, look, |e, block| op(&mut e.pipe, block))
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
