//! Has every item come, once, in order, unharmed? Counted per producer, in bounded memory.

use std::collections::{BTreeMap, HashMap};

use crate::item::Header;

/// Gaps that are remembered for each stream, so that a late item can be told from a second copy. Flat memory
/// needs a bound; where consumers share a channel a gap is the rule, and the oldest are given up.
const REMEMBERED: usize = 4096;

/// What was wrong, over all producers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Numbers that never came.
    pub missing: u64,
    /// Numbers that came again.
    pub duplicated: u64,
    /// Items that came after a later one of the same lane.
    pub reordered: u64,
    /// Items whose checksum does not fit.
    pub corrupted: u64,
}

/// Checks the items of any number of producers.
#[derive(Debug, Default)]
pub struct Audit {
    streams: Vec<Stream>,
    index: HashMap<u64, usize>,
    /// The stream of the last item, which is as a rule the next one's too.
    last: usize,
    findings: Findings,
}

#[derive(Debug)]
struct Stream {
    id: u64,
    /// One more than the highest number seen.
    next: u64,
    /// Runs of numbers that were skipped: first → one past the last.
    skipped: BTreeMap<u64, u64>,
    /// The lane of the first item.
    lane: u64,
    /// One more than the highest number seen in each lane, once there is a second one.
    lanes: HashMap<u64, u64>,
}

impl Audit {
    /// An item whose checksum did not fit: its header is not to be believed.
    pub fn corrupted(&mut self) {
        self.findings.corrupted += 1;
    }

    /// An intact item. `lane` is what the mechanism sorts by (a type, a priority): order is kept within it.
    pub fn item(&mut self, lane: u64, header: &Header) {
        self.find(header.stream, lane);
        let stream = &mut self.streams[self.last];
        let seq = header.seq;
        if seq == stream.next && lane == stream.lane && stream.lanes.is_empty() {
            // The usual case, and all of it.
            stream.next += 1;
            return;
        }
        if lane != stream.lane && stream.lanes.is_empty() {
            stream.lanes.insert(stream.lane, stream.next);
        }
        let seen = stream.next;
        if seq >= stream.next {
            if seq > stream.next {
                stream.skipped.insert(stream.next, seq);
                self.findings.missing += seq - stream.next;
                if stream.skipped.len() > REMEMBERED {
                    stream.skipped.pop_first();
                }
            }
            stream.next = seq.saturating_add(1);
        } else if let Some((&first, &end)) = stream.skipped.range(..=seq).next_back()
            && seq < end
        {
            stream.skipped.remove(&first);
            if first < seq {
                stream.skipped.insert(first, seq);
            }
            if seq + 1 < end {
                stream.skipped.insert(seq + 1, end);
            }
            self.findings.missing -= 1;
        } else {
            self.findings.duplicated += 1;
            return;
        }
        let behind = match (stream.lanes.is_empty(), stream.lanes.get_mut(&lane)) {
            (true, _) => seq < seen,
            (false, Some(highest)) => {
                let behind = seq < *highest;
                *highest = (*highest).max(seq.saturating_add(1));
                behind
            }
            (false, None) => {
                stream.lanes.insert(lane, seq.saturating_add(1));
                false
            }
        };
        self.findings.reordered += u64::from(behind);
    }

    /// A producer's word that it sent `items` items: those behind the last one that came are missing too. Only a
    /// channel that may lose the end of a stream needs to say so.
    pub fn ended(&mut self, stream: u64, items: u64) {
        self.find(stream, 0);
        let stream = &mut self.streams[self.last];
        if items > stream.next {
            stream.skipped.insert(stream.next, items);
            self.findings.missing += items - stream.next;
            stream.next = items;
        }
    }

    /// Makes a stream the last one.
    fn find(&mut self, id: u64, lane: u64) {
        if self.streams.get(self.last).is_none_or(|s| s.id != id) {
            self.last = *self.index.entry(id).or_insert(self.streams.len());
            if self.last == self.streams.len() {
                let (skipped, lanes) = (BTreeMap::new(), HashMap::new());
                self.streams.push(Stream { id, next: 0, skipped, lane, lanes });
            }
        }
    }

    /// How many producers were heard.
    pub fn producers(&self) -> usize {
        self.streams.len()
    }

    /// What was found up to now.
    pub fn findings(&self) -> Findings {
        self.findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit(items: &[(u64, u64)]) -> (u64, u64, u64) {
        let mut audit = Audit::default();
        for &(lane, seq) in items {
            audit.item(lane, &Header { stream: 1, seq, sent_ns: 0, pid: 1, crc: 0 });
        }
        let f = audit.findings();
        (f.missing, f.duplicated, f.reordered)
    }

    #[test]
    fn one_lane() {
        assert_eq!(audit(&[(0, 0), (0, 1), (0, 2)]), (0, 0, 0));
        assert_eq!(audit(&[(0, 0), (0, 2)]), (1, 0, 0), "one is missing");
        assert_eq!(audit(&[(0, 3)]), (3, 0, 0), "the first three are missing");
        assert_eq!(audit(&[(0, 0), (0, 2), (0, 1), (0, 3)]), (0, 0, 1), "one came late");
        assert_eq!(audit(&[(0, 0), (0, 1), (0, 1)]), (0, 1, 0), "one came twice");
        assert_eq!(audit(&[(0, 0), (0, 4), (0, 2), (0, 2)]), (2, 1, 1), "late, then again");
    }

    #[test]
    fn lanes_overtake_each_other_but_not_themselves() {
        assert_eq!(audit(&[(1, 0), (1, 2), (2, 1), (2, 3)]), (0, 0, 0));
        assert_eq!(audit(&[(1, 2), (1, 0), (2, 1), (2, 3)]), (0, 0, 1));
    }

    #[test]
    fn what_is_missing_at_the_end_is_known_from_the_producer() {
        let item = |seq| Header { stream: 1, seq, sent_ns: 0, pid: 1, crc: 0 };
        let mut audit = Audit::default();
        for seq in [0, 2] {
            audit.item(0, &item(seq));
        }
        audit.ended(1, 3);
        assert_eq!(audit.findings().missing, 1, "the last one came");
        audit.ended(1, 10);
        assert_eq!(audit.findings().missing, 8);
        audit.item(0, &item(7));
        assert_eq!(audit.findings().missing, 7, "it came after all");
        audit.ended(2, 5);
        assert_eq!(audit.findings().missing, 12, "of another producer nothing came");
    }

    #[test]
    fn memory_is_bounded() {
        let mut audit = Audit::default();
        for i in 0..100_000 {
            audit.item(0, &Header { stream: 1, seq: 2 * i, sent_ns: 0, pid: 1, crc: 0 });
        }
        assert_eq!(audit.findings().missing, 99_999);
        assert!(audit.streams[0].skipped.len() <= REMEMBERED);
    }
}
