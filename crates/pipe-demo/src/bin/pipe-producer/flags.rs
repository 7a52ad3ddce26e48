//! What the producer can be told.

use clap::Parser;
use common::args;

/// Writes items into a pipe: a byte stream in the kernel that another process reads
#[derive(Parser, Debug)]
#[command(name = "pipe-producer", version, after_help = TERMINALS)]
pub struct Args {
    /// What every producer is told
    #[command(flatten)]
    pub producer: args::Producer,
    /// Start the consumer as a child process, over a pipe without a name
    #[arg(long, help_heading = "Pipe")]
    pub anonymous: bool,
    /// How many bytes the pipe holds [default: the kernel's, 64KiB, or for longer items up to 1MiB]
    #[arg(long, value_name = "BYTES", value_parser = args::size, help_heading = "Pipe")]
    pub capacity: Option<usize>,
    /// Write each item by a call of its own, as frame.rs does, also those for which nobody waits
    #[arg(long, help_heading = "Pipe")]
    pub unbatched: bool,
    /// Give the pipe the pages in which the items are, not copies of them: for items from some KiB on
    #[arg(long, conflicts_with_all = ["lines", "duplex", "unbatched", "allow_torn"], help_heading = "Pipe")]
    pub zero_copy: bool,
    /// Read a reply to every item, from a second pipe; to be said to both sides
    #[arg(long, conflicts_with = "anonymous", help_heading = "Pipe")]
    pub duplex: bool,
    /// With --anonymous: first show that parent and child have memory of their own
    #[arg(long, requires = "anonymous", help_heading = "Pipe")]
    pub independent: bool,
    /// With --anonymous: where the child writes the payloads
    #[arg(long, value_name = "FILE", requires = "anonymous", help_heading = "Pipe")]
    pub output: Option<std::path::PathBuf>,
    /// With --anonymous: the time that the child spends on each item
    #[arg(long, value_name = "DURATION", value_parser = args::duration, requires = "anonymous", help_heading = "Pipe")]
    pub delay: Option<std::time::Duration>,
    /// Read the first reply before the first item is written; to be said to both sides
    #[arg(long, requires = "duplex", help_heading = "Mistakes")]
    pub deadlock: bool,
    /// Share the pipe with other writers although the frames are longer than PIPE_BUF; to be said to both sides
    #[arg(long, conflicts_with = "anonymous", help_heading = "Mistakes")]
    pub allow_torn: bool,
    /// With --zero-copy: build the next item in the same pages, which may still be in the pipe
    #[arg(long, requires = "zero_copy", help_heading = "Mistakes")]
    pub reuse_at_once: bool,
    /// With --anonymous: the child inherits a write end, and never closes it
    #[arg(long, requires = "anonymous", help_heading = "Mistakes")]
    pub leak_write_end: bool,
}

const TERMINALS: &str = "\
Terminal 1:  cargo run --bin pipe-consumer
Terminal 2:  cargo run --bin pipe-producer";
