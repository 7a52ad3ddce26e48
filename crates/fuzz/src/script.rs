//! An input that is a script: what two ends do, and what somebody else does to the bytes between them.
//!
//! ```text
//! +----+----+------+----+----+----+------…
//! | op | argument  | op | op | argument         an op is a byte; the arguments are little-endian
//! +----+----+------+----+----+----+------…
//! ```
//!
//! There is no wrong script: what is missing at its end is zero.

/// Takes a script, or any other input, apart.
#[derive(Debug)]
pub struct Script<'a>(pub &'a [u8]);

impl<'a> Script<'a> {
    /// The next byte, if there is one.
    pub fn op(&mut self) -> Option<u8> {
        let (op, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*op)
    }

    /// A byte.
    pub fn u8(&mut self) -> u8 {
        self.op().unwrap_or(0)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.u8()))
    }

    /// So many bytes, or all that are left.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Parts, each of which says its length in a byte before it; not more than so many.
    pub fn parts(&mut self, most: usize) -> Vec<&'a [u8]> {
        let mut parts = Vec::new();
        while parts.len() < most
            && let Some(len) = self.op()
        {
            parts.push(self.take(len.into()));
        }
        parts
    }
}

/// The input for [`Script::parts`].
pub fn of_parts(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&[part.len() as u8][..], part].concat()).collect()
}
