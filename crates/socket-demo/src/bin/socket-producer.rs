//! Sends items through a socket.

use std::io::{Error, ErrorKind};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use common::{args, place::Place, session::Session, source::Items};
use socket_demo::dial::Dial;
use socket_demo::endpoint::Address;
use socket_demo::producer::Producer;
use socket_demo::protocol::TCP_ADDRESS;

/// Sends items through a socket: a connection to another process, on this machine or another
#[derive(Parser, Debug)]
#[command(name = "socket-producer", version, after_help = TERMINALS)]
struct Args {
    #[command(flatten)]
    producer: args::Producer,
    /// unix: by --name, on this machine; tcp: by --addr, also from afar
    #[arg(long, value_name = "TRANSPORT", value_parser = ["unix", "tcp"], default_value = "unix", help_heading = "Socket")]
    transport: String,
    /// Where the consumer listens, with --transport tcp [default: 127.0.0.1:7411]
    #[arg(long, value_name = "HOST:PORT", help_heading = "Socket")]
    addr: Option<String>,
    /// The largest payload that may be sent
    #[arg(long, value_name = "BYTES", value_parser = args::size, default_value = "16MiB", help_heading = "Socket")]
    max_frame: usize,
}

const TERMINALS: &str = "\
Terminal 1:  cargo run --bin socket-consumer
Terminal 2:  cargo run --bin socket-producer";

fn main() -> ExitCode {
    let args: Args = args::parse();
    let variant = if args.transport == "tcp" { "tcp" } else { "unix" };
    Session::producer("socket", variant, &args.producer, |session| run(&args, session))
}

fn run(args: &Args, session: &mut Session) -> Result<()> {
    let size = args.producer.size();
    if size > args.max_frame {
        let why = format!("a payload of {size} bytes is over --max-frame {}", args.max_frame);
        return Err(Error::new(ErrorKind::InvalidInput, why).into());
    }
    let channel = Place::open()?.channel(&args.producer.both.name, "sock");
    let address = Address::of(&args.transport, channel.clone(), args.addr.as_deref(), TCP_ADDRESS)?;
    if let Address::Tcp(addr) = address {
        session.other_side_needs(format!("--transport tcp --addr {addr}"));
    }
    let mut items = Items::new(&args.producer, session)?;
    session.watch(channel.watch()?);
    let mut producer = meet(session, Producer::dial(address))?;
    let sent = producer
        .check(items.longest())
        .map_err(Into::into)
        .and_then(|()| send_all(&mut items, session, &mut producer));
    if session.stopped().is_some() || producer.sent() == 0 {
        // Ctrl-C is a goodbye too, if the socket can take it at once. If not, the consumer finds us lost.
        producer.leave();
    }
    sent.with_context(|| format!("send to {}", producer.peer()))
}

/// Waits for a consumer, and for its HELLO; again if it leaves in between.
fn meet(session: &mut Session, mut dial: Dial) -> Result<Producer> {
    loop {
        session.meet(|block| dial.connect(block))?;
        let silent = |_: &Dial| "the consumer has not said HELLO".to_owned();
        if let Some(link) = session.wait(&mut dial, silent, |_| Ok(()), Dial::greet)? {
            return Ok(Producer::new(link));
        }
    }
}

/// The loop: every item is sent, then the goodbye, whose answer says that all were taken.
fn send_all(items: &mut Items, session: &mut Session, producer: &mut Producer) -> Result<()> {
    let full = |_: &Producer| "socket full".to_owned();
    while let Some(item) = items.next(session)? {
        session.wait(
            producer,
            full,
            |_| Ok(()),
            |p, block| if block { p.send(item) } else { p.try_send(item) },
        )?;
        session.sent(item)?;
    }
    let unanswered = |p: &Producer| format!("the consumer has not taken all {} items yet", p.sent());
    session.wait(producer, unanswered, |_| Ok(()), |p, block| if block { p.finish() } else { p.try_finish() })
}
