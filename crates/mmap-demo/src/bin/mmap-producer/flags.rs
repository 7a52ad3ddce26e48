//! What the producer can be told.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use common::args;
use mmap_demo::Durability;
use mmap_demo::waiting::How;

/// Writes items into a memory-mapped file: a ring of bytes that another process maps too, now or later
#[derive(Parser, Debug)]
#[command(name = "mmap-producer", version, after_help = TERMINALS)]
pub struct Args {
    /// What every producer is told
    #[command(flatten)]
    pub producer: args::Producer,
    /// The file to map [default: NAME.map in the run-time directory]
    #[arg(long, value_name = "FILE", help_heading = "Mapped file")]
    pub file: Option<PathBuf>,
    /// How many bytes the ring holds: the next power of two, at least 4KiB
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = args::size, help_heading = "Mapped file")]
    pub capacity: usize,
    /// How to wait for the other side: sleep at once; look for as long as that helps, then sleep; or only look, which
    /// takes a processor
    #[arg(long, value_name = "HOW", default_value = "adaptive", value_parser = How::NAMES, help_heading = "Mapped file")]
    pub wait: String,
    /// What becomes of a sent item when the machine stops (it outlives the processes in any case). none: no promise;
    /// async: no promise, but msync(MS_ASYNC) after each item, which on Linux changes nothing; sync: an item that is
    /// reported as sent is on the device, by msync(MS_SYNC) twice for each
    #[arg(long, value_name = "HOW", value_enum, default_value = "none", help_heading = "Mapped file")]
    pub durability: Kept,
    /// Map the file MAP_PRIVATE: this process writes into a copy of its own
    #[arg(long, conflicts_with = "durability", help_heading = "Mistakes")]
    pub private: bool,
}

// `--durability`. No variant has a comment for clap: one would make this command's `--help` three times as long as the
// others'.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kept {
    None,
    Async,
    Sync,
}

impl From<Kept> for Durability {
    fn from(kept: Kept) -> Durability {
        match kept {
            Kept::None => Durability::None,
            Kept::Async => Durability::Async,
            Kept::Sync => Durability::Sync,
        }
    }
}

const TERMINALS: &str = "\
Terminal 1:  cargo run --bin mmap-consumer
Terminal 2:  cargo run --bin mmap-producer";
