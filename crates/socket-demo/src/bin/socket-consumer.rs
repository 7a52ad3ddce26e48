//! Receives items through sockets.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use common::{args, item, place::Place, session::Session};
use socket_demo::consumer::{Consumer, Received};
use socket_demo::endpoint::Address;
use socket_demo::protocol::TCP_ADDRESS;

/// Receives items through sockets: listens, and serves any number of producers at once
#[derive(Parser, Debug)]
#[command(name = "socket-consumer", version, after_help = TERMINALS)]
struct Args {
    #[command(flatten)]
    consumer: args::Consumer,
    /// unix: by --name, on this machine; tcp: by --addr, also from afar
    #[arg(long, value_name = "TRANSPORT", value_parser = ["unix", "tcp"], default_value = "unix", help_heading = "Socket")]
    transport: String,
    /// Where to listen, with --transport tcp [default: 127.0.0.1:7411]
    #[arg(long, value_name = "HOST:PORT", help_heading = "Socket")]
    addr: Option<String>,
    /// Allow an --addr that other machines can reach
    #[arg(long, help_heading = "Socket")]
    allow_remote: bool,
    /// The largest payload that is taken
    #[arg(long, value_name = "BYTES", value_parser = args::size, default_value = "16MiB", help_heading = "Socket")]
    max_frame: usize,
}

const TERMINALS: &str = "\
Terminal 1:  cargo run --bin socket-consumer
Terminal 2:  cargo run --bin socket-producer";

fn main() -> ExitCode {
    let args: Args = args::parse();
    let variant = if args.transport == "tcp" { "tcp" } else { "unix" };
    Session::consumer("socket", variant, &args.consumer, |session| run(&args, session))
}

fn run(args: &Args, session: &mut Session) -> Result<()> {
    let channel = Place::open()?.channel(&args.consumer.both.name, "sock");
    let address = Address::of(&args.transport, channel, args.addr.as_deref(), TCP_ADDRESS)?;
    if let Address::Tcp(addr) = address {
        session.other_side_needs(format!("--transport tcp --addr {addr}"));
    }
    address.check_reach(args.allow_remote)?;
    if address.is_remote() {
        session
            .say(&format!("warning: whoever reaches {address} can send items: there is no authentication"));
    }
    let mut consumer = Consumer::listen(&address, item::HEADER + args.max_frame)?;
    let received = receive_all(args, session, &mut consumer);
    // Whatever ended us, the producers are told how much was taken.
    consumer.leave();
    received
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
                Received::Item if session.received(0, consumer.item())? => {}
                Received::Item => return Ok(()),
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
    format!("nothing has come from {} connected producer(s)", consumer.producers())
}
