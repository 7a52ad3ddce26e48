//! The server: runs the procedures that clients call.

mod desk;
mod ledger;
mod trace;

use std::num::NonZeroU64;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use common::{args, item, place::Place, session::Session};
use rpc_demo::drop_replies::DropReplies;
use rpc_demo::message::TCP_ADDRESS;
use rpc_demo::service::Counters;
use rpc_demo::skeleton::ServerStub;
use socket_demo::consumer::Received;
use socket_demo::endpoint::Address;

use desk::Desk;
use ledger::Ledger;

/// Runs the procedures that clients call: put(item), sum(numbers), divide(a, b), stats()
#[derive(Parser, Debug)]
#[command(name = "rpc-consumer", version, after_help = TERMINALS)]
struct Args {
    #[command(flatten)]
    consumer: args::Consumer,
    /// unix: on this machine, local procedure calls (LPC); tcp: by --addr, remote ones (RPC)
    #[arg(long, value_name = "TRANSPORT", value_parser = ["unix", "tcp"], default_value = "unix", help_heading = "RPC")]
    transport: String,
    /// Where to listen, with --transport tcp [default: 127.0.0.1:7412]
    #[arg(long, value_name = "HOST:PORT", help_heading = "RPC")]
    addr: Option<String>,
    /// Allow an --addr that other machines can reach
    #[arg(long, help_heading = "RPC")]
    allow_remote: bool,
    /// The largest payload of an item that is taken
    #[arg(long, value_name = "BYTES", value_parser = args::size, default_value = "16MiB", help_heading = "RPC")]
    max_frame: usize,
    /// Close a connection that says nothing at all, or of which a request has begun, but has not come as a whole within
    /// this time; 0: never
    #[arg(long, value_name = "DURATION", value_parser = args::duration, default_value = "30s", help_heading = "RPC")]
    frame_deadline: Duration,
    /// Show the steps of each call that happen here: the bytes that came, the arguments in them, the function
    #[arg(long, help_heading = "RPC")]
    trace: bool,
    /// Run the procedure, but do not send every Nth reply
    #[arg(long, value_name = "N", help_heading = "Mistakes")]
    drop_replies: Option<NonZeroU64>,
}

const TERMINALS: &str = "\
Terminal 1:  cargo run --bin rpc-consumer
Terminal 2:  cargo run --bin rpc-producer";

fn main() -> ExitCode {
    let args: Args = args::parse();
    let variant = if args.transport == "tcp" { "tcp" } else { "unix" };
    Session::consumer("rpc", variant, &args.consumer, |session| run(&args, session))
}

fn run(args: &Args, session: &mut Session) -> Result<()> {
    let channel = Place::open()?.channel(&args.consumer.both.name, "rpc.sock");
    let address = Address::of(&args.transport, channel, args.addr.as_deref(), TCP_ADDRESS)?;
    if let Address::Tcp(addr) = address {
        session.other_side_needs(format!("--transport tcp --addr {addr}"));
    }
    address.check_reach(args.allow_remote)?;
    if address.is_remote() {
        session.say(&format!("warning: whoever reaches {address} can call: there is no authentication"));
    }
    let mut stub = ServerStub::listen(&address, item::HEADER + args.max_frame)?;
    stub.frame_deadline(args.frame_deadline);
    let mut desk = Desk { session, counters: Counters::default(), put: Ok(true), ledger: Ledger::default() };
    let mut dropping = DropReplies::new(args.drop_replies);
    let served = serve(args, &mut stub, &mut desk, &mut dropping);
    desk.session.report.extra("faults", desk.counters.faults);
    desk.ledger.report(desk.session, dropping.dropped());
    // Whatever ended us, the clients are told how many of their calls were run.
    stub.leave();
    served
}

/// The loop: runs what is called until the last client has said goodbye.
fn serve(args: &Args, stub: &mut ServerStub, desk: &mut Desk<'_>, dropping: &mut DropReplies) -> Result<()> {
    loop {
        while let Some(notice) = desk.session.meet(|block| stub.meet(block))? {
            desk.session.warn("connection", || notice);
        }
        let lost = loop {
            match desk.session.wait(stub, idle, |_| Ok(()), ServerStub::receive)? {
                Received::Item => {
                    let done = if args.trace { trace::run(stub, desk) } else { stub.run(desk) };
                    desk.ledger.count(desk.session, &stub.request(), done);
                    if dropping.takes_next() {
                        desk.ledger.dropped(desk.session, &stub.request())
                    } else {
                        stub.answer()
                    }
                }
                // Nobody asks for that here: a call's acknowledgement is its reply.
                Received::Acknowledging => {}
                Received::Notice(notice) => desk.session.warn("connection", || notice),
                Received::End(lost) => break lost,
            }
            if !std::mem::replace(&mut desk.put, Ok(true))? {
                return Ok(());
            }
        };
        if !args.consumer.forever {
            return Ok(lost?);
        }
    }
}

fn idle(stub: &ServerStub) -> String {
    format!("no call has come from {} connected client(s)", stub.clients())
}
