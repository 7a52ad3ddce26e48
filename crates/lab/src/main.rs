//! `ipc-lab`: plays the pairs by starting the real binaries, which it finds beside itself, and shows what is there.

#![deny(unsafe_code)]

mod bench;
mod cast;
mod channels;
mod clean;
mod copy_test;
mod demo;
mod docs;
mod figure;
mod pairs;
mod play;
mod ps;
mod record;
mod send;
mod soak;
mod stage;
#[allow(unsafe_code)] // signal handlers
mod stop;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};

/// Plays, watches and clears up after the pairs of producers and consumers, which are real processes
#[derive(Parser, Debug)]
#[command(name = "ipc-lab", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Plays the pairs, then sends a file through each and compares what comes out
    Demo {
        /// The file to send [default: the compiler's largest library of its own, librustc_driver]
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Which pairs [default: all]
        #[arg(value_name = "METHOD", value_parser = PossibleValuesParser::new(pairs::NAMES))]
        methods: Vec<String>,
    },
    /// Plays the pairs, a handful of items each
    Play {
        /// Which pairs [default: all]
        #[arg(value_name = "METHOD", value_parser = PossibleValuesParser::new(pairs::NAMES))]
        methods: Vec<String>,
    },
    /// Measures the pairs: rates, latencies, and what an item costs
    Bench(bench::Args),
    #[command(hide = true)]
    BenchPart {
        #[command(subcommand)]
        part: bench::Part,
    },
    /// Runs the pairs at full speed while either side is killed, stopped and started again, and compares what was
    /// lost with what docs/promises.md allows
    Soak(soak::Args),
    /// Draws a recorded run: who ran, who waited, and which item crossed when
    Record(record::Args),
    /// Shows every channel of this machine: who holds it, how full it is, and whether its owners are dead
    Ps(ps::Args),
    /// Removes what killed processes have left behind, and nothing else
    Clean(clean::Args),
    /// Copies each mechanism's files out of this workspace, as the READMEs say, and builds and runs the copy
    CopyTest {
        /// Which crates [default: all demo crates]
        #[arg(value_name = "CRATE")]
        crates: Vec<String>,
    },
    /// Builds the guide into a website, with mdBook
    Docs,
    #[command(hide = true)]
    DocsPreprocess { question: Option<String>, renderer: Option<String> },
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args.command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(e) => {
            let stopped = e.downcast_ref::<stop::Stopped>();
            // A reader who has had enough has made no mistake.
            if stopped != Some(&stop::Stopped::NOBODY_READS) {
                eprintln!("error: {e:#}");
            }
            ExitCode::from(stopped.map_or(1, stop::Stopped::status))
        }
    }
}

/// Whether all went well; if not, the reasons have been printed.
fn run(command: &Command) -> Result<bool> {
    stop::on_signals()?;
    match command {
        Command::Demo { file, methods } => demo::demo(&pairs::named(methods), file.as_deref()),
        Command::Play { methods } => demo::play(&pairs::named(methods)),
        Command::Bench(args) => bench::bench(args),
        Command::BenchPart { part } => part.play(),
        Command::Soak(args) => soak::soak(args),
        Command::Record(args) => record::record(args),
        Command::Ps(args) => ps::ps(args),
        Command::Clean(args) => clean::clean(args),
        Command::CopyTest { crates } => copy_test::copy_test(crates),
        Command::Docs => docs::docs(),
        Command::DocsPreprocess { question, .. } => docs::preprocess(question.as_deref()),
    }
}
