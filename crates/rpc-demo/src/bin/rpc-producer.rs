//! Calls procedures of a server: `put` for each item, or one that is named.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use common::exit::Exit;
use common::{args, place::Place, session::Session, source::Items};
use rpc_demo::call::Call;
use rpc_demo::client::Client;
use rpc_demo::service::{Receipt, TCP_ADDRESS};
use socket_demo::dial::Dial;
use socket_demo::endpoint::Address;

/// Calls procedures that run in another process: put(item) for each item, or the one that --call names
#[derive(Parser, Debug)]
#[command(name = "rpc-producer", version, after_help = TERMINALS)]
struct Args {
    #[command(flatten)]
    producer: args::Producer,
    /// unix: on this machine, a local procedure call; tcp: by --addr, a remote one
    #[arg(long, value_name = "TRANSPORT", value_parser = ["unix", "tcp"], default_value = "unix", help_heading = "RPC")]
    transport: String,
    /// Where the server listens, with --transport tcp [default: 127.0.0.1:7412]
    #[arg(long, value_name = "HOST:PORT", help_heading = "RPC")]
    addr: Option<String>,
    /// Call one procedure and print its result: sum N…, divide N N, stats
    #[arg(long, value_name = "PROCEDURE", num_args = 1.., allow_negative_numbers = true, help_heading = "RPC")]
    call: Vec<String>,
}

const TERMINALS: &str = "\
Terminal 1:  cargo run --bin rpc-consumer
Terminal 2:  cargo run --bin rpc-producer";

fn main() -> ExitCode {
    let args: Args = args::parse();
    let variant = if args.transport == "tcp" { "tcp" } else { "unix" };
    Session::producer("rpc", variant, &args.producer, |session| run(&args, session))
}

fn run(args: &Args, session: &mut Session) -> Result<()> {
    let call = if args.call.is_empty() { None } else { Some(args.call.join(" ").parse::<Call>()?) };
    let channel = Place::open()?.channel(&args.producer.both.name, "rpc.sock");
    let address = Address::of(&args.transport, channel.clone(), args.addr.as_deref(), TCP_ADDRESS)?;
    if let Address::Tcp(addr) = address {
        session.other_side_needs(format!("--transport tcp --addr {addr}"));
    }
    let mut items = Items::new(&args.producer, session)?;
    session.watch(channel.watch()?);
    let mut client = meet(session, Client::dial(address))?;
    let done = match &call {
        None => put_all(&mut items, session, &mut client).context("put"),
        Some(call) => call_one(call, session, &mut client).with_context(|| format!("call {call}")),
    };
    if done.is_ok() || call.is_some() || session.stopped().is_some() {
        client.leave();
    }
    done
}

/// Waits for a server, and for its HELLO; again if it leaves in between.
fn meet(session: &mut Session, mut dial: Dial) -> Result<Client> {
    loop {
        session.meet(|block| dial.connect(block))?;
        let silent = |_: &Dial| "the server has not said HELLO".to_owned();
        if let Some(link) = session.wait(&mut dial, silent, |_| Ok(()), Dial::greet)? {
            return Ok(Client::new(link));
        }
    }
}

/// The loop: every item is put, and its receipt checked.
fn put_all(items: &mut Items, session: &mut Session, client: &mut Client) -> Result<()> {
    let mut last = Receipt { number: 0, bytes: 0 };
    while let Some(item) = items.next(session)? {
        let receipt = session.wait(
            client,
            unanswered,
            |_| Ok(()),
            |c, block| {
                c.set_nonblocking(!block);
                Ok(c.put(item)?)
            },
        )?;
        if receipt.bytes != item.len() as u64 || receipt.number <= last.number {
            let why = format!("{receipt:?} for an item of {} bytes, after {last:?}", item.len());
            return Err(io::Error::new(ErrorKind::InvalidData, why).into());
        }
        last = receipt;
        session.sent(item)?;
    }
    Ok(())
}

fn unanswered(client: &Client) -> String {
    format!("no reply yet from {}", client.peer())
}

/// `--call`: the result alone goes to standard output.
fn call_one(call: &Call, session: &mut Session, client: &mut Client) -> Result<()> {
    let result = session.wait(
        client,
        unanswered,
        |_| Ok(()),
        |c, block| {
            c.set_nonblocking(!block);
            Ok(call.run(c)?)
        },
    );
    let ran_in = client.ran_in();
    if ran_in != 0 {
        session.say(&format!("{call} ran in process {ran_in}; this is process {}", std::process::id()));
    }
    let line = format!("{}\n", result?);
    io::stdout()
        .write_all(line.as_bytes())
        .map_err(|e| Exit { status: 1, message: format!("write to standard output: {e}") }.into())
}
