//! What went in and what came out: each record of an episode, and what docs/promises.md allows to be missing.
//!
//! ```text
//!   this program ──pipe──> producer ──the channel──> consumer ──pipe──> this program
//!        how much of it was taken                        each record that was written
//! ```
//!
//! Both pipes survive whatever is done to the pair. So *sent* is what producers have taken from their input, the
//! one in hand included, and *received* is what consumers have written. A consumer that is killed has written
//! each item before it took the next; or, if it gathers, has not written the last [`GATHERED`] at the most.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::soak::promise::Promise;
use crate::soak::record::{RECORD, parse};

/// A consumer that gathers writes so much at once, and has one more in hand.
const GATHERED: u64 = (64 << 10) / RECORD as u64 + 1;

/// How a producer has ended.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Records that it had taken from its input.
    pub taken: u64,
    /// Its exit status, 128 + n if signal n killed it.
    pub status: i32,
    /// How many it says that it has sent, if it could say so.
    pub said: Option<u64>,
    /// The consumer that ran then.
    pub consumer: Option<u64>,
}

/// One run of a producer.
#[derive(Debug, Default)]
struct Stream {
    end: Option<End>,
    /// One more than the highest number received.
    next: u64,
    /// Skipped, and not received since.
    holes: Vec<Range<u64>>,
    twice: u64,
    late: u64,
    /// Which consumer was the last to receive anything of it.
    consumer: Option<u64>,
}

/// All records of one episode.
#[derive(Debug, Default)]
pub struct Ledger {
    streams: BTreeMap<u64, Stream>,
    /// Consumers that were killed, and those that were asked to leave.
    killed: BTreeSet<u64>,
    left: BTreeSet<u64>,
    /// Whether anybody was killed.
    deaths: bool,
    corrupted: u64,
}

/// What was found, and what was allowed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    /// Taken by producers from their input.
    pub sent: u64,
    /// Of these, written by consumers: each counted once.
    pub received: u64,
    /// The others.
    pub lost: u64,
    /// How many may be.
    pub may_be_lost: u64,
    /// Written once more.
    pub twice: u64,
    /// How many may be.
    pub may_be_twice: u64,
    /// Written after a later one.
    pub reordered: u64,
    /// Damaged, or of nobody.
    pub corrupted: u64,
}

impl Ledger {
    /// A producer starts.
    pub fn starts(&mut self, stream: u64) {
        self.streams.insert(stream, Stream::default());
    }

    /// A producer has ended.
    pub fn ended(&mut self, stream: u64, end: End) {
        self.deaths |= end.status == 137;
        self.streams.entry(stream).or_default().end = Some(end);
    }

    /// A consumer has ended by what was done to it.
    pub fn lost_consumer(&mut self, consumer: u64, killed: bool) {
        self.deaths |= killed;
        if killed {
            self.killed.insert(consumer)
        } else {
            self.left.insert(consumer)
        };
    }

    /// A consumer has written this.
    pub fn received(&mut self, consumer: u64, bytes: &[u8; RECORD]) {
        let known = parse(bytes).and_then(|(stream, n)| Some((self.streams.get_mut(&stream)?, n)));
        let Some((stream, n)) = known else {
            self.corrupted += 1;
            return;
        };
        stream.consumer = Some(consumer);
        if n >= stream.next {
            if n > stream.next {
                stream.holes.push(stream.next..n);
            }
            stream.next = n + 1;
        } else if let Some(at) = stream.holes.iter().position(|hole| hole.contains(&n)) {
            let hole = stream.holes.swap_remove(at);
            stream.holes.extend([hole.start..n, n + 1..hole.end].into_iter().filter(|part| !part.is_empty()));
            stream.late += 1;
        } else {
            stream.twice += 1;
        }
    }

    /// What a consumer wrote that is no whole record.
    pub fn torn(&mut self) {
        self.corrupted += 1;
    }

    /// Whether all has come of a producer that has ended.
    pub fn is_complete(&self, stream: u64) -> bool {
        self.streams[&stream].end.is_some_and(|end| self.has(stream, end.taken))
    }

    /// Whether so many items of a producer have come, none missing.
    pub fn has(&self, stream: u64, items: u64) -> bool {
        self.streams[&stream].holes.is_empty() && self.streams[&stream].next == items
    }

    /// Which consumer was the last to receive anything of a stream.
    pub fn consumer_of(&self, stream: u64) -> Option<u64> {
        self.streams[&stream].consumer
    }

    /// The sums of an episode, and what in it was beyond the promise.
    pub fn judge(&self, promise: &Promise, gathers: bool) -> (Sums, Vec<String>) {
        let killed = self.killed.len() as u64;
        // Out of the middle of a stream. Whatever else the channel held is missing at the end.
        let in_hands = killed * (promise.hand + if gathers { GATHERED } else { 0 });
        let mut sums =
            Sums { may_be_lost: in_hands, may_be_twice: killed * promise.twice, ..Sums::default() };
        let (mut findings, mut skipped) = (Vec::new(), 0);
        for (number, stream) in &self.streams {
            let Some(end) = stream.end else { continue };
            let holes = stream.holes.iter().map(|hole| hole.end - hole.start).sum::<u64>();
            skipped += holes;
            sums.sent += end.taken;
            sums.lost += holes + end.taken.saturating_sub(stream.next);
            sums.received += stream.next - holes;
            sums.twice += stream.twice;
            sums.reordered += stream.late;
            sums.may_be_lost += self.may_be_missing_at_the_end(stream, &end, promise);
            let untold = end.said.map_or(0, |said| end.taken.saturating_sub(said));
            if untold > if end.status == 0 { 0 } else { promise.begun }
                || end.said.is_some_and(|said| said > end.taken)
            {
                let said = end.said.unwrap_or_default();
                findings
                    .push(format!("producer {number} had {} items, and says that it sent {said}", end.taken));
            }
            if stream.next > end.taken {
                let (next, taken) = (stream.next - 1, end.taken);
                findings.push(format!("item {next} of producer {number} came, which had {taken}"));
            }
        }
        sums.corrupted = self.corrupted;
        let mut found = |what: &str, n: u64, allowed: u64| {
            if n > allowed {
                findings.push(format!("{n} items {what}, {allowed} allowed"));
            }
        };
        found("lost", sums.lost, sums.may_be_lost);
        found("lost out of the middle of a stream", skipped, in_hands);
        found("twice", sums.twice, sums.may_be_twice);
        found("out of order", sums.reordered, 0);
        found("corrupted", sums.corrupted, 0);
        (sums, findings)
    }

    fn may_be_missing_at_the_end(&self, stream: &Stream, end: &End, promise: &Promise) -> u64 {
        if end.status == 0 {
            // Its 0 says that the channel has them all, and then nothing was done to anybody.
            return 0;
        }
        // Who received of it, was there when it ended, and was left alone, has had all that was in the channel.
        let served = stream
            .consumer
            .is_some_and(|c| end.consumer == Some(c) && !self.killed.contains(&c) && !self.left.contains(&c));
        let abandoned = !served || end.status == 3 || promise.lock && self.deaths;
        promise.begun + if abandoned { promise.held } else { 0 }
    }
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, more: Sums) {
        self.sent += more.sent;
        self.received += more.received;
        self.lost += more.lost;
        self.may_be_lost += more.may_be_lost;
        self.twice += more.twice;
        self.may_be_twice += more.may_be_twice;
        self.reordered += more.reordered;
        self.corrupted += more.corrupted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::record::record;

    const STRICT: Promise =
        Promise { begun: 1, hand: 0, twice: 1, held: 8, lock: false, outlives: false, cut: false };

    /// A producer's run of `taken` items that ended with `status` while consumer 1 ran, which received `numbers`.
    fn judged(taken: u64, status: i32, numbers: &[u64], killed: &[u64]) -> (Sums, Vec<String>) {
        let mut ledger = Ledger::default();
        ledger.starts(5);
        for n in numbers {
            ledger.received(1, &record(5, *n));
        }
        killed.iter().for_each(|consumer| ledger.lost_consumer(*consumer, true));
        let said = (status == 0).then_some(taken);
        ledger.ended(5, End { taken, status, said, consumer: Some(1) });
        ledger.judge(&STRICT, false)
    }

    #[test]
    fn each_fault_is_counted_and_named() {
        let (sums, findings) = judged(4, 0, &[0, 1, 2, 3], &[]);
        assert!(findings.is_empty() && (sums.sent, sums.received, sums.lost) == (4, 4, 0), "{findings:?}");
        for (numbers, finding) in [
            (&[0, 1, 2][..], "1 items lost, 0 allowed"),
            (&[0, 2, 3], "1 items lost out of the middle of a stream, 0 allowed"),
            (&[0, 1, 1, 2, 3], "1 items twice, 0 allowed"),
            (&[0, 2, 1, 3], "1 items out of order, 0 allowed"),
            (&[0, 1, 2, 3, 4], "item 4 of producer 5 came, which had 4"),
        ] {
            let (_, findings) = judged(4, 0, numbers, &[]);
            assert!(findings.iter().any(|f| f == finding), "{numbers:?}: {findings:?}");
        }
    }

    #[test]
    fn what_is_allowed_depends_on_what_was_done() {
        let lost = |taken, status, killed: &[u64]| judged(taken, status, &[0, 1], killed).0.may_be_lost;
        assert_eq!(lost(3, 137, &[]), 1, "the item in the producer's hand");
        assert_eq!(lost(3, 137, &[1]), 9, "the buffer goes with the last of both");
        assert_eq!(lost(3, 0, &[1]), 0, "the producer gave all to the next one");
        assert_eq!(judged(2, 0, &[0, 1, 1], &[1]).1, Vec::<String>::new(), "in hand, it comes again");
        assert_eq!(judged(2, 0, &[0, 0, 1, 1], &[1]).1, ["2 items twice, 1 allowed"]);
    }

    #[test]
    fn what_is_no_record_of_ours_is_corrupted() {
        let mut ledger = Ledger::default();
        ledger.starts(5);
        ledger.received(1, &record(6, 0));
        ledger.received(1, &[7; RECORD]);
        ledger.torn();
        assert_eq!(ledger.judge(&STRICT, true).1, ["3 items corrupted, 0 allowed"]);
    }
}
