//! What the producer can be told.

use std::ffi::c_long;
use std::io::{self, ErrorKind};

use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use common::args;
use mq_demo::registry::Api;
use mq_demo::{direct, structs};

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
    /// System V: the message types, in turn, 1 to 4294967295 [default: one that says which process sent it]
    #[arg(long = "type", value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(i64).range(1..=direct::LAST_TYPE),
        allow_negative_numbers = true, conflicts_with = "priorities", help_heading = "Message queue")]
    types: Vec<c_long>,
    /// POSIX: the priorities, in turn, 0 to 32767; the highest is received first [default: 0]
    #[arg(long = "priority", value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(i64).range(0..32768),
        help_heading = "Message queue")]
    priorities: Vec<c_long>,
    /// System V: send to this process alone, a consumer that was started with --direct
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i64::from(direct::LAST_PID)),
        conflicts_with_all = ["types", "structs"], help_heading = "Message queue")]
    pub to: Option<u32>,
    /// System V: send structs of three layouts; type 1 is a reading, 2 a text, 3 a command
    #[arg(long, conflicts_with_all = ["input", "size"], help_heading = "Message queue")]
    pub structs: bool,
    /// Wait for each item until it has been received: say how long that was
    #[arg(long, conflicts_with = "nonblocking", help_heading = "Message queue")]
    pub rendezvous: bool,
    /// Print how much of its memory the kernel gives to message queues, and what happens beyond it
    #[arg(long, help_heading = "Message queue")]
    pub limits: bool,
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
    pub fn kinds(&self) -> io::Result<Vec<c_long>> {
        let (first, last) = structs::KINDS;
        match self.api {
            Api::Sysv if !self.priorities.is_empty() => {
                Err(wrong_usage("--priority needs --api posix (System V has --type)"))
            }
            Api::Sysv if self.structs && self.types.iter().any(|kind| !(first..=last).contains(kind)) => {
                Err(wrong_usage("with --structs the types are 1 (a reading), 2 (a text) and 3 (a command)"))
            }
            Api::Sysv if !self.types.is_empty() => Ok(self.types.clone()),
            Api::Sysv if self.structs => Ok((first..=last).collect()),
            Api::Sysv => Ok(vec![self.to.map_or(direct::from(std::process::id()), direct::to)]),
            Api::Posix if !self.types.is_empty() => {
                Err(wrong_usage("--type needs --api sysv (POSIX has --priority)"))
            }
            Api::Posix if self.structs || self.to.is_some() => {
                Err(wrong_usage("--structs and --to need --api sysv (a POSIX message has no type)"))
            }
            Api::Posix if !self.priorities.is_empty() => Ok(self.priorities.clone()),
            Api::Posix => Ok(vec![0]),
        }
    }
}

fn wrong_usage(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, why)
}
