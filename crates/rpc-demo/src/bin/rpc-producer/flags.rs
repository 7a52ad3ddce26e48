//! What the producer can be told.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use common::args;
use rpc_demo::message::{Semantics, WINDOW};
use rpc_demo::retry::Terms;

/// Calls procedures that run in another process: put(item) for each item, or the one that --call names
#[derive(Parser, Debug)]
#[command(name = "rpc-producer", version, after_help = TERMINALS)]
pub struct Args {
    /// What every producer is told
    #[command(flatten)]
    pub producer: args::Producer,
    /// unix: on this machine, a local procedure call (LPC); tcp: by --addr, a remote one (RPC)
    #[arg(long, value_name = "TRANSPORT", value_parser = ["unix", "tcp"], default_value = "unix", help_heading = "RPC")]
    pub transport: String,
    /// Where the server listens, with --transport tcp [default: 127.0.0.1:7412]
    #[arg(long, value_name = "HOST:PORT", help_heading = "RPC")]
    pub addr: Option<String>,
    /// Call one procedure and print its result: sum N…, divide N N, stats
    #[arg(long, value_name = "PROCEDURE", num_args = 1.., allow_negative_numbers = true, help_heading = "RPC")]
    pub call: Vec<String>,
    /// How many calls may be under way at once, up to 64: the next is sent before the reply to the last has come.
    /// Needs --interval 0 or --input
    #[arg(long, value_name = "N", value_parser = in_flight, default_value = "1", conflicts_with_all = ["call", "trace"], help_heading = "RPC")]
    pub in_flight: usize,
    /// Show the steps of each call: its arguments, the stub's bytes, where it ran, and the way back
    #[arg(long, help_heading = "RPC")]
    pub trace: bool,
    /// How long to wait for a reply, each time that a call is sent; then its outcome is unknown, and that is
    /// exit status 3 [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = args::duration, help_heading = "Lost replies")]
    pub deadline: Option<Duration>,
    /// Send a call again, so often, when no reply came in time or the connection broke
    #[arg(long, value_name = "N", default_value_t = 0, requires = "deadline", help_heading = "Lost replies")]
    pub retries: u32,
    /// What the server does with a call that it has run already. at-least-once: run it again, which is right where a
    /// second time changes nothing (sum, divide), and wrong for put; at-most-once: send the same reply again
    #[arg(long, value_enum, default_value_t = Words::AtMostOnce, requires = "retries", help_heading = "Lost replies")]
    pub semantics: Words,
}

// The semantics, as they are written. No variant has a comment for clap: one would make this command's `--help` three
// times as long as the others'.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum Words {
    AtLeastOnce,
    AtMostOnce,
}

/// Between one call and as many as a server remembers the replies to.
fn in_flight(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (1..=WINDOW).contains(n));
    number
        .ok_or_else(|| format!("it must be 1 to {WINDOW}: a server remembers so many replies of one client"))
}

impl Args {
    /// Refuses what does not go together, before anything is created.
    pub fn check(&self) -> Result<(), Error> {
        if self.in_flight > 1 && !self.producer.interval().is_zero() {
            let why = "--in-flight needs --interval 0: with a pause between calls the reply has come before the next";
            return Err(Error::new(ErrorKind::InvalidInput, why));
        }
        Ok(())
    }

    /// On what terms calls are made.
    pub fn terms(&self) -> Terms {
        let semantics = match self.semantics {
            Words::AtLeastOnce => Semantics::AtLeastOnce,
            Words::AtMostOnce => Semantics::AtMostOnce,
        };
        Terms { deadline: self.deadline, retries: self.retries, semantics }
    }
}

const TERMINALS: &str = "\
Terminal 1:  cargo run --bin rpc-consumer
Terminal 2:  cargo run --bin rpc-producer";
