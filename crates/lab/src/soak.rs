//! `ipc-lab soak`: all pairs at full speed, while either side is killed, stopped, sent away and started again; and
//! then whether more was lost than `docs/promises.md` allows.
//!
//! ```text
//!   plan.rs     what is done to whom, and when: drawn from the seed
//!   episode.rs  it is done to two real processes, which then must come to an end in peace
//!   actor.rs    one of them, and the pipe that feeds it or that it writes into
//!   arena.rs    their run-time directory and name, and what is left there
//!   record.rs   what is sent
//!   ledger.rs   what was sent and received, across all deaths
//!   promise.rs  what may be missing
//!   table.rs    the sums
//! ```
//!
//! A replay draws the same decisions. What the two processes have come to when a signal reaches them is up to the
//! scheduler, and cannot be replayed: `--episode` plays one plan again and again instead.

mod actor;
mod arena;
mod episode;
mod ledger;
mod plan;
mod promise;
mod record;
mod table;

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::builder::PossibleValuesParser;
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};

use crate::bench::not_zero;
use crate::bench::subject::{self, Subject};
use crate::play::print;
use crate::stop;
use arena::Arena;
use plan::{Plan, Plans};
use table::Row;

/// So many episodes of one variant that went wrong are enough.
const ENOUGH: usize = 5;

/// What the soak is told.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Which methods, or variants of them, such as shm:ring; --sync none and --transport udp promise nothing, and
    /// are not among them [default: all]
    #[arg(value_name = "METHOD[:VARIANT]", value_parser = PossibleValuesParser::new(subject::streaming()))]
    which: Vec<String>,
    /// How long all of it takes
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = not_zero)]
    time: Duration,
    /// What the decisions are drawn from; the same seed draws the same again [default: a random one]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Only this episode of each variant, again and again
    #[arg(long, value_name = "N", requires = "seed")]
    episode: Option<NonZeroU64>,
    /// A pair that does not come to an end within this time, with nothing done to it any more, hangs
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = not_zero)]
    patience: Duration,
    /// Only say what would be done, in the first ten episodes
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    /// The plans of a variant, as they are to be played.
    fn plans(&self, seed: u64, subject: &Subject) -> Box<dyn Iterator<Item = Plan>> {
        let mut plans = Plans::new(seed, subject.name);
        match self.episode {
            None => Box::new(plans),
            Some(n) => Box::new(std::iter::repeat_with({
                let plan = plans.nth(usize::try_from(n.get() - 1).unwrap_or(usize::MAX));
                move || plan.clone().expect("they never end")
            })),
        }
    }
}

/// Plays the episodes and prints the table: whether every promise was kept.
pub fn soak(args: &Args) -> Result<bool> {
    ensure!(args.episode.is_none_or(|n| n.get() <= 1_000_000), "there is no such --episode");
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut subjects = subject::named(&args.which);
    subjects.retain(|subject| subject.stream);
    if args.dry_run {
        let few = if args.episode.is_some() { 1 } else { 10 };
        let line = |s: &Subject, p: Plan| format!("{} episode {}: {p}\n", s.name, p.episode);
        let lines = subjects.iter().flat_map(|s| args.plans(seed, s).take(few).map(|p| line(s, p)));
        print(&lines.collect::<String>())?;
        return Ok(true);
    }
    print(&format!("seed {seed}\n"))?;
    let since = Instant::now();
    let (mut rows, stopped) = play_all(args, seed, &subjects)?;
    for row in &mut rows {
        let mut findings = row.arena.left()?;
        if row.episodes == 0 && stopped.is_ok() {
            findings.push("there was no time for it".into());
        }
        if !findings.is_empty() {
            row.findings.push((None, findings));
        }
    }
    print(&table::table(&rows, since.elapsed()))?;
    print(&table::failures(&rows, seed))?;
    stopped?;
    Ok(rows.iter().all(|row| row.findings.is_empty()))
}

/// Plays as many variants at a time as there are processors, each for its share of the time. The rows in the
/// order of the variants; whether it came to the end.
fn play_all(args: &Args, seed: u64, subjects: &[&'static Subject]) -> Result<(Vec<Row>, Result<()>)> {
    let at_once = thread::available_parallelism().map_or(1, usize::from).min(subjects.len());
    let share = args.time / subjects.len().div_ceil(at_once) as u32;
    let arenas =
        subjects.iter().map(|subject| Arena::new(subject, args.patience)).collect::<Result<VecDeque<_>>>()?;
    let waiting = Mutex::new(arenas.into_iter().enumerate().collect::<VecDeque<_>>());
    let played = Mutex::new(Vec::new());
    let episodes = AtomicU64::new(0);
    let worker = || -> Result<()> {
        loop {
            let Some((at, arena)) = waiting.lock().expect("nobody panics with it").pop_front() else {
                return Ok(());
            };
            let plans = args.plans(seed, arena.subject);
            let mut row = Row::new(arena);
            let result = play(&mut row, plans, share, &episodes);
            played.lock().expect("nobody panics with it").push((at, row));
            result?;
        }
    };
    let result = thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(worker)).collect();
        // Dropped in whatever way this ends.
        let (_running, over) = mpsc::channel();
        scope.spawn(|| show_progress(args.time, &episodes, over));
        let results: Vec<Result<()>> =
            workers.into_iter().map(|w| w.join().expect("a worker does not panic")).collect();
        results.into_iter().collect::<Result<()>>()
    });
    if let Err(e) = &result
        && !e.is::<stop::Stopped>()
    {
        return result.map(|()| (Vec::new(), Ok(())));
    }
    let mut played = played.into_inner().expect("nobody panics with it");
    played.sort_by_key(|(at, _)| *at);
    Ok((played.into_iter().map(|(_, row)| row).collect(), result))
}

/// Plays one variant for so long.
fn play(row: &mut Row, plans: impl Iterator<Item = Plan>, time: Duration, count: &AtomicU64) -> Result<()> {
    let since = Instant::now();
    for plan in plans {
        if since.elapsed() >= time || row.findings.len() >= ENOUGH {
            break;
        }
        let outcome = episode::play(&mut row.arena, &plan).inspect_err(|_| {
            // Cut short: who ran was killed.
            row.arena.clear();
        })?;
        count.fetch_add(1, Relaxed);
        row.add(&plan, outcome);
    }
    Ok(())
}

/// Nothing where there is no terminal.
fn show_progress(time: Duration, episodes: &AtomicU64, over: Receiver<()>) {
    let bar = ProgressBar::new(time.as_millis() as u64);
    let style = ProgressStyle::with_template("{wide_bar} {percent}%  {msg}").expect("a valid template");
    bar.set_style(style);
    let since = Instant::now();
    while over.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
        let left = time.saturating_sub(since.elapsed());
        bar.set_position(since.elapsed().as_millis() as u64);
        let episodes = HumanCount(episodes.load(Relaxed));
        bar.set_message(format!("{episodes} episodes, {} left", HumanDuration(left)));
    }
    bar.finish_and_clear();
}
