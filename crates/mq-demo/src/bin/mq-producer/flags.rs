//! What the producer can be told.

use std::ffi::c_long;
use std::io::{self, ErrorKind};

use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use common::args;
use mq_demo::registry::Api;

/// Sends items into a message queue: whole messages that the kernel keeps until somebody takes them
#[derive(Parser, Debug)]
#[command(name = "mq-producer", version, after_help = TERMINALS)]
pub struct Args {
    /// What every producer is told
    #[command(flatten)]
    pub producer: args::Producer,
    /// The family of calls: msgsnd and msgrcv, or mq_send and mq_receive
    #[arg(long, default_value = "sysv", value_parser = api(), help_heading = "Message queue")]
    pub api: Api,
    /// How many items of --size the queue holds [default: 10, or fewer if the kernel's limits are lower]
    #[arg(long, value_name = "N", value_parser = capacity, help_heading = "Message queue")]
    pub capacity: Option<usize>,
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
    pub fn kinds(&self) -> io::Result<&[c_long]> {
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
