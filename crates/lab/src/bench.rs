//! `ipc-lab bench`: what each mechanism costs, measured on the real binaries as two processes.
//!
//! ```text
//! warm-up        each row: start-up alone, then how many items make a run of the wanted length
//! round 1 … n    the floors, then each row once: so a disturbance does not hit one row alone
//! count          the system calls, in runs that measure nothing else
//! ```

mod args;
mod bare;
mod before;
mod beside;
mod chart;
mod count;
mod floor;
mod goals;
mod idle;
mod machine;
mod measure;
mod payload;
mod row;
pub mod subject;
mod tables;
mod tracepoint;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use console::Style;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::play::{print, said};
pub use args::{Args, not_zero};
use bare::{Bare, Pace};
use count::Means;
use floor::Floors;
use goals::Goal;
use idle::Idle;
use machine::{Clocks, Machine, Others};
use measure::Track;
use payload::{CHUNK, Payload};
use row::Row;
use subject::{Pattern, Subject};

/// The payloads of the pattern in which each method is measured in several.
const SIZES: [usize; 5] = [8, 4 << 10, 64 << 10, CHUNK, 16 << 20];
/// So many rounds of what takes long, and of what is only to show a proportion.
const FEW_ROUNDS: usize = 3;

/// All that was found.
struct Results {
    rows: Vec<Row>,
    floors: Floors,
    idles: Vec<Idle>,
    goals: Vec<Goal>,
    others: Others,
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

/// Measures, prints the tables, writes the file: whether every item of every run was accounted for.
pub fn bench(args: &Args) -> Result<bool> {
    ensure!(
        !cfg!(debug_assertions),
        "a debug build measures the compiler's checks: cargo build --release --workspace, then \
         cargo run --release --bin ipc-lab -- bench"
    );
    let subjects = subject::named(&args.which);
    let mut rows = rows(args, &subjects);
    let silent = if args.plays(Pattern::Idle) { &subjects[..] } else { &[] };
    let silent: Vec<_> = silent.iter().copied().filter(|s| s.plays(Pattern::Idle)).collect();
    ensure!(
        !rows.is_empty() || !silent.is_empty(),
        "none of these has that pattern: it takes an answer, several at once, or a large item"
    );
    let file = args.json.clone().or_else(default_file);
    // Found out now, not after two minutes.
    file.as_deref().map_or(Ok(()), can_be_written)?;
    let means = args.calls.unwrap_or_else(Means::best);
    let machine = Machine::look()?;
    print(&format!("{}\n", said(&Style::new(), "", &machine.text())))?;
    let sent = rows.iter().any(|row| row.run.pattern == Pattern::File);
    let payload = sent.then(|| Payload::make(args.file_size)).transpose()?;
    let track = Track::new(&subjects, args.pin, payload)?;
    let mut floors = Floors::of(rows.iter().filter_map(Row::floor));
    let clocks = Clocks::read()?;
    let idles = measure(args, means, &track, &mut rows, &mut floors, &silent)?;
    let others = clocks.others_since()?;
    let goals = goals::goals(&rows, &floors, &idles);
    let results = Results { rows, floors, idles, goals, others };

    let mut written = String::new();
    if let Some(file) = file {
        let all = as_json(args, means, &machine, &results);
        write(&file, &format!("{all:#}\n"))?;
        written += &format!("\nAll figures of all rounds: {}\n", file.display());
        for (name, svg) in chart::charts(&results.rows, &results.floors) {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            let chart = file.with_file_name(format!("{stem}-{name}.svg"));
            write(&chart, &svg)?;
            written += &format!("Chart: {}\n", chart.display());
        }
    }
    let failures = tables::failures(&results);
    print(&[tables::tables(args, means, &results), written, failures.clone()].concat())?;
    let figures = results.rows.iter().any(|row| row.trouble.is_none())
        || results.idles.iter().any(|idle| idle.trouble.is_none());
    Ok(failures.is_empty() && figures)
}

/// What is to be measured, in the order of the tables.
fn rows(args: &Args, subjects: &[&'static Subject]) -> Vec<Row> {
    let mut rows = Vec::new();
    let all =
        [Pattern::Stream, Pattern::Many, Pattern::Sizes, Pattern::File, Pattern::Paced, Pattern::RoundTrip];
    for pattern in all.into_iter().filter(|pattern| args.plays(*pattern)) {
        let sizes = match pattern {
            Pattern::Sizes => &SIZES[..],
            Pattern::File => &[CHUNK],
            _ => &args.size,
        };
        let of = |s: &'static Subject, size: &usize| Row::new(s, pattern, *size, args.interval, args.many);
        let able = || subjects.iter().filter(|s| s.plays(pattern));
        match pattern {
            // One after the other, to be read as lines.
            Pattern::Sizes => rows.extend(able().flat_map(|s| sizes.iter().map(|size| of(s, size)))),
            _ => rows.extend(sizes.iter().flat_map(|size| able().map(move |s| of(s, size)))),
        }
    }
    rows
}

/// Every row in turn, again and again.
fn measure(
    args: &Args,
    means: Means,
    track: &Track,
    rows: &mut [Row],
    floors: &mut Floors,
    silent: &[&'static Subject],
) -> Result<Vec<Idle>> {
    // A slowed run is long, and what it counts is not what chance decides.
    let counts = if means == Means::Tracepoint { 2 } else { 1 };
    let paced =
        (args.time.as_nanos() / args.interval.as_nanos()).clamp(u128::from(row::FEW) + 1, 1_000_000) as u64;
    let short = |row: &Row| if row.run.pattern == Pattern::Sizes { args.time / 4 } else { args.time };
    let bar = ProgressBar::new((rows.len() * (1 + args.rounds + counts) + args.rounds + 10) as u64);
    bar.set_style(ProgressStyle::with_template("{wide_bar} {percent}%  {eta} left  {msg}")?);
    let mut idles = Vec::new();
    if !silent.is_empty() {
        bar.set_message("idle: all of them, silent");
        idles = idle::measure(silent, args.pin)?;
    }
    bar.inc(10);
    for row in rows.iter_mut() {
        bar.set_message(format!("warm-up: {row}"));
        let items = match row.run.pattern {
            Pattern::Paced => Some(paced.min(args.count.unwrap_or(paced))),
            Pattern::File => track.file.as_ref().map(Payload::items),
            _ => args.count,
        };
        row.warm_up(track, items, short(row))?;
        bar.inc(1);
    }
    for round in 1..=args.rounds {
        bar.set_message(format!("round {round}/{}: floors", args.rounds));
        let file = track.file.as_ref().filter(|_| round <= FEW_ROUNDS);
        floors.measure(Pace { count: paced, interval: args.interval }, args.pin, file)?;
        bar.inc(1);
        for row in rows.iter_mut() {
            bar.set_message(format!("round {round}/{}: {row}", args.rounds));
            if round <= FEW_ROUNDS || !matches!(row.run.pattern, Pattern::Sizes | Pattern::File) {
                row.measure(track, short(row))?;
            }
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
    Ok(idles)
}

fn as_json(args: &Args, means: Means, machine: &Machine, results: &Results) -> Value {
    let Results { rows, floors, idles, goals, others } = results;
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
        "idle": idles.iter().map(Idle::json).collect::<Vec<_>>(),
        "goals": goals.iter().map(Goal::json).collect::<Vec<_>>(),
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
