//! `ipc-lab bench`: what each mechanism costs, measured on the real binaries as two processes.
//!
//! ```text
//! warm-up        each row: start-up alone, then how many items make a run of the wanted length
//! round 1 … n    the floors, then each row once: so a disturbance does not hit one row alone
//! count          the system calls, in runs that measure nothing else
//! ```

mod bare;
mod before;
mod chart;
mod count;
mod floor;
mod machine;
mod measure;
mod row;
pub mod subject;
mod tables;
mod tracepoint;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::builder::{PossibleValuesParser, RangedU64ValueParser};
use common::args;
use console::Style;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::play::{print, said};
use bare::Bare;
use count::Means;
use floor::Floors;
use machine::{Clocks, Machine, Others};
use measure::Track;
use row::Row;
use subject::Pattern;

/// What the bench is told.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Which methods, or variants of them, such as shm:ring [default: all]
    #[arg(value_name = "METHOD[:VARIANT]", value_parser = PossibleValuesParser::new(subject::names()))]
    which: Vec<String>,
    /// Payload of an item; several make a row each
    #[arg(long, value_name = "BYTES,…", value_delimiter = ',', default_value = "64", value_parser = args::size)]
    size: Vec<usize>,
    /// How many producers, and how many consumers, there are in the pattern of that name; it takes runs that are
    /// long enough for all of them to meet
    #[arg(long, value_name = "N,M", default_value = "2,2", value_parser = sides)]
    many: [usize; 2],
    /// Who sends what when [default: all]
    #[arg(long, value_name = "PATTERN,…", value_delimiter = ',', value_enum)]
    pattern: Vec<Pattern>,
    /// How long each run takes
    #[arg(long, value_name = "DURATION", default_value = "400ms", value_parser = not_zero)]
    time: Duration,
    /// Items of each run, in place of --time; the paced ones still stop after --time
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(row::FEW + 1..))]
    count: Option<u64>,
    /// The pause between two paced items: long enough that both sides fall asleep
    #[arg(long, value_name = "DURATION", default_value = "1ms", value_parser = not_zero)]
    interval: Duration,
    /// How many times each row is measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    rounds: usize,
    /// The producer stays on the first of these CPUs, the consumer on the second; the same twice: both on one
    /// [default of a bare --pin: the first two]
    #[arg(long, value_name = "CPU,CPU", num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = pin)]
    pin: Option<[usize; 2]>,
    /// How system calls are counted [default: tracepoint where that is allowed, else ptrace]
    #[arg(long, value_enum, value_name = "MEANS")]
    calls: Option<Means>,
    /// Where all figures of all rounds go, and the charts beside it [default: target/bench/bench.json]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Parts of the bench that are processes of their own.
#[derive(clap::Subcommand, Debug)]
pub enum Part {
    /// Runs a program and counts its system calls
    Count {
        /// How
        means: Means,
        /// The program and its arguments
        #[arg(required = true, last = true)]
        program: Vec<OsString>,
    },
    /// Reads 8 bytes and answers with 8, until the end of its input
    Echo,
    /// The other end of a bare exchange
    Bare {
        /// By what
        bare: Bare,
        /// One way, or there and back
        pattern: Pattern,
        /// Bytes of a message
        size: usize,
        /// What else it has to know to find the line
        name: String,
    },
}

impl Part {
    /// Plays the part to its end.
    pub fn play(&self) -> Result<bool> {
        match self {
            Part::Count { means, program } => count::count(*means, program),
            Part::Echo => floor::echo(),
            Part::Bare { bare, pattern, size, name } => bare::play(*bare, *pattern, *size, name),
        }
    }
}

/// A duration that takes some time.
pub fn not_zero(text: &str) -> Result<Duration, String> {
    args::duration(text).and_then(|d| if d.is_zero() { Err("it must not be 0".into()) } else { Ok(d) })
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

/// Measures, prints the tables, writes the file: whether every item of every run was accounted for.
pub fn bench(args: &Args) -> Result<bool> {
    ensure!(
        !cfg!(debug_assertions),
        "a debug build measures the compiler's checks: cargo build --release --workspace, then \
         cargo run --release --bin ipc-lab -- bench"
    );
    let subjects = subject::named(&args.which);
    let track = Track::new(&subjects, args.pin)?;
    let mut rows: Vec<Row> = Vec::new();
    for pattern in [Pattern::Stream, Pattern::Many, Pattern::Paced, Pattern::RoundTrip] {
        for size in &args.size {
            let wanted = args.pattern.is_empty() || args.pattern.contains(&pattern);
            let can = |s: &&&subject::Subject| match pattern {
                Pattern::RoundTrip => s.round_trip.is_some(),
                Pattern::Many => s.takes != subject::Takes::OneEach,
                Pattern::Paced => s.version_of.is_none(),
                Pattern::Stream => true,
            };
            rows.extend(
                subjects
                    .iter()
                    .filter(|_| wanted)
                    .filter(can)
                    .map(|s| Row::new(s, pattern, *size, args.interval, args.many)),
            );
        }
    }
    ensure!(!rows.is_empty(), "none of these has that pattern: it takes an answer, or several at once");
    let file = args.json.clone().or_else(default_file);
    // Found out now, not after two minutes.
    file.as_deref().map_or(Ok(()), can_be_written)?;
    let means = args.calls.unwrap_or_else(Means::best);
    let machine = Machine::look()?;
    print(&format!("{}\n", said(&Style::new(), "", &machine.text())))?;
    let mut floors = Floors::of(rows.iter().filter_map(Row::bare));
    let clocks = Clocks::read()?;
    measure(args, means, &track, &mut rows, &mut floors)?;
    let others = clocks.others_since()?;

    let mut written = String::new();
    if let Some(file) = file {
        let all = as_json(args, means, &machine, &rows, &floors, others);
        write(&file, &format!("{all:#}\n"))?;
        written += &format!("\nAll figures of all rounds: {}\n", file.display());
        for (name, svg) in chart::charts(&rows, &floors) {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            let chart = file.with_file_name(format!("{stem}-{name}.svg"));
            write(&chart, &svg)?;
            written += &format!("Chart: {}\n", chart.display());
        }
    }
    let failures = tables::failures(&rows);
    print(&[tables::tables(args, means, &rows, &floors, others), written, failures.clone()].concat())?;
    Ok(failures.is_empty() && rows.iter().any(|row| row.trouble.is_none()))
}

/// Every row in turn, again and again.
fn measure(args: &Args, means: Means, track: &Track, rows: &mut [Row], floors: &mut Floors) -> Result<()> {
    // A slowed run is long, and what it counts is not what chance decides.
    let counts = if means == Means::Tracepoint { 3 } else { 1 };
    let paced =
        (args.time.as_nanos() / args.interval.as_nanos()).clamp(u128::from(row::FEW) + 1, 1_000_000) as u64;
    let bar = ProgressBar::new((rows.len() * (1 + args.rounds + counts) + args.rounds) as u64);
    bar.set_style(ProgressStyle::with_template("{wide_bar} {percent}%  {eta} left  {msg}")?);
    for row in rows.iter_mut() {
        bar.set_message(format!("warm-up: {row}"));
        let items = if row.run.pattern == Pattern::Paced {
            Some(paced.min(args.count.unwrap_or(paced)))
        } else {
            args.count
        };
        row.warm_up(track, items, args.time)?;
        bar.inc(1);
    }
    for round in 1..=args.rounds {
        bar.set_message(format!("round {round}/{}: floors", args.rounds));
        floors.measure(paced, args.interval, args.pin)?;
        bar.inc(1);
        for row in rows.iter_mut() {
            bar.set_message(format!("round {round}/{}: {row}", args.rounds));
            row.measure(track, args.time)?;
            bar.inc(1);
        }
    }
    for _ in 0..counts {
        for row in rows.iter_mut() {
            bar.set_message(format!("system calls: {row}"));
            row.count_calls(track, args.time, means)?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

fn as_json(
    args: &Args,
    means: Means,
    machine: &Machine,
    rows: &[Row],
    floors: &Floors,
    others: Others,
) -> Value {
    json!({
        "format": 1,
        "machine": machine.json(),
        "others": others.json(),
        "settings": {
            "rounds": args.rounds,
            "time_s": args.time.as_secs_f64(),
            "interval_s": args.interval.as_secs_f64(),
            "pin": args.pin,
            "system_calls_counted_by": means.name(),
        },
        "floors": floors.json(),
        "rows": rows.iter().map(|row| row.json(floors)).collect::<Vec<_>>(),
    })
}

/// In the target directory of the build that this is; nowhere if it was put elsewhere.
fn default_file() -> Option<PathBuf> {
    let itself = std::env::current_exe().ok()?;
    let profile = itself.parent()?;
    profile.ends_with("release").then(|| profile.with_file_name("bench").join("bench.json"))
}

fn can_be_written(file: &Path) -> Result<()> {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    }
    let opened = fs::OpenOptions::new().append(true).create(true).open(file);
    opened.map(drop).with_context(|| format!("write {}", file.display()))
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("write {}", file.display()))
}
