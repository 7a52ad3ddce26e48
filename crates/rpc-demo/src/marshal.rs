//! Marshalling: values as bytes, and back.
//!
//! A pointer means nothing in another process, and two machines may differ in the order of bytes: so every
//! value is written out, little-endian, in the order of the procedure's arguments.
//!
//! ```text
//!  u32, u64, i64   4 or 8 bytes
//!  list of i64     count (u32), then 8 bytes each
//!  bytes           all that is left: always the last argument
//! ```
//!
//! What comes in was written by somebody else: each read is checked against what is there, and a list's count
//! before memory is taken for it.

use crate::service::{Counters, Receipt};

/// Bytes that are not what was to be read: too few, or too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Writes values behind each other.
#[derive(Debug, Default)]
pub struct Marshal(Vec<u8>);

impl Marshal {
    /// Starts again; the memory is kept for the next message.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Marshal {
        self.raw(&value.to_le_bytes())
    }

    /// Four bytes in the place of four that were written.
    ///
    /// # Panics
    /// If they were not.
    pub fn set_u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Marshal {
        self.raw(&value.to_le_bytes())
    }

    /// Eight bytes, two's complement.
    pub fn i64(&mut self, value: i64) -> &mut Marshal {
        self.raw(&value.to_le_bytes())
    }

    /// A list: its count, then its numbers.
    pub fn i64s(&mut self, values: &[i64]) -> &mut Marshal {
        self.u32(values.len() as u32);
        values.iter().fold(self, |all, value| all.i64(*value))
    }

    /// Bytes as they are, as the last value.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Marshal {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Number and length of an item.
    pub fn receipt(&mut self, receipt: &Receipt) -> &mut Marshal {
        self.u64(receipt.number).u64(receipt.bytes)
    }

    /// Four numbers.
    pub fn counters(&mut self, counters: &Counters) -> &mut Marshal {
        self.u64(counters.calls).u64(counters.faults).u64(counters.items).u64(counters.bytes)
    }
}

/// Reads values in the order in which they were written.
#[derive(Clone, Copy, Debug)]
pub struct Unmarshal<'a>(&'a [u8]);

impl<'a> Unmarshal<'a> {
    /// Reads from these bytes.
    pub fn new(bytes: &'a [u8]) -> Unmarshal<'a> {
        Unmarshal(bytes)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (value, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*value)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    /// Eight bytes, two's complement.
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_le_bytes(self.take()?))
    }

    /// A list. Its count is believed only as far as there are bytes.
    pub fn i64s(&mut self) -> Result<Vec<i64>, Malformed> {
        let count = self.u32()? as usize;
        if count > self.0.len() / 8 {
            return Err(Malformed);
        }
        (0..count).map(|_| self.i64()).collect()
    }

    /// All that is left.
    pub fn raw(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Number and length of an item.
    pub fn receipt(&mut self) -> Result<Receipt, Malformed> {
        Ok(Receipt { number: self.u64()?, bytes: self.u64()? })
    }

    /// Four numbers.
    pub fn counters(&mut self) -> Result<Counters, Malformed> {
        let (calls, faults, items, bytes) = (self.u64()?, self.u64()?, self.u64()?, self.u64()?);
        Ok(Counters { calls, faults, items, bytes })
    }

    /// There must be nothing left.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let mut bytes = Marshal::default();
        let receipt = Receipt { number: 3, bytes: 96 };
        let counters = Counters { calls: 1, faults: 2, items: 3, bytes: 4 };
        bytes
            .u32(7)
            .u64(u64::MAX)
            .i64(i64::MIN)
            .i64s(&[-1, 0, i64::MAX])
            .receipt(&receipt)
            .counters(&counters);
        bytes.raw(b"rest");
        let mut values = Unmarshal::new(bytes.bytes());
        assert_eq!((values.u32(), values.u64(), values.i64()), (Ok(7), Ok(u64::MAX), Ok(i64::MIN)));
        assert_eq!(values.i64s(), Ok(vec![-1, 0, i64::MAX]));
        assert_eq!((values.receipt(), values.counters()), (Ok(receipt), Ok(counters)));
        assert_eq!(values.end(), Err(Malformed), "there is something left");
        assert_eq!((values.raw(), values.end()), (&b"rest"[..], Ok(())));
    }

    #[test]
    fn too_few_bytes_are_malformed() {
        assert_eq!(Unmarshal::new(b"abc").u32(), Err(Malformed));
        assert_eq!(Unmarshal::new(b"abcdefg").u64(), Err(Malformed));
        // A list that claims four thousand million numbers, and has one.
        let mut list = u32::MAX.to_le_bytes().to_vec();
        list.extend_from_slice(&[0; 8]);
        assert_eq!(Unmarshal::new(&list).i64s(), Err(Malformed));
    }
}
