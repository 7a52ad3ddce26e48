//! What the producer can be told.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use clap::Parser;
use common::args;
use socket_demo::packet;
use socket_demo::protocol::{self, TRANSPORTS};

/// Sends items through a socket: a connection to another process, on this machine or another
#[derive(Parser, Debug)]
#[command(name = "socket-producer", version, after_help = TERMINALS)]
pub struct Args {
    /// What every producer is told
    #[command(flatten)]
    pub producer: args::Producer,
    /// unix, abstract: a stream on this machine, by --name, which is a file or not; seqpacket: messages on this
    /// machine, by --name; tcp: a stream, by --addr, also to afar; udp: messages that may be lost, by --addr
    #[arg(long, value_name = "TRANSPORT", value_parser = TRANSPORTS, default_value = TRANSPORTS[0], help_heading = "Socket")]
    pub transport: String,
    /// Where the consumer is, with --transport tcp and udp [default: 127.0.0.1:7411]
    #[arg(long, value_name = "HOST:PORT", help_heading = "Socket")]
    pub addr: Option<String>,
    /// The largest payload that may be sent [default: 16MiB; what fits into one with seqpacket and udp]
    #[arg(long, value_name = "BYTES", value_parser = args::size, default_value = "16MiB", hide_default_value = true, help_heading = "Socket")]
    pub max_frame: usize,
    /// Send each item by a call of its own, as producer.rs does, also those for which nobody waits
    #[arg(long, help_heading = "Socket")]
    pub unbatched: bool,
    /// Wait until an item has come back, over the same connection, before the next one is sent; to be said to both
    /// sides
    #[arg(long, conflicts_with_all = ["drip", "ack_window", "unframed"], help_heading = "Socket")]
    pub duplex: bool,
    /// Send every frame byte by byte with this pause, so that the consumer can be seen waiting for all of it
    #[arg(long, value_name = "DURATION", value_parser = args::duration, help_heading = "Socket")]
    pub drip: Option<Duration>,
    /// Let the consumer acknowledge what it has dealt with, and never be more than W items ahead of that: when it is
    /// lost, at most W items are unknown, and are named
    #[arg(long, value_name = "W", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["drip", "unframed"], help_heading = "Socket")]
    pub ack_window: Option<u32>,
    /// Send items without a frame, so that nothing says where one ends; to be said to both sides
    #[arg(long, conflicts_with = "drip", help_heading = "Mistakes")]
    pub unframed: bool,
}

const TERMINALS: &str = "\
Terminal 1:  cargo run --bin socket-consumer
Terminal 2:  cargo run --bin socket-producer";

impl Args {
    /// Refuses what does not go together, before anything is created.
    pub fn check(&self) -> Result<(), Error> {
        let invalid = |why: String| Err(Error::new(ErrorKind::InvalidInput, why));
        let (size, transport) = (self.producer.size(), self.transport.as_str());
        let keeps_boundaries = ["seqpacket", "udp"].contains(&transport);
        if size > self.max_frame {
            return invalid(format!("a payload of {size} bytes is over --max-frame {}", self.max_frame));
        }
        if keeps_boundaries && (self.unframed || self.drip.is_some()) {
            return invalid(format!(
                "--transport {transport} keeps the boundaries of messages: --drip and --unframed are for streams (unix, abstract, tcp)"
            ));
        }
        if transport == "udp" && self.ack_window.is_some() {
            let why = "--transport udp promises nothing, and acknowledges nothing: --ack-window is for connections (unix, abstract, seqpacket, tcp)";
            return invalid(why.into());
        }
        if transport == "udp" && self.duplex {
            return invalid(protocol::NO_DUPLEX.into());
        }
        if transport == "seqpacket" { packet::check(common::item::HEADER + size) } else { Ok(()) }
    }

    /// The transport, as it stands in the summary.
    pub fn variant(&self) -> &'static str {
        TRANSPORTS.into_iter().find(|t| *t == self.transport).unwrap_or(TRANSPORTS[0])
    }
}
