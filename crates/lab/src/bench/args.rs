//! What the bench is told.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, RangedU64ValueParser};
use common::args;

use crate::bench::before;
use crate::bench::count::Means;
use crate::bench::payload::CHUNK;
use crate::bench::row;
use crate::bench::subject::{self, Pattern};

/// What the bench is told.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Which methods, or variants of them, such as shm:ring [default: all]
    #[arg(value_name = "METHOD[:VARIANT]", value_parser = PossibleValuesParser::new(subject::names()))]
    pub which: Vec<String>,
    /// Payload of an item; several make a row each
    #[arg(long, value_name = "BYTES,…", value_delimiter = ',', default_value = "64", value_parser = args::size)]
    pub size: Vec<usize>,
    /// How many producers, and how many consumers, there are in the pattern of that name; it takes runs that are
    /// long enough for all of them to meet
    #[arg(long, value_name = "N,M", default_value = "2,2", value_parser = sides)]
    pub many: [usize; 2],
    /// Who sends what when [default: all]
    #[arg(long, value_name = "PATTERN,…", value_delimiter = ',', value_enum)]
    pub pattern: Vec<Pattern>,
    /// How long each run takes; a quarter of it in the pattern sizes
    #[arg(long, value_name = "DURATION", default_value = "200ms", value_parser = not_zero)]
    pub time: Duration,
    /// How long the file is that is sent in items of 1MiB, beside cat, socat, iperf3 and memcpy: a whole number of
    /// MiB, at least 4. It has no name, and goes with this process
    #[arg(long, value_name = "BYTES", default_value = "1GiB", value_parser = whole_chunks)]
    pub file_size: usize,
    /// Items of each run, in place of --time; the paced ones still stop after --time
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(row::FEW + 1..))]
    pub count: Option<u64>,
    /// The pause between two paced items: long enough that both sides fall asleep
    #[arg(long, value_name = "DURATION", default_value = "1ms", value_parser = not_zero)]
    pub interval: Duration,
    /// How many times each row is measured; three times at most in the patterns sizes and file
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub rounds: usize,
    /// The producer stays on the first of these CPUs, the consumer on the second; the same twice: both on one
    /// [default of a bare --pin: the first two]
    #[arg(long, value_name = "CPU,CPU", num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = pin)]
    pub pin: Option<[usize; 2]>,
    /// How system calls are counted [default: tracepoint where that is allowed, else ptrace]
    #[arg(long, value_enum, value_name = "MEANS")]
    pub calls: Option<Means>,
    /// Where all figures of all rounds go, and the charts beside it [default: target/bench/bench.json]
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl Args {
    /// Whether that pattern is asked for.
    pub fn plays(&self, pattern: Pattern) -> bool {
        self.pattern.is_empty() || self.pattern.contains(&pattern)
    }
}

/// A duration that takes some time.
pub fn not_zero(text: &str) -> Result<Duration, String> {
    args::duration(text).and_then(|d| if d.is_zero() { Err("it must not be 0".into()) } else { Ok(d) })
}

fn whole_chunks(text: &str) -> Result<usize, String> {
    args::size(text).and_then(|size| {
        let fits = size.is_multiple_of(CHUNK) && size >= 4 * CHUNK;
        if fits { Ok(size) } else { Err("it must be a whole number of MiB, at least 4".into()) }
    })
}

fn sides(text: &str) -> Result<[usize; 2], String> {
    let both = text.split_once(',').and_then(|(n, m)| Some([n.parse().ok()?, m.parse().ok()?]));
    both.filter(|both| both.iter().all(|n| (1..=1000).contains(n))).ok_or("write it as 2,2".into())
}

fn pin(text: &str) -> Result<[usize; 2], String> {
    let allowed = before::allowed().map_err(|e| e.to_string())?;
    let cpus = match text {
        "" => [allowed[0], *allowed.get(1).unwrap_or(&allowed[0])],
        _ => {
            let both = text.split_once(',').and_then(|(p, c)| Some([p.parse().ok()?, c.parse().ok()?]));
            both.ok_or("write it as 0,1")?
        }
    };
    match cpus.iter().find(|cpu| !allowed.contains(cpu)) {
        Some(cpu) => Err(format!("this process may not use CPU {cpu}, only {allowed:?}")),
        None => Ok(cpus),
    }
}
