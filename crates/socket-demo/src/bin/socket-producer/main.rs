//! Sends items through a socket.

mod batches;
mod drip;
mod duplex;
mod flags;
mod udp;
mod unframed;
mod window;

use std::process::ExitCode;

use anyhow::{Context, Result};
use common::{args, place::Place, session::Session, source::Items};
use socket_demo::dial::{Dial, Link};
use socket_demo::duplex::DuplexProducer;
use socket_demo::endpoint::Address;
use socket_demo::producer::Producer;
use socket_demo::protocol::{self, TCP_ADDRESS};

use crate::flags::Args;

fn main() -> ExitCode {
    let args: Args = args::parse();
    Session::producer("socket", args.variant(), &args.producer, |session| run(&args, session))
}

fn run(args: &Args, session: &mut Session) -> Result<()> {
    args.check()?;
    let said = [args.unframed, args.duplex];
    session.other_side_needs(protocol::both_need(&args.transport, args.addr.as_deref(), said));
    if args.transport == "udp" {
        return udp::run(args, session);
    }
    let channel = Place::open()?.channel(&args.producer.both.name, "sock");
    let address = Address::of(&args.transport, channel.clone(), args.addr.as_deref(), TCP_ADDRESS)?;
    let mut items = Items::new(&args.producer, session)?;
    session.watch(channel.watch()?);
    if args.unframed {
        return unframed::run(address, &mut items, session);
    }
    if let Some(window) = args.ack_window {
        return window::run(window, address, &mut items, session);
    }
    let longest = items.longest();
    let dial = if args.duplex { DuplexProducer::dial(address, longest) } else { Producer::dial(address) };
    let mut producer = Producer::new(meet(session, dial)?);
    let sent = producer.check(longest).map_err(Into::into).and_then(|()| match args.drip {
        None if args.duplex => duplex::send_all(&mut items, session, &mut producer),
        None => batches::send_all(args, &mut items, session, &mut producer),
        Some(pause) => drip::send_all(pause, &mut items, session, &mut producer),
    });
    if session.stopped().is_some() || producer.sent() == 0 {
        // Ctrl-C is a goodbye too, if the socket can take it at once. If not, the consumer finds us lost.
        producer.leave();
    }
    sent.with_context(|| format!("send to {}", producer.peer()))
}

/// Waits for a consumer, and for its HELLO; again if it leaves in between.
fn meet(session: &mut Session, mut dial: Dial) -> Result<Link> {
    loop {
        session.meet(|block| dial.connect(block))?;
        let silent = |_: &Dial| "the consumer has not said HELLO".to_owned();
        if let Some(link) = session.wait(&mut dial, silent, |_| Ok(()), Dial::greet)? {
            return Ok(link);
        }
    }
}

/// The goodbye, whose answer says that all items were taken.
fn finish(session: &mut Session, producer: &mut Producer) -> Result<()> {
    let unanswered = |p: &Producer| format!("the consumer has not taken all {} items yet", p.sent());
    session.wait(producer, unanswered, |_| Ok(()), |p, block| if block { p.finish() } else { p.try_finish() })
}
