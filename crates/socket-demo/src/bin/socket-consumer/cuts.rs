//! What a read really held: found afterwards, with what only this demo knows of its items.
//!
//! An item begins with its stream's random number and its own. Who looks for these 16 bytes finds where the next
//! item begins, and the checksum tells whether the last one is whole. That is an autopsy, no protocol: a payload
//! could hold the same bytes.

use common::item;

/// Follows a stream from read to read.
#[derive(Debug, Default)]
pub struct Cuts {
    /// What has come of the item that is not whole: none, if the last read ended between two.
    open: Vec<u8>,
    stream: [u8; 8],
    /// The number of the item in `open`, or of the next.
    number: u64,
    /// Items of which all has come.
    pub items: u64,
    /// Reads that held exactly one item.
    pub whole: u64,
    /// Reads with bytes of more than one item.
    pub joined: u64,
    /// Reads that begin or end inside an item.
    pub cut: u64,
}

impl Cuts {
    /// A new stream begins, from another producer.
    pub fn begin(&mut self) {
        (self.open, self.stream, self.number) = (Vec::new(), [0; 8], 0);
    }

    /// What a read held, in words: `items #1 to #42, and 64 B of #43`.
    pub fn look(&mut self, read: &[u8]) -> String {
        let before = self.open.len();
        if before == 0 && self.number == 0 {
            self.stream = read.first_chunk().copied().unwrap_or_default();
        }
        self.open.extend_from_slice(read);
        let (first, mut parts) = (self.number, Vec::new());
        // Where this item ends, because the next one's 16 bytes stand there. They may be cut too.
        let mut looked_at = before.saturating_sub(15);
        while let Some(end) = self.next_start(looked_at) {
            self.close(end, before, first, &mut parts);
            looked_at = 0;
        }
        if item::open(&self.open).is_some() {
            self.close(self.open.len(), before, first, &mut parts);
        }
        let pieces = self.number - first + u64::from(!self.open.is_empty());
        let inside = before > 0 || !self.open.is_empty();
        self.whole += u64::from(pieces == 1 && !inside);
        self.joined += u64::from(pieces > 1);
        self.cut += u64::from(inside);
        let whole = first + u64::from(before > 0 && self.number > first)..self.number;
        match whole.end - whole.start {
            0 => {}
            1 => parts.push(format!("item #{}, whole", whole.start)),
            n => parts.push(format!("{n} items, #{} to #{}", whole.start, whole.end - 1)),
        }
        match self.open.len() {
            0 => {}
            n if self.number == first => parts.push(format!("{} B of #{first}", n - before)),
            n => parts.push(format!("{n} B of #{}", self.number)),
        }
        parts.join(", and ")
    }

    fn next_start(&self, from: usize) -> Option<usize> {
        let next = [self.stream, (self.number + 1).to_le_bytes()].concat();
        let at = self.open.get(from..)?.windows(next.len()).position(|w| *w == next)?;
        Some(from + at)
    }

    /// The item in `open` ends after `len` bytes.
    fn close(&mut self, len: usize, before: usize, first: u64, parts: &mut Vec<String>) {
        if self.number == first && before > 0 {
            parts.push(format!("the last {} B of #{first}", len - before));
        }
        self.open.drain(..len);
        self.items += 1;
        self.number += 1;
    }
}
