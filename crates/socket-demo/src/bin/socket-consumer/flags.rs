//! What the consumer can be told.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use clap::Parser;
use common::args;
use socket_demo::protocol::{self, TRANSPORTS};

/// Receives items through sockets: listens, and serves any number of producers at once
#[derive(Parser, Debug)]
#[command(name = "socket-consumer", version, after_help = TERMINALS)]
pub struct Args {
    /// What every consumer is told
    #[command(flatten)]
    pub consumer: args::Consumer,
    /// unix, abstract: a stream on this machine, by --name, which is a file or not; seqpacket: messages on this
    /// machine, by --name; tcp: a stream, by --addr, also from afar; udp: messages that may be lost, by --addr
    #[arg(long, value_name = "TRANSPORT", value_parser = TRANSPORTS, default_value = TRANSPORTS[0], help_heading = "Socket")]
    pub transport: String,
    /// Where to listen, with --transport tcp and udp [default: 127.0.0.1:7411]
    #[arg(long, value_name = "HOST:PORT", help_heading = "Socket")]
    pub addr: Option<String>,
    /// Allow an --addr that other machines can reach
    #[arg(long, help_heading = "Socket")]
    pub allow_remote: bool,
    /// The largest payload that is taken; with udp that is a datagram's
    #[arg(long, value_name = "BYTES", value_parser = args::size, default_value = "16MiB", help_heading = "Socket")]
    pub max_frame: usize,
    /// Send each item back over the connection that it came by; to be said to both sides
    #[arg(long, conflicts_with = "unframed", help_heading = "Socket")]
    pub duplex: bool,
    /// Close a connection that says nothing at all, or of which a frame has begun, but has not come as a whole within
    /// this time; 0: never
    #[arg(long, value_name = "DURATION", value_parser = args::duration, default_value = "30s", help_heading = "Socket")]
    pub frame_deadline: Duration,
    /// Take each read for an item, as if a stream had messages; to be said to both sides
    #[arg(long, help_heading = "Mistakes")]
    pub unframed: bool,
}

const TERMINALS: &str = "\
Terminal 1:  cargo run --bin socket-consumer
Terminal 2:  cargo run --bin socket-producer";

impl Args {
    /// Refuses what does not go together, before anything is created.
    pub fn check(&self) -> Result<(), Error> {
        if self.unframed && ["seqpacket", "udp"].contains(&self.transport.as_str()) {
            let why = format!(
                "--transport {} keeps the boundaries of messages: --unframed is for streams (unix, abstract, tcp)",
                self.transport
            );
            return Err(Error::new(ErrorKind::InvalidInput, why));
        }
        if self.duplex && self.transport == "udp" {
            return Err(Error::new(ErrorKind::InvalidInput, protocol::NO_DUPLEX));
        }
        Ok(())
    }

    /// The transport, as it stands in the summary.
    pub fn variant(&self) -> &'static str {
        TRANSPORTS.into_iter().find(|t| *t == self.transport).unwrap_or(TRANSPORTS[0])
    }
}
