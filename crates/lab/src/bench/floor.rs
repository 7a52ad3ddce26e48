//! The floors: what a system call, a wake-up and a copy cost on this machine, with nothing around them; and what
//! each row's own bare exchange takes.
//!
//! ```text
//! this thread:  time ─> write ─────────> read       next
//!                         |                ^
//! another process:        └─> read ─ now ─ write
//! ```

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use common::item::now_ns;
use serde_json::{Value, json};

use crate::bench::bare::{Bare, Pace};
use crate::bench::before;
use crate::bench::beside::Beside;
use crate::bench::payload::Payload;
use crate::bench::subject::Pattern;
use crate::figure::Figure;
use crate::stop;

/// How long each is measured in a round; the paced one takes its time.
const TIME: Duration = Duration::from_millis(100);
/// A copy that stays in the caches, and one that does not.
const CACHED: usize = 64 << 10;
pub const MEMORY: usize = 64 << 20;

/// What was measured, round by round.
#[derive(Debug, Default)]
pub struct Floors {
    /// getppid(2), which does nothing, in nanoseconds.
    pub call_ns: Figure,
    /// 8 bytes through a pipe to another process and 8 bytes back, at once, again and again, in nanoseconds.
    pub round_trip_ns: Figure,
    /// 8 bytes through a pipe to a process that has fallen asleep, one way, in nanoseconds: [`QUANTILES`].
    pub one_way_ns: [Figure; 4],
    /// memcpy, 64 KiB at a time, in bytes per second.
    pub copy_cached: Figure,
    /// memcpy, 64 MiB at a time.
    pub copy_memory: Figure,
    /// What the rows are compared with.
    found: Vec<Found>,
}

/// What a row is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// A bare exchange: by what, who answers, and how many bytes.
    Bare(Bare, Pattern, usize),
    /// Whoever carries a large file.
    Beside(Beside),
}

#[derive(Debug)]
struct Found {
    floor: Floor,
    /// For a message, or a message and its answer, or a part of the file.
    ns: Figure,
    /// Why it was not measured.
    why_not: Option<String>,
}

/// So many wake-ups by each means show in a round what is usual.
const WAKE_UPS: u64 = 100;

/// What is told of latencies, under these names in the file.
pub const QUANTILES: [(f64, &str); 4] = [(0.5, "p50"), (0.99, "p99"), (0.999, "p999"), (1.0, "max")];

impl Floors {
    /// In each round these are measured.
    pub fn of(wanted: impl Iterator<Item = Floor>) -> Floors {
        let mut floors = Floors::default();
        for floor in wanted {
            if floors.ns(&floor).is_none() {
                floors.found.push(Found { floor, ns: Figure::default(), why_not: None });
            }
        }
        floors
    }

    /// As if it had been measured.
    #[cfg(test)]
    pub fn set(&mut self, floor: &Floor, ns: &[f64]) {
        let found = self.found.iter_mut().find(|found| found.floor == *floor).expect("it is wanted");
        found.ns = Figure(ns.to_vec());
    }

    /// As if it could not be measured.
    #[cfg(test)]
    pub fn refuse(&mut self, floor: &Floor, why: &str) {
        let found = self.found.iter_mut().find(|found| found.floor == *floor).expect("it is wanted");
        found.why_not = Some(why.to_owned());
    }

    /// What one takes, in nanoseconds, if it is measured.
    pub fn ns(&self, floor: &Floor) -> Option<&Figure> {
        self.found.iter().find(|found| found.floor == *floor).map(|found| &found.ns)
    }

    /// Why it was not measured, where it was wanted.
    pub fn why_not(&self, floor: &Floor) -> Option<&str> {
        self.found.iter().find(|found| found.floor == *floor)?.why_not.as_deref()
    }

    /// One more round: `pace` is that of the paced ones. The file is there in a round that has use for it. The two
    /// sides of each are pinned as a pair's.
    pub fn measure(&mut self, pace: Pace, pin: Option<[usize; 2]>, file: Option<&Payload>) -> Result<()> {
        let few = Pace { count: pace.count.min(WAKE_UPS), ..pace };
        for Found { floor, ns, why_not } in &mut self.found {
            let measured = match (&floor, file) {
                (Floor::Bare(bare, pattern, size), _) => bare.measure(*pattern, *size, few, pin),
                (Floor::Beside(beside @ Beside::Memcpy), _) => beside.measure(None, pin),
                (Floor::Beside(beside), Some(_)) if why_not.is_none() => beside.measure(file, pin),
                (Floor::Beside(_), _) => continue,
            };
            stop::check()?;
            // What the means does not carry has no floor.
            ns.0.push(*measured.as_ref().unwrap_or(&f64::NAN));
            *why_not = measured.err().map(|e| format!("{e:#}"));
        }
        // A thread of its own, so that pinning ends with it.
        std::thread::scope(|threads| {
            let all = threads.spawn(|| {
                pin.map_or(Ok(()), |[cpu, _]| before::pin_this_thread(cpu)).context("pin")?;
                self.round(pace, pin.map(|[_, cpu]| cpu))
            });
            all.join().expect("a measurement does not panic")
        })
    }

    fn round(&mut self, pace: Pace, cpu: Option<usize>) -> Result<()> {
        self.call_ns.0.push(per_turn(|| Ok(black_box(nix::unistd::getppid())))?);
        let mut echo = Echo::start(cpu)?;
        self.round_trip_ns.0.push(per_turn(|| echo.exchange())?);
        let mut one_way = Vec::new();
        for _ in 0..pace.count {
            std::thread::sleep(pace.interval);
            one_way.push(echo.exchange()?);
        }
        one_way.sort_unstable();
        for (figure, (q, _)) in self.one_way_ns.iter_mut().zip(QUANTILES) {
            figure.0.push(quantile(&one_way, q));
        }
        echo.end()?;
        self.copy_cached.0.push(copy_bytes_per_s(CACHED, CACHED));
        self.copy_memory.0.push(copy_bytes_per_s(MEMORY, MEMORY));
        Ok(())
    }

    /// For the file.
    pub fn json(&self) -> Value {
        let bare = self.found.iter().filter_map(|found| match found.floor {
            Floor::Bare(bare, pattern, size) => Some(
                json!({"by": bare.to_string(), "pattern": pattern.name(), "size": size, "ns": found.ns.json()}),
            ),
            Floor::Beside(_) => None,
        });
        let beside = self.found.iter().filter_map(|found| match found.floor {
            Floor::Beside(beside) => Some(json!({
                "program": beside.name(), "ns_per_MiB": found.ns.json(), "why_not": found.why_not,
            })),
            Floor::Bare(..) => None,
        });
        json!({
            "system_call_ns": self.call_ns.json(),
            "pipe_round_trip_ns": self.round_trip_ns.json(),
            "pipe_one_way_ns": quantiles_json(&self.one_way_ns),
            "bare": bare.collect::<Vec<_>>(),
            "beside": beside.collect::<Vec<_>>(),
            "copy_64KiB_bytes_per_s": self.copy_cached.json(),
            "copy_64MiB_bytes_per_s": self.copy_memory.json(),
        })
    }
}

/// For the file: each under its name.
pub fn quantiles_json(figures: &[Figure; 4]) -> Value {
    QUANTILES.iter().zip(figures).map(|((_, name), figure)| ((*name).to_owned(), figure.json())).collect()
}

/// The smallest value that at least `q` of all do not exceed.
pub fn quantile(sorted: &[u64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).map_or(f64::NAN, |ns| *ns as f64)
}

/// How long one turn takes, in nanoseconds: the mean of all that fit into [`TIME`].
fn per_turn<T>(mut turn: impl FnMut() -> Result<T>) -> Result<f64> {
    let (start, mut turns) = (Instant::now(), 0u32);
    while start.elapsed() < TIME {
        stop::check()?;
        // Looking at the clock each time would be a good part of a system call.
        for _ in 0..100 {
            turn()?;
        }
        turns += 100;
    }
    Ok(start.elapsed().as_nanos() as f64 / f64::from(turns))
}

/// From one piece of memory of that length to another, a block at a time, from the first to the last and again.
pub fn copy_bytes_per_s(len: usize, block: usize) -> f64 {
    // Written once, so that both are in memory and not only promised.
    let (from, mut to) = (vec![1u8; len], vec![2u8; len]);
    let times = ((256 << 20) / len).max(2);
    let start = Instant::now();
    for _ in 0..times {
        for (from, to) in from.chunks_exact(block).zip(to.chunks_exact_mut(block)) {
            to.copy_from_slice(black_box(from));
            black_box(to);
        }
    }
    (times * len) as f64 / start.elapsed().as_secs_f64()
}

/// The other process.
#[derive(Debug)]
struct Echo {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
}

impl Echo {
    fn start(cpu: Option<usize>) -> Result<Echo> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench-part", "echo"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        cpu.map_or(Ok(()), |cpu| before::pinned(&mut command, cpu)).context("pin")?;
        let mut child = command.spawn().context("start the other end of the bare pipe")?;
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let mut echo = Echo { child, to: to.context("piped")?, from: from.context("piped")? };
        // It has begun to read when it has answered once.
        echo.exchange()?;
        Ok(echo)
    }

    /// Sends the time and waits for the answer: how long the way there took, in nanoseconds.
    fn exchange(&mut self) -> Result<u64> {
        stop::check()?;
        let mut answer = [0; 8];
        self.to.write_all(&now_ns().to_le_bytes()).context("write to the bare pipe")?;
        self.from.read_exact(&mut answer).context("read from the bare pipe")?;
        Ok(u64::from_le_bytes(answer))
    }

    fn end(self) -> Result<()> {
        let Echo { mut child, to, .. } = self;
        drop(to);
        ensure!(child.wait()?.success(), "the other end of the bare pipe failed");
        Ok(())
    }
}

/// The other process's part: reads when something was sent, answers how long ago that is, until the end.
pub fn echo() -> Result<bool> {
    let (input, output) = (io::stdin(), io::stdout());
    let mut sent = [0; 8];
    loop {
        // So few bytes are written, and therefore read, in one piece.
        match nix::unistd::read(&input, &mut sent)? {
            0 => return Ok(true),
            n => ensure!(n == sent.len(), "{n} bytes of 8"),
        }
        let took = now_ns().saturating_sub(u64::from_le_bytes(sent));
        nix::unistd::write(&output, &took.to_le_bytes())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_came() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!([0.5, 0.99, 1.0].map(|q| quantile(&hundred, q)), [50.0, 99.0, 100.0]);
        assert_eq!(quantile(&[7], 0.99), 7.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
