//! `--unframed`: each read is taken for an item, and what it really held is said beside it.

use anyhow::Result;
use common::session::Session;
use socket_demo::endpoint::Address;
use socket_demo::unframed::Receiver;

use crate::cuts::Cuts;
use crate::flags::Args;

/// Reads until the stream's end, and counts what the reads held.
pub fn run(address: &Address, args: &Args, session: &mut Session) -> Result<()> {
    let mut receiver = Receiver::listen(address)?;
    let mut cuts = Cuts::default();
    let received = read_all(args, session, &mut receiver, &mut cuts);
    for (key, count) in [("whole", cuts.whole), ("joined", cuts.joined), ("cut", cuts.cut)] {
        session.report.extra(key, count);
    }
    let (whole, joined, cut, reads) = (cuts.whole, cuts.joined, cuts.cut, session.report.items());
    session.report.extra("reads", reads);
    session.report.extra("whole_items", cuts.items);
    session.report.note(format!(
        "{reads} reads: {whole} held one item and nothing else, {joined} held several, {cut} cut one in two"
    ));
    if reads > whole {
        session
            .report
            .note("a stream has no messages: a frame that says its length has to be there (drop --unframed)");
    }
    received
}

/// The loop: one read, one item. It is right as long as nobody is in a hurry.
fn read_all(args: &Args, session: &mut Session, receiver: &mut Receiver, cuts: &mut Cuts) -> Result<()> {
    loop {
        while let Some(notice) = session.meet(|block| receiver.meet(block))? {
            session.warn("connection", || notice);
        }
        cuts.begin();
        let empty = |_: &Receiver| "nothing has come".to_owned();
        while session.wait(receiver, empty, |_| Ok(()), Receiver::read)? > 0 {
            let held = cuts.look(receiver.bytes());
            session.line(format_args!("read {} B: {held}", receiver.bytes().len()));
            if !session.received(0, receiver.bytes())? {
                return Ok(());
            }
        }
        if !args.consumer.forever {
            return Ok(());
        }
    }
}
