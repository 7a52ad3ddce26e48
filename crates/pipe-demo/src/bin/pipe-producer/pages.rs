//! `--zero-copy`: the items are built in the pages that the pipe is given.

use anyhow::Result;
use common::{session::Session, source::Items};
use pipe_demo::reuse;
use pipe_demo::zero_copy::PageWriter;

use crate::end::End;
use crate::flags::Args;
use crate::told;

impl End<PageWriter> {
    /// Gives the pipe what it has not got yet.
    fn flush(&mut self, session: &mut Session) -> Result<()> {
        self.wait(session, PageWriter::flush)?;
        session.handed_over(self.pipe.waiting())
    }
}

/// As for the items that are copied.
pub fn send_all(
    args: &Args,
    items: &mut Items,
    session: &mut Session,
    mut end: End<PageWriter>,
) -> Result<()> {
    let given = give_all(args, items, session, &mut end);
    if session.stopped().is_some() {
        let _ = end.pipe.goodbye(false);
    }
    let reported = session.handed_over(end.pipe.waiting());
    if args.reuse_at_once {
        session.report.note(
            "each item was built in the pages of the last one, which may still have been in the pipe (drop --reuse-at-once)",
        );
    }
    told(given, session).and(reported)
}

/// The loop: every item is built in pages that are in the pipe no more, and given away with them.
fn give_all(args: &Args, items: &mut Items, session: &mut Session, end: &mut End<PageWriter>) -> Result<()> {
    loop {
        if items.may_pause() {
            end.flush(session)?;
        }
        let item = items.next_in(session, end.pipe.room(items.longest())?);
        if !matches!(item, Ok(Some(_))) {
            end.flush(session)?;
        }
        let Some((head, length)) = item? else { break };
        end.wait(session, |pipe, block| pipe.give(length, block))?;
        session.gathered_in_place(head, length, end.pipe.waiting())?;
        if args.reuse_at_once {
            end.flush(session)?;
            reuse::at_once(&mut end.pipe);
        }
    }
    end.wait(session, PageWriter::goodbye)
}
