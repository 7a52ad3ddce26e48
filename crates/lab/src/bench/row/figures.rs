//! What the samples of a row say: rates, latencies, costs, and how they stand beside the floor.

use serde_json::{Value, json};

use super::{Row, Trouble};
use crate::bench::bare::Bare;
use crate::bench::beside::Beside;
use crate::bench::floor::{Floor, Floors, quantiles_json};
use crate::bench::measure::{Run, Sample};
use crate::bench::payload::CHUNK;
use crate::bench::subject::{Pattern, Subject};
use crate::cast::Usage;
use crate::figure::Figure;

impl Row {
    fn figure(&self, of: impl Fn(&Sample) -> f64) -> Figure {
        Figure(self.samples.iter().map(of).collect())
    }

    /// Of a round trip: round trips.
    pub fn items_per_s(&self) -> Figure {
        self.figure(|s| self.steps() / s.seconds)
    }

    /// From one item to the next; of a round trip, there and back.
    pub fn ns_per_item(&self) -> Figure {
        self.figure(|s| s.seconds * 1e9 / self.steps())
    }

    /// Payload only.
    pub fn bytes_per_s(&self) -> Figure {
        self.figure(|s| self.steps() * self.run.size as f64 / s.seconds)
    }

    /// From the first item to the last.
    fn steps(&self) -> f64 {
        (self.run.total() - 1) as f64
    }

    /// [`QUANTILES`](crate::bench::floor::QUANTILES).
    pub fn latency_ns(&self) -> [Figure; 4] {
        [0, 1, 2, 3].map(|i| self.figure(|s| s.latency_ns[i]))
    }

    /// For all items of the run, were they all as the mean one.
    pub fn seconds(&self) -> Figure {
        self.figure(|s| s.seconds / self.steps() * self.run.total() as f64)
    }

    /// What does the same with nothing around it.
    pub fn floor(&self) -> Option<Floor> {
        let Run { subject: Subject { bare, .. }, pattern, size, .. } = self.run;
        match pattern {
            // One call at a time is answered, whatever is meant by it.
            Pattern::Stream | Pattern::Many if self.run.subject.method() == "rpc" => {
                Some(Floor::Bare(*bare, Pattern::RoundTrip, size))
            }
            // There is none for several: the one for two is what they share.
            Pattern::Many => Some(Floor::Bare(*bare, Pattern::Stream, size)),
            Pattern::File => self.run.subject.file.map(Floor::Beside),
            // So large an item is copied, and hardly anything besides.
            Pattern::Sizes if *bare == Bare::Memory && size == CHUNK => Some(Floor::Beside(Beside::Memcpy)),
            Pattern::Sizes | Pattern::Idle => None,
            _ => Some(Floor::Bare(*bare, pattern, size)),
        }
    }

    /// How many times its floor an item takes, round by round; of paced ones, to arrive.
    pub fn over_floor(&self, floors: &Floors) -> Figure {
        let ours = if self.run.pattern == Pattern::Paced {
            self.figure(|s| s.latency_ns[0])
        } else {
            self.ns_per_item()
        };
        self.floor().and_then(|floor| Some(ours.over(floors.ns(&floor)?))).unwrap_or_default()
    }

    /// Of both sides, without their starts and ends.
    pub fn cpu_ns(&self) -> Figure {
        self.per_item(|usage| usage.cpu.as_nanos() as f64)
    }

    /// Likewise: how often one of them had to wait.
    pub fn switches(&self) -> Figure {
        self.per_item(|usage| usage.voluntary as f64)
    }

    /// Likewise: how often the CPU was taken from one of them.
    fn preempted(&self) -> Figure {
        self.per_item(|usage| usage.involuntary as f64)
    }

    fn per_item(&self, of: impl Fn(&Usage) -> f64) -> Figure {
        self.figure(|s| (of(&s.usage) - of(&self.start_up)) / self.run.more())
    }

    /// Likewise, if they could be counted.
    pub fn calls(&self) -> &Figure {
        &self.calls
    }

    /// For the file.
    pub fn json(&self, floors: &Floors) -> Value {
        let mut row = json!({
            "method": self.run.subject.method(),
            "variant": self.run.subject.variant(),
            "pattern": self.run.pattern.name(),
            "size": self.run.size,
            "items": self.run.total(),
            "producers": self.run.sides[0],
            "consumers": self.run.sides[1],
            "verified": self.verified,
            "items_per_s": self.items_per_s().json(),
            "bytes_per_s": self.bytes_per_s().json(),
            "over_bare": self.over_floor(floors).json(),
            "latency_ns": quantiles_json(&self.latency_ns()),
            "per_item": {
                "cpu_ns": self.cpu_ns().json(),
                "voluntary_switches": self.switches().json(),
                "involuntary_switches": self.preempted().json(),
                "system_calls": self.calls.json(),
            },
        });
        match &self.trouble {
            Some(Trouble::Refused(why)) => row["refused"] = why.as_str().into(),
            Some(Trouble::Failed(why)) => row["failed"] = why.as_str().into(),
            None => {}
        }
        if let Some(why) = &self.no_calls {
            row["system_calls_not_counted"] = why.as_str().into();
        }
        row
    }
}
