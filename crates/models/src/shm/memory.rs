//! A stand-in for `memory.rs`: a ring's words as loom's atomics, its items as plain memory that loom watches.

use std::collections::BTreeMap;

use loom::cell::Cell;
use loom::sync::atomic::{AtomicU32, AtomicU64};

use super::object::CONTROL;

/// The words and items of a ring, by their offsets. An item is one byte.
#[derive(Debug)]
pub struct Memory {
    words: BTreeMap<usize, AtomicU32>,
    longs: BTreeMap<usize, AtomicU64>,
    items: BTreeMap<usize, Cell<u8>>,
}

impl Memory {
    pub fn new(slots: usize) -> Memory {
        let slots = (0..slots.next_power_of_two()).map(|slot| CONTROL + 128 + 64 * slot);
        let words = [0, CONTROL + 8, CONTROL + 64 + 8].into_iter().chain(slots.clone());
        Memory {
            words: words.map(|at| (at, AtomicU32::new(0))).collect(),
            longs: [CONTROL, CONTROL + 64].map(|at| (at, AtomicU64::new(0))).into(),
            items: slots.map(|at| (at + 8, Cell::new(0))).collect(),
        }
    }

    pub fn word(&self, at: usize) -> &AtomicU32 {
        &self.words[&at]
    }

    pub fn long(&self, at: usize) -> &AtomicU64 {
        &self.longs[&at]
    }

    /// Not atomic: loom fails if another thread may do anything here meanwhile.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        let &[byte] = bytes else { panic!("an item is one byte") };
        self.items[&at].set(byte);
    }

    /// A hint.
    pub fn will_write(&self, _at: usize, _bytes: usize) {}

    /// Likewise, if another may write.
    pub fn read(&self, at: usize, into: &mut [u8]) {
        into.fill(self.items[&at].get());
    }
}
