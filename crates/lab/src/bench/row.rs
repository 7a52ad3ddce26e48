//! One row: a subject, a pattern and a size, and what was measured of it in each round.

mod figures;

use std::fmt;
use std::time::Duration;

use anyhow::Result;

use crate::bench::count::Means;
use crate::bench::measure::{NoCount, Refused, Run, Sample, Track};
use crate::bench::subject::{Pattern, Subject, Takes};
use crate::cast::Usage;
use crate::figure::{Figure, bytes};
use crate::stop::Stopped;

/// So many items show what a run costs without them.
pub const FEW: u64 = 2;

/// What is measured, and what was found.
#[derive(Debug)]
pub struct Row {
    /// What is run; its items are found by the warm-up.
    pub run: Run,
    /// What both sides use for [`FEW`] items: their starts and ends.
    start_up: Usage,
    /// The calls that they make for as many.
    start_up_calls: Option<f64>,
    samples: Vec<Sample>,
    /// How many items the consumer has checked, in all rounds.
    verified: u64,
    calls: Figure,
    /// Why the calls were not counted.
    pub no_calls: Option<String>,
    /// Why there are no figures.
    pub trouble: Option<Trouble>,
}

/// Why a row has no figures.
#[derive(Debug)]
pub enum Trouble {
    /// The variant does not carry this.
    Refused(String),
    /// Something went wrong that must not.
    Failed(String),
}

impl Run {
    /// How many items it has beyond those of a run that shows what start-up costs.
    fn more(&self) -> f64 {
        ((self.items - FEW) * self.sides[0] as u64) as f64
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (subject, pattern) = (self.run.subject, self.run.pattern.name());
        write!(f, "{} {} {pattern} {}", subject.method(), subject.variant(), bytes(self.run.size))
    }
}

impl Row {
    /// Nothing is known yet.
    pub fn new(
        subject: &'static Subject,
        pattern: Pattern,
        size: usize,
        interval: Duration,
        [producers, consumers]: [usize; 2],
    ) -> Row {
        let sides = match (pattern, subject.takes) {
            (Pattern::Many, Takes::Producers) => [producers, 1],
            (Pattern::Many, Takes::Both) => [producers, consumers],
            _ => [1, 1],
        };
        let interval = if pattern == Pattern::Paced { interval } else { Duration::ZERO };
        Row {
            run: Run { subject, pattern, size, items: FEW, sides, interval, counted: None },
            start_up: Usage::default(),
            start_up_calls: None,
            samples: Vec::new(),
            verified: 0,
            calls: Figure::default(),
            no_calls: None,
            trouble: None,
        }
    }

    /// One that has figures already: a thousand items in each round, of so many nanoseconds, with so many switches.
    #[cfg(test)]
    pub fn with(subject: &'static Subject, pattern: Pattern, size: usize, ns: &[f64], voluntary: u64) -> Row {
        let mut row = Row::new(subject, pattern, size, Duration::ZERO, [1, 1]);
        row.run.items = 1000 + FEW;
        let usage = Usage { voluntary, ..Usage::default() };
        let sample = |ns| Sample { seconds: ns * 1001.0 / 1e9, usage, ..Sample::default() };
        row.samples = ns.iter().map(|ns| sample(*ns)).collect();
        row
    }

    /// Finds out what start-up costs, and how many items make a run of `time` if that is not told.
    pub fn warm_up(&mut self, track: &Track, items: Option<u64>, time: Duration) -> Result<()> {
        let found = self.find_items(track, items, time);
        self.heed(found).map(drop)
    }

    fn find_items(&mut self, track: &Track, items: Option<u64>, time: Duration) -> Result<()> {
        let limit = limit(time);
        let mut starts = Vec::new();
        // In the pattern of sizes nobody asks what an item costs, and with a pause a start takes long.
        let times = match self.run.pattern {
            Pattern::Sizes => 1,
            Pattern::Paced | Pattern::Many => 2,
            _ => 3,
        };
        for _ in 0..times {
            starts.push(track.run(&self.start(), limit)?.usage);
        }
        starts.sort_by_key(|usage| usage.cpu);
        self.start_up = starts[(starts.len() - 1) / 2];
        // One producer and one consumer, also where there will be many: in a short run of many the first would have
        // come and gone, and with it the stream, before the next is there.
        let pair = Run { sides: [1, 1], ..self.run };
        self.run.items = match items {
            Some(items) => {
                // Not measured: it brings into the caches what a run needs.
                track.run(&Run { items: items.min(100), ..pair }, limit)?;
                items
            }
            None => {
                // Twice, because so few items say little about many.
                let mut items = 1000.min((1 << 24) / self.run.size.max(1)).max(8) as u64;
                for part in [0.2, 1.0] {
                    let took = track.run(&Run { items, ..pair }, limit)?.seconds.max(1e-6);
                    items = ((items as f64 / took * time.as_secs_f64() * part) as u64).clamp(8, 1 << 32);
                }
                (items / self.run.sides[0] as u64).max(FEW + 1)
            }
        };
        Ok(())
    }

    /// A run of [`FEW`] items. Processes look around for a while after the other side came: where runs are
    /// paced, and so few that it matters, this one takes as long. And the last of many is to meet the first.
    fn start(&self) -> Run {
        let paused = matches!(self.run.pattern, Pattern::Paced | Pattern::Many);
        let interval = if paused { Duration::from_millis(250) } else { Duration::ZERO };
        Run { items: FEW, interval, ..self.run }
    }

    /// One round.
    pub fn measure(&mut self, track: &Track, time: Duration) -> Result<()> {
        if self.trouble.is_none() {
            let sample = track.run(&self.run, limit(time));
            if let Some(sample) = self.heed(sample)? {
                self.samples.push(sample);
                self.verified += self.run.total();
            }
        }
        Ok(())
    }

    /// Counts the system calls of few items and of many: what start-up costs is in both.
    pub fn count_calls(&mut self, track: &Track, time: Duration, means: Means) -> Result<()> {
        if self.trouble.is_some() || self.no_calls.is_some() || self.run.pattern == Pattern::Sizes {
            return Ok(());
        }
        // Slowed, a fraction of a run takes as long as a run does.
        let many = match (means, self.run.pattern) {
            (_, Pattern::Many) => self.run.items,
            (Means::Tracepoint, Pattern::Stream) => self.run.items / 4,
            (Means::Tracepoint, _) => self.run.items / 2,
            (Means::Ptrace, Pattern::Paced) => 250,
            (Means::Ptrace, _) => 2000,
        };
        let many = Run { items: many.clamp(FEW + 1, self.run.items), ..self.run };
        let count = |run: Run| -> Result<f64> {
            Ok(track.run(&Run { counted: Some(means), ..run }, limit(time))?.calls as f64)
        };
        let few = self.start_up_calls.map_or_else(|| count(self.start()), Ok);
        let counted = few.and_then(|few| Ok((few, (count(many)? - few) / many.more())));
        match counted {
            Ok((few, calls)) => {
                self.start_up_calls = Some(few);
                self.calls.0.push(calls);
                self.verified += many.total();
            }
            Err(e) if e.is::<NoCount>() => self.no_calls = Some(e.to_string()),
            failed => self.heed(failed).map(drop)?,
        }
        Ok(())
    }

    /// Takes a result: trouble is the row's own, and only the end of all is passed on.
    fn heed<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(e) if e.is::<Stopped>() => Err(e),
            Err(e) => {
                self.trouble = Some(match e.downcast::<Refused>() {
                    Ok(refused) if self.samples.is_empty() => Trouble::Refused(refused.to_string()),
                    Ok(refused) => Trouble::Failed(refused.to_string()),
                    Err(e) => Trouble::Failed(format!("{e:#}")),
                });
                Ok(None)
            }
        }
    }
}

/// What a run that is to take `time` may take: start-up, and a machine that is busy with other things.
fn limit(time: Duration) -> Duration {
    Duration::from_secs(30) + 20 * time
}
