//! Calls procedures of a server: `put` for each item, or one that is named.

mod caller;
mod flags;
mod meet;
mod pipelined;
mod puts;
mod trace;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use common::exit::Exit;
use common::{args, place::Place, session::Session, source::Items};
use rpc_demo::call::Call;
use rpc_demo::message::TCP_ADDRESS;
use rpc_demo::service::Receipt;
use socket_demo::endpoint::Address;

use crate::caller::Caller;
use crate::flags::Args;

fn main() -> ExitCode {
    let args: Args = args::parse();
    let variant = if args.transport == "tcp" { "tcp" } else { "unix" };
    Session::producer("rpc", variant, &args.producer, |session| run(&args, session))
}

fn run(args: &Args, session: &mut Session) -> Result<()> {
    args.check()?;
    let call = if args.call.is_empty() { None } else { Some(args.call.join(" ").parse::<Call>()?) };
    let channel = Place::open()?.channel(&args.producer.both.name, "rpc.sock");
    let address = Address::of(&args.transport, channel.clone(), args.addr.as_deref(), TCP_ADDRESS)?;
    if let Address::Tcp(addr) = address {
        session.other_side_needs(format!("--transport tcp --addr {addr}"));
    }
    let mut items = Items::new(&args.producer, session)?;
    let met = meet::first(session, address, &channel)?;
    if args.in_flight > 1 {
        return pipelined::run(args, met, &mut items, session);
    }
    let mut caller = Caller::new(args, met, items.stream());
    let mut done = match &call {
        None => put_all(&mut items, session, &mut caller).context("put"),
        Some(call) => call_one(args, call, session, &mut caller).with_context(|| format!("call {call}")),
    };
    if done.is_ok() || call.is_some() || session.stopped().is_some() {
        let left = caller.leave(session);
        done = done.and(left);
    }
    caller.report(session);
    done
}

/// The loop: every item is put, and its receipt checked.
fn put_all(items: &mut Items, session: &mut Session, caller: &mut Caller) -> Result<()> {
    let mut last = (0, Receipt { number: 0, bytes: 0 });
    while let Some(item) = items.next(session)? {
        let what = format_args!("put(an item of {} bytes)", item.len());
        let receipt = caller.call(session, &what, |client| client.put(item))?;
        let server = caller.client.ran_in();
        // Another server counts its own items.
        let is_next = server != last.0 || receipt.number > last.1.number;
        if receipt.bytes != item.len() as u64 || !is_next {
            let why = format!("{receipt:?} for an item of {} bytes, after {:?}", item.len(), last.1);
            return Err(io::Error::new(ErrorKind::InvalidData, why).into());
        }
        last = (server, receipt);
        session.report.remark(|| format!("ran in process {server}"));
        session.sent(item)?;
    }
    Ok(())
}

/// `--call`: the result alone goes to standard output.
fn call_one(args: &Args, call: &Call, session: &mut Session, caller: &mut Caller) -> Result<()> {
    let since = Instant::now();
    session.report.headline("no call was answered");
    let result = caller.call(session, call, |client| call.run(client));
    let ran_in = caller.client.ran_in();
    if ran_in != 0 {
        session.report.headline(format!("1 call, answered after {:.1?}", since.elapsed()));
        let kind = if args.transport == "tcp" { "remote procedure call" } else { "local procedure call" };
        let this = std::process::id();
        session.say(&format!("{call} ran in process {ran_in}; this is process {this}: a {kind}"));
    }
    let line = format!("{}\n", result?);
    io::stdout()
        .write_all(line.as_bytes())
        .map_err(|e| Exit { status: 1, message: format!("write to standard output: {e}") }.into())
}
