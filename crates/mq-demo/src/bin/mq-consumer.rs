//! Receives items from a message queue.

use std::ffi::c_long;
use std::io::{self, ErrorKind};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use common::{args, place::Place, session::Session};
use mq_demo::receiver::{Receiver, Select};
use mq_demo::registry::Api;

/// Receives items from a message queue: whole messages that the kernel keeps until somebody takes them
#[derive(Parser, Debug)]
#[command(name = "mq-consumer", version, after_help = TERMINALS)]
struct Args {
    #[command(flatten)]
    consumer: args::Consumer,
    /// The family of calls: msgsnd and msgrcv, or mq_send and mq_receive
    #[arg(long, default_value = "sysv", value_parser = api(), help_heading = "Message queue")]
    api: Api,
    /// System V: which messages. 0 = any type, N = only type N, -N = the lowest type up to N
    #[arg(long = "type", value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-c_long::MAX..),
        default_value = "0", help_heading = "Message queue")]
    kind: c_long,
    /// System V: all types but N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..), conflicts_with = "kind",
        help_heading = "Message queue")]
    except: Option<c_long>,
}

const TERMINALS: &str = "\
Terminal 1:  cargo run --bin mq-consumer
Terminal 2:  cargo run --bin mq-producer";

fn api() -> impl TypedValueParser<Value = Api> {
    PossibleValuesParser::new(["sysv", "posix"]).map(|s| if s == "posix" { Api::Posix } else { Api::Sysv })
}

impl Args {
    fn select(&self) -> io::Result<Select> {
        let select = match (self.except, self.kind) {
            (Some(kind), _) => Select::Except(kind),
            (None, 0) => Select::Any,
            (None, kind @ 1..) => Select::Only(kind),
            (None, kind) => Select::UpTo(-kind),
        };
        if self.api == Api::Posix && select != Select::Any {
            let why = "--type and --except need --api sysv (a POSIX queue gives the highest priority first)";
            return Err(io::Error::new(ErrorKind::InvalidInput, why));
        }
        Ok(select)
    }
}

fn main() -> ExitCode {
    let args: Args = args::parse();
    Session::consumer("mq", args.api.name(), &args.consumer, |session| {
        let select = args.select()?;
        if args.api == Api::Posix {
            session.other_side_needs("--api posix");
        }
        let channel = Place::open()?.channel(&args.consumer.both.name, "mq");
        let queue = Receiver::attach(channel, args.api, select).context("attach to the message queue")?;
        session.watch(queue.watch()?);
        let mut end = (queue, session.start_hint());
        let received = receive_all(session, &mut end, args.consumer.forever);
        let left = end.0.leave();
        session.report.shared(end.0.is_shared());
        if let Ok(Some(left)) = &left {
            session.report.note(format!("{left} for the next consumer, or remove it with: {}", left.remove));
        }
        received.and(left.map(drop).context("leave the message queue"))
    })
}

/// The loop: receives items until the end of the stream, or of each.
fn receive_all(session: &mut Session, end: &mut (Receiver, String), forever: bool) -> Result<()> {
    loop {
        session.meet(|_| end.0.open())?;
        while let Some(kind) = session.wait(
            end,
            empty,
            |e| e.0.look(),
            |e, block| if block { e.0.receive() } else { e.0.try_receive() },
        )? {
            // Types and priorities overtake each other; within each the order is kept.
            if !session.received(kind as u64, end.0.message())? {
                return Ok(());
            }
        }
        if !forever {
            return Ok(());
        }
    }
}

fn empty((queue, hint): &(Receiver, String)) -> String {
    let gauge = queue.gauge();
    match queue.producers() {
        0 => format!("{gauge} and no producer attached (start one with: {hint})"),
        _ => gauge,
    }
}
