//! What the producer can be told.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use common::args;
use mmap_demo::Durability;
use mmap_demo::ring::room_for;
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
    /// How many bytes the ring holds: the next power of two, at least 4KiB [default: 1MiB, or room for two items if that
    /// is more]
    #[arg(long, value_name = "BYTES", value_parser = args::size, help_heading = "Mapped file")]
    pub capacity: Option<usize>,
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

impl Args {
    /// The ring that is wanted, for items of up to `longest` bytes. What is not asked for is small enough to stay in the
    /// processors' caches: each page that was never touched costs a page fault, and is filled with zeroes first.
    pub fn capacity(&self, longest: usize) -> u64 {
        let default = || room_for(longest as u64).saturating_mul(2).max(1 << 20);
        self.capacity.map_or_else(default, |capacity| capacity as u64)
    }
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
