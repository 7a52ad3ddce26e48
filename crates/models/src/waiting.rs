//! A stand-in for both demos' `waiting.rs`, without a clock: who finds nothing looks once more, then goes to sleep.

use std::io;

/// How a side waits.
#[derive(Debug, Default)]
pub struct Waiting {
    looks: u64,
}

impl Waiting {
    pub fn look(&mut self, mut there: impl FnMut() -> bool) -> io::Result<bool> {
        self.looks += 1;
        Ok(there())
    }
}
