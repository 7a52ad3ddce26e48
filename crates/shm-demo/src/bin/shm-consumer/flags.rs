//! What the consumer can be told.

use clap::Parser;
use common::args;
use shm_demo::object::SyncKind;
use shm_demo::waiting::How;

/// Pops items from a bounded buffer in shared memory, into which another process pushes them
#[derive(Parser, Debug)]
#[command(name = "shm-consumer", version, after_help = TERMINALS)]
pub struct Args {
    /// What every consumer is told
    #[command(flatten)]
    pub consumer: args::Consumer,
    /// How the processes keep out of each other's way (none: not at all, and items are lost); both sides must say
    /// the same
    #[arg(long, value_name = "HOW", default_value = "semaphore", value_parser = SyncKind::NAMES, help_heading = "Buffer")]
    pub sync: String,
    /// How to wait for the other side: sleep at once; look for as long as that helps, then sleep; or only look, which
    /// takes a processor [default: adaptive]
    #[arg(long, value_name = "HOW", value_parser = How::NAMES, help_heading = "Buffer")]
    pub wait: Option<String>,
    /// Reply to every item, through a second ring (only with --sync ring); to be said to both sides
    #[arg(long, help_heading = "Buffer")]
    pub duplex: bool,
    /// Show how full the buffer is while it fills and empties
    #[arg(long, help_heading = "Buffer")]
    pub gauge: bool,
}

const TERMINALS: &str = "\
Terminal 1:  cargo run --bin shm-consumer
Terminal 2:  cargo run --bin shm-producer";
