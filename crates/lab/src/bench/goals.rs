//! What each mechanism is to reach beside its floor, and what it has reached in this run.

use serde_json::{Value, json};

use crate::bench::floor::Floors;
use crate::bench::idle::Idle;
use crate::bench::payload::CHUNK;
use crate::bench::row::Row;
use crate::bench::subject::Pattern::{self, File, RoundTrip, Sizes, Stream};
use crate::figure::{number, percent, times};
use Measure::{ItemsPerSwitch, Rate, RateOf, Time};
use Wanted::{AtLeast, AtMost};

/// One of them.
#[derive(Debug)]
pub struct Goal {
    /// Of what.
    pub of: String,
    /// What is compared with what.
    pub what: &'static str,
    wanted: Wanted,
    found: f64,
    unit: Unit,
}

#[derive(Clone, Copy, Debug)]
enum Unit {
    Times,
    Number,
    Percent,
}

#[derive(Clone, Copy, Debug)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

/// What is read off a row.
#[derive(Clone, Copy, Debug)]
enum Measure {
    /// Its rate, as a part of its floor's.
    Rate,
    /// Its time, in times of its floor's.
    Time,
    /// Items for each voluntary context switch of either side.
    ItemsPerSwitch,
    /// Its rate, in times of that of another row in the same pattern.
    RateOf(&'static str),
}

/// A goal that is read off a row.
struct Line(&'static str, Pattern, &'static str, Measure, Wanted);

/// The payload of an item, but where it says so.
const SIZE: usize = 64;

const BARE: &str = "rate, of the bare exchange's";
const RING: &str = "rate, of a bare ring's";
const TRIP: &str = "time, of the bare round trip's";
const SWITCH: &str = "items for each context switch";
const COPY: &str = "rate, of memcpy's";

const LINES: &[Line] = &[
    Line("shm:ring", Stream, RING, Rate, AtLeast(0.15)),
    Line("mmap:file", Stream, RING, Rate, AtLeast(0.12)),
    Line("pipe:fifo", Stream, BARE, Rate, AtLeast(3.0)),
    Line("socket:unix", Stream, BARE, Rate, AtLeast(3.0)),
    Line("socket:tcp", Stream, BARE, Rate, AtLeast(3.0)),
    Line("mq:sysv", Stream, BARE, Rate, AtLeast(0.9)),
    Line("mq:posix", Stream, BARE, Rate, AtLeast(0.9)),
    Line("shm:ring", Stream, SWITCH, ItemsPerSwitch, AtLeast(50.0)),
    Line("shm:semaphore", Stream, SWITCH, ItemsPerSwitch, AtLeast(10.0)),
    Line("shm:mutex", Stream, SWITCH, ItemsPerSwitch, AtLeast(10.0)),
    Line("shm:spin", RoundTrip, "time, of a bare cache line's there and back", Time, AtMost(2.5)),
    Line("pipe:fifo", RoundTrip, TRIP, Time, AtMost(1.15)),
    Line("mq:sysv", RoundTrip, TRIP, Time, AtMost(1.15)),
    Line("mq:posix", RoundTrip, TRIP, Time, AtMost(1.15)),
    Line("socket:unix", RoundTrip, TRIP, Time, AtMost(1.15)),
    Line("socket:tcp", RoundTrip, TRIP, Time, AtMost(1.15)),
    Line("rpc:unix", RoundTrip, TRIP, Time, AtMost(1.25)),
    Line("rpc:tcp", RoundTrip, TRIP, Time, AtMost(1.25)),
    Line("rpc:in-flight", Stream, "rate, of one call at a time", RateOf("rpc:unix"), AtLeast(8.0)),
    Line("pipe:fifo", File, "rate, of cat FILE | cat", Rate, AtLeast(1.0)),
    Line("pipe:zero-copy", File, "rate, of cat FILE | cat", Rate, AtLeast(2.0)),
    Line("socket:unix", File, "rate, of socat's", Rate, AtLeast(1.0)),
    Line("socket:tcp", File, "rate, of iperf3's", Rate, AtLeast(0.9)),
    Line("shm:ring", File, COPY, Rate, AtLeast(0.5)),
    Line("mmap:file", File, COPY, Rate, AtLeast(0.5)),
    Line("mmap:file", Sizes, COPY, Rate, AtLeast(0.6)),
];

/// Those that this run has figures for.
pub fn goals(rows: &[Row], floors: &Floors, idles: &[Idle]) -> Vec<Goal> {
    let mut goals: Vec<_> = LINES.iter().filter_map(|line| line.read(rows, floors)).collect();
    // What is rounded to nothing is nothing.
    let (cpu, wakes) = ("CPU in a second of silence", "wake-ups in a second of silence");
    goals.extend(worst(idles, cpu, AtMost(0.0005), Unit::Percent, |i| i.cpu.median()));
    goals.extend(worst(idles, wakes, AtMost(0.0), Unit::Number, |i| i.wake_ups.median().round()));
    let after = "time after a silence, of the bare wake-up's";
    goals.extend(worst(idles, after, AtMost(2.0), Unit::Times, Idle::over_bare));
    goals
}

impl Line {
    fn read(&self, rows: &[Row], floors: &Floors) -> Option<Goal> {
        let Line(name, pattern, what, measure, wanted) = *self;
        let find = |name: &str| {
            rows.iter().find(|row| {
                let run = &row.run;
                let size = if matches!(pattern, File | Sizes) { CHUNK } else { SIZE };
                run.subject.name == name && run.pattern == pattern && run.size == size
            })
        };
        let row = find(name)?;
        if floors.why_not(&row.floor()?).is_some() {
            return None;
        }
        let over_floor = row.over_floor(floors).median();
        let (found, unit) = match measure {
            Rate => (1.0 / over_floor, Unit::Times),
            Time => (over_floor, Unit::Times),
            // None at all in so many items is as good as one.
            ItemsPerSwitch => (1.0 / row.switches().median().max(1.0 / row.run.total() as f64), Unit::Number),
            RateOf(other) => (row.items_per_s().over(&find(other)?.items_per_s()).median(), Unit::Times),
        };
        let size = if pattern == Sizes { ", 1 MiB an item" } else { "" };
        let of = format!("{:<12}{}{size}", pattern.name(), name.replace(':', " "));
        Some(Goal { of, what, wanted, found, unit })
    }
}

/// Of all mechanisms the one that is furthest from it.
fn worst(
    idles: &[Idle],
    what: &'static str,
    wanted: Wanted,
    unit: Unit,
    of: impl Fn(&Idle) -> f64,
) -> Option<Goal> {
    // What is not a number is the worst of all.
    let all = idles.iter().map(|idle| (of(idle), idle.subject.name));
    let (found, name) = all.max_by(|a, b| a.0.abs().total_cmp(&b.0.abs()))?;
    let of = format!("{:<12}{}, the worst", Pattern::Idle.name(), name.replace(':', " "));
    Some(Goal { of, what, wanted, found, unit })
}

impl Goal {
    /// Whether it was reached.
    pub fn reached(&self) -> bool {
        match self.wanted {
            AtLeast(least) => self.found >= least,
            AtMost(most) => self.found <= most,
        }
    }

    /// `at least 0.15`
    pub fn wanted(&self) -> String {
        let told = |n: f64| match self.unit {
            Unit::Percent => percent(n),
            _ => n.to_string(),
        };
        match self.wanted {
            AtLeast(least) => format!("at least {}", told(least)),
            AtMost(most) => format!("at most {}", told(most)),
        }
    }

    /// What it was.
    pub fn found(&self) -> String {
        match self.unit {
            Unit::Percent => percent(self.found),
            Unit::Number if self.found == 0.0 => "0".into(),
            Unit::Number => number(self.found),
            Unit::Times => times(self.found),
        }
    }

    /// For the file.
    pub fn json(&self) -> Value {
        let (key, value) = match self.wanted {
            AtLeast(least) => ("at_least", least),
            AtMost(most) => ("at_most", most),
        };
        let of: Vec<_> = self.of.split_whitespace().collect();
        json!({"of": of.join(" "), "what": self.what, key: value, "found": self.found, "reached": self.reached()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::bare::Bare;
    use crate::bench::beside::Beside;
    use crate::bench::floor::Floor;
    use crate::bench::subject::{self, SUBJECTS};
    use crate::figure::Figure;

    /// A row of three rounds, in which an item takes so many nanoseconds.
    fn row(name: &'static str, pattern: Pattern, ns: [f64; 3]) -> Row {
        let subject = SUBJECTS.iter().find(|s| s.name == name).expect("a name");
        Row::with(subject, pattern, if matches!(pattern, File | Sizes) { CHUNK } else { 64 }, &ns, 250)
    }

    fn found(goals: &[Goal], of: &str, what: &str) -> (String, bool) {
        let of: Vec<_> = of.split(' ').collect();
        let goal = goals
            .iter()
            .find(|g| g.of.split_whitespace().collect::<Vec<_>>().starts_with(&of) && g.what.contains(what));
        let goal = goal.unwrap_or_else(|| panic!("{of:?} {what}: {goals:#?}"));
        (goal.found(), goal.reached())
    }

    #[test]
    fn goals_are_read_off_the_rows_of_this_run() {
        let ring = Floor::Bare(Bare::Memory, Stream, 64);
        let trip = Floor::Bare(Bare::Unix, RoundTrip, 64);
        let mut floors =
            Floors::of([ring, trip, Floor::Beside(Beside::Memcpy), Floor::Beside(Beside::Socat)].into_iter());
        floors.set(&ring, &[10.0, 10.0, 20.0]);
        floors.set(&trip, &[40e3, 40e3, 40e3]);
        floors.set(&Floor::Beside(Beside::Memcpy), &[60e3, 60e3, 60e3]);
        let rows = [
            row("shm:ring", Stream, [50.0, 60.0, 125.0]),
            row("mmap:file", Stream, [100.0, 100.0, 200.0]),
            row("rpc:unix", Stream, [50e3, 48e3, 50e3]),
            row("rpc:in-flight", Stream, [5e3, 6e3, 8e3]),
            row("rpc:unix", RoundTrip, [49e3, 52e3, 51e3]),
            row("mmap:file", Sizes, [100e3, 100e3, 100e3]),
            row("shm:ring", File, [130e3, 130e3, 130e3]),
            row("socket:unix", File, [1.0, 1.0, 1.0]),
        ];
        floors.refuse(&Floor::Beside(Beside::Socat), "socat is not installed");
        let found_by = |of, what| found(&goals(&rows, &floors, &[]), of, what);
        let told = |text: &str, reached| (text.to_owned(), reached);
        // Round by round 5, 6 and 6.25 times as long.
        assert_eq!(found_by("stream shm ring", "bare ring"), told("0.17", true));
        assert_eq!(found_by("stream mmap file", "bare ring"), told("0.10", false));
        // A thousand items and 250 switches.
        assert_eq!(found_by("stream shm ring", "switch"), told("4.00", false));
        assert_eq!(found_by("stream rpc in-flight", "one call"), told("8.0", true));
        assert_eq!(found_by("round-trip rpc unix", "round trip"), told("1.3", false));
        assert_eq!(found_by("sizes mmap file,", "memcpy"), told("0.60", true));
        assert_eq!(found_by("file shm ring", "memcpy"), told("0.46", false));
        // Whose floor is missing has no goal, and there is none for what was not run.
        assert_eq!(goals(&rows, &floors, &[]).len(), 7);
    }

    #[test]
    fn of_silences_the_worst_counts_and_what_is_not_known_is_worse() {
        let idle = |name, cpu, wake_ups, after: f64| Idle {
            subject: subject::SUBJECTS.iter().find(|s| s.name == name).expect("a name"),
            cpu: Figure(vec![cpu]),
            wake_ups: Figure(vec![wake_ups]),
            latency_ns: Figure(vec![after]),
            bare_ns: 10e3,
            trouble: None,
        };
        let mut idles = vec![idle("pipe:fifo", 0.0, 0.0, 15e3), idle("mq:sysv", 0.0004, 0.0, 19e3)];
        let all = goals(&[], &Floors::default(), &idles);
        assert!(all.len() == 3 && all.iter().all(Goal::reached), "{all:#?}");
        assert_eq!(found(&all, "idle mq sysv,", "CPU"), ("0.04 %".into(), true));
        assert_eq!(found(&all, "idle mq sysv,", "after"), ("1.9".into(), true));
        idles.push(idle("shm:ring", 0.01, 20.0, 21e3));
        let all = goals(&[], &Floors::default(), &idles);
        for (what, text) in [("CPU", "1.00 %"), ("wake-ups", "20.0"), ("after", "2.1")] {
            assert_eq!(found(&all, "idle shm ring,", what), (text.into(), false));
        }
        idles.push(idle("rpc:tcp", 0.0, 0.0, f64::NAN));
        let all = goals(&[], &Floors::default(), &idles);
        assert_eq!(found(&all, "idle rpc tcp,", "after"), ("–".into(), false));
    }
}
