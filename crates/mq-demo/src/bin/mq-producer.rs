//! Sends items into a message queue.

use std::ffi::c_long;
use std::io::{self, ErrorKind};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use common::{args, exit::Stopped, place::Place, session::Session, source::Items};
use mq_demo::registry::Api;
use mq_demo::sender::{Sender, Shape};

/// Sends items into a message queue: whole messages that the kernel keeps until somebody takes them
#[derive(Parser, Debug)]
#[command(name = "mq-producer", version, after_help = TERMINALS)]
struct Args {
    #[command(flatten)]
    producer: args::Producer,
    /// The family of calls: msgsnd and msgrcv, or mq_send and mq_receive
    #[arg(long, default_value = "sysv", value_parser = api(), help_heading = "Message queue")]
    api: Api,
    /// How many items of --size the queue holds [default: 10, or fewer if the kernel's limits are lower]
    #[arg(long, value_name = "N", value_parser = capacity, help_heading = "Message queue")]
    capacity: Option<usize>,
    /// System V: the message types, in turn; each is positive [default: 1]
    #[arg(long = "type", value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(i64).range(1..),
        allow_negative_numbers = true, conflicts_with = "priorities", help_heading = "Message queue")]
    types: Vec<c_long>,
    /// POSIX: the priorities, in turn, 0 to 32767; the highest is received first [default: 0]
    #[arg(long = "priority", value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(i64).range(0..32768),
        help_heading = "Message queue")]
    priorities: Vec<c_long>,
}

const TERMINALS: &str = "\
Terminal 1:  cargo run --bin mq-consumer
Terminal 2:  cargo run --bin mq-producer";

fn api() -> impl TypedValueParser<Value = Api> {
    PossibleValuesParser::new(["sysv", "posix"]).map(|s| if s == "posix" { Api::Posix } else { Api::Sysv })
}

fn capacity(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "it must be a positive number of items".into())
}

impl Args {
    /// The types or priorities that the items have in turn.
    fn kinds(&self) -> io::Result<&[c_long]> {
        match (self.api, &self.types[..], &self.priorities[..]) {
            (Api::Sysv, [], []) => Ok(&[1]),
            (Api::Posix, [], []) => Ok(&[0]),
            (Api::Sysv, types, []) => Ok(types),
            (Api::Posix, [], priorities) => Ok(priorities),
            (Api::Sysv, ..) => Err(wrong_usage("--priority needs --api posix (System V has --type)")),
            (Api::Posix, ..) => Err(wrong_usage("--type needs --api sysv (POSIX has --priority)")),
        }
    }
}

fn wrong_usage(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, why)
}

fn main() -> ExitCode {
    let args: Args = args::parse();
    Session::producer("mq", args.api.name(), &args.producer, |session| {
        let kinds = args.kinds()?;
        if args.api == Api::Posix {
            session.other_side_needs("--api posix");
        }
        let mut items = Items::new(&args.producer, session)?;
        let channel = Place::open()?.channel(&args.producer.both.name, "mq");
        let shape = Shape { api: args.api, capacity: args.capacity, size: items.longest() };
        let queue = Sender::create(channel, &shape).context("make the message queue")?;
        session.watch(queue.watch()?);
        let mut end = (queue, session.start_hint());
        let sent = send_all(&mut items, kinds, session, &mut end);
        // Ctrl-C is a goodbye too: all that was sent is in the queue. A failure is none.
        let left = match &sent {
            Ok(()) => end.0.finish(),
            Err(e) if e.is::<Stopped>() => end.0.stop(),
            Err(_) => end.0.fail(),
        };
        if let Ok(Some(left)) = &left {
            session.report.note(format!("{left}; take what is there with: {}", end.1));
            session.report.note(format!("or remove it with: {}", left.remove));
        }
        sent.and(left.map(drop).context("leave the message queue"))
    })
}

/// The loop: every item is sent, with the next type or priority.
fn send_all(
    items: &mut Items,
    kinds: &[c_long],
    session: &mut Session,
    end: &mut (Sender, String),
) -> Result<()> {
    let mut kinds = kinds.iter().cycle();
    while let Some(item) = items.next(session)? {
        let kind = *kinds.next().expect("it goes round");
        session.wait(
            end,
            full,
            |e| e.0.look(),
            |e, block| if block { e.0.send(kind, item) } else { e.0.try_send(kind, item) },
        )?;
        session.sent(item)?;
    }
    Ok(())
}

fn full((queue, hint): &(Sender, String)) -> String {
    let gauge = queue.gauge();
    match queue.consumers() {
        0 => format!("queue full {gauge} and no consumer attached (start one with: {hint})"),
        _ => format!("queue full {gauge}"),
    }
}
