//! What the producer can be told.

use std::io;

use anyhow::Result;
use clap::Parser;
use common::{args, item};
use shm_demo::object::{Shape, SyncKind};
use shm_demo::waiting::How;

/// Pushes items into a bounded buffer in shared memory, from which another process pops them
#[derive(Parser, Debug)]
#[command(name = "shm-producer", version, after_help = TERMINALS)]
pub struct Args {
    /// What every producer is told
    #[command(flatten)]
    pub producer: args::Producer,
    /// How the processes keep out of each other's way (none: not at all, and items are lost); both sides must say
    /// the same
    #[arg(long, value_name = "HOW", default_value = "semaphore", value_parser = SyncKind::NAMES, help_heading = "Buffer")]
    pub sync: String,
    /// How to wait for the other side: sleep at once; look for as long as that helps, then sleep; or only look, which
    /// takes a processor [default: adaptive]
    #[arg(long, value_name = "HOW", value_parser = How::NAMES, help_heading = "Buffer")]
    pub wait: Option<String>,
    /// Wait for a reply to every item, which comes through a second ring (only with --sync ring); to be said to both
    /// sides
    #[arg(long, help_heading = "Buffer")]
    pub duplex: bool,
    /// How many items the buffer holds
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1 << 20), help_heading = "Buffer")]
    pub slots: u32,
    /// The largest payload that a slot can hold [default: --size]
    #[arg(long, value_name = "BYTES", value_parser = args::size, help_heading = "Buffer")]
    pub slot_size: Option<usize>,
    /// Show how full the buffer is while it fills and empties
    #[arg(long, help_heading = "Buffer")]
    pub gauge: bool,
}

const TERMINALS: &str = "\
Terminal 1:  cargo run --bin shm-consumer
Terminal 2:  cargo run --bin shm-producer";

impl Args {
    /// The buffer that is wanted.
    ///
    /// # Errors
    /// `InvalidInput` if the items would not fit.
    pub fn shape(&self) -> Result<Shape> {
        let size = self.producer.size();
        let slot_size = self.slot_size.unwrap_or(size);
        if size > slot_size {
            let message = format!("--size {size} is larger than --slot-size {slot_size}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message).into());
        }
        Ok(Shape { slots: self.slots, slot_size: (item::HEADER + slot_size) as u32 })
    }
}
