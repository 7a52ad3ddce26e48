//! What the consumer can be told.

use std::ffi::c_long;
use std::io::{self, ErrorKind};

use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use common::args;
use mq_demo::direct;
use mq_demo::receiver::Select;
use mq_demo::registry::Api;

/// Receives items from a message queue: whole messages that the kernel keeps until somebody takes them
#[derive(Parser, Debug)]
#[command(name = "mq-consumer", version, after_help = TERMINALS)]
pub struct Args {
    /// What every consumer is told
    #[command(flatten)]
    pub consumer: args::Consumer,
    /// The family of calls: msgsnd and msgrcv, or mq_send and mq_receive
    #[arg(long, default_value = "sysv", value_parser = api(), help_heading = "Message queue")]
    pub api: Api,
    /// System V: which messages. 0 = any type, N = only type N, -N = the lowest type up to N
    #[arg(long = "type", value_name = "N", allow_negative_numbers = true,
        value_parser = clap::value_parser!(i64).range(-direct::LAST_TYPE..=direct::LAST_TYPE),
        default_value = "0", help_heading = "Message queue")]
    kind: c_long,
    /// System V: all types but N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=direct::LAST_TYPE),
        conflicts_with = "kind", help_heading = "Message queue")]
    except: Option<c_long>,
    /// System V: only what is sent to this process (mq-producer --to); says its pid
    #[arg(long, conflicts_with_all = ["kind", "except", "from"], help_heading = "Message queue")]
    pub direct: bool,
    /// System V: only what this process sends, a producer that was told neither --type nor --to
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i64::from(direct::LAST_PID)),
        conflicts_with_all = ["kind", "except"], help_heading = "Message queue")]
    from: Option<u32>,
}

const TERMINALS: &str = "\
Terminal 1:  cargo run --bin mq-consumer
Terminal 2:  cargo run --bin mq-producer";

fn api() -> impl TypedValueParser<Value = Api> {
    PossibleValuesParser::new(["sysv", "posix"]).map(|s| if s == "posix" { Api::Posix } else { Api::Sysv })
}

impl Args {
    pub fn select(&self) -> io::Result<Select> {
        let select = match (self.except, self.from, self.kind) {
            _ if self.direct => Select::Only(direct::to(std::process::id())),
            (Some(kind), _, _) => Select::Except(kind),
            (None, Some(pid), _) => Select::Only(direct::from(pid)),
            (None, None, 0) => Select::Any,
            (None, None, kind @ 1..) => Select::Only(kind),
            (None, None, kind) => Select::UpTo(-kind),
        };
        if self.api == Api::Posix && select != Select::Any {
            let why = "--type, --except, --direct and --from need --api sysv (a POSIX queue gives the highest \
                       priority first)";
            return Err(io::Error::new(ErrorKind::InvalidInput, why));
        }
        Ok(select)
    }
}
