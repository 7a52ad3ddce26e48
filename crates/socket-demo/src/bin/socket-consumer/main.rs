//! Receives items through sockets.

mod cuts;
mod flags;
mod udp;
mod unframed;

use std::process::ExitCode;

use anyhow::Result;
use common::{args, item, place::Place, session::Session};
use socket_demo::consumer::{Consumer, Received};
use socket_demo::duplex;
use socket_demo::endpoint::Address;
use socket_demo::protocol::{self, TCP_ADDRESS};

use crate::flags::Args;

fn main() -> ExitCode {
    let args: Args = args::parse();
    Session::consumer("socket", args.variant(), &args.consumer, |session| run(&args, session))
}

fn run(args: &Args, session: &mut Session) -> Result<()> {
    args.check()?;
    let said = [args.unframed, args.duplex];
    session.other_side_needs(protocol::both_need(&args.transport, args.addr.as_deref(), said));
    if args.transport == "udp" {
        return udp::run(args, session);
    }
    let channel = Place::open()?.channel(&args.consumer.both.name, "sock");
    let address = Address::of(&args.transport, channel, args.addr.as_deref(), TCP_ADDRESS)?;
    address.check_reach(args.allow_remote)?;
    if address.is_remote() {
        warn_of_reach(session, &address);
    }
    if args.unframed {
        return unframed::run(&address, args, session);
    }
    let listen = if args.duplex { duplex::listen } else { Consumer::listen };
    let mut consumer = listen(&address, item::HEADER + args.max_frame)?;
    consumer.frame_deadline(args.frame_deadline);
    let received = receive_all(args, session, &mut consumer);
    // Whatever ended us, the producers are told how much was taken; what we still have in buffers goes first.
    let written = session.flush();
    consumer.leave();
    received.and(written)
}

fn warn_of_reach(session: &mut Session, address: &impl std::fmt::Display) {
    session.say(&format!("warning: whoever reaches {address} can send items: there is no authentication"));
}

/// The loop: receives items until the last producer has said goodbye.
fn receive_all(args: &Args, session: &mut Session, consumer: &mut Consumer) -> Result<()> {
    loop {
        while let Some(notice) = session.meet(|block| consumer.meet(block))? {
            session.warn("connection", || notice);
        }
        let lost = loop {
            let received = session.wait(
                consumer,
                empty,
                |_| Ok(()),
                |c, block| {
                    if block { c.receive() } else { c.try_receive() }
                },
            )?;
            match received {
                Received::Item => {
                    let more_wanted = session.received(0, consumer.item())?;
                    if args.duplex {
                        consumer.send_back();
                    }
                    if !more_wanted {
                        return Ok(());
                    }
                }
                // What a producer is told to be done must not be lost with us: it leaves our buffers first.
                Received::Acknowledging => session.flush()?,
                Received::Notice(notice) => session.warn("connection", || notice),
                Received::End(lost) => break lost,
            }
        };
        if !args.consumer.forever {
            return Ok(lost?);
        }
    }
}

fn empty(consumer: &Consumer) -> String {
    match consumer.partial() {
        Some(partial) => format!("{partial} of a frame have come"),
        None => format!("nothing has come from {} connected producer(s)", consumer.producers()),
    }
}
