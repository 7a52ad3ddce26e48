//! The slots of the mutex's buffer, and the two queues of their numbers. All of it inside the lock.
//!
//! ```text
//!   FREE --push--> FILLING --> FULL --pop--> TAKEN --done--> FREE
//!     ^               |          ^             |
//!     +--owner died---+          +-owner died--+
//! ```
//!
//! The states are the truth. The queues only save the search for a free slot, and for the oldest item: after
//! a death inside the lock they are made anew from the states ([`Slots::rebuild_queues`]). So a process may
//! be killed between any two of its writes.

use std::mem::offset_of;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, Release};

use crate::memory::Memory;
use crate::object::{CONTROL, Shape};

/// There is no item in the slot.
pub const FREE: u32 = 0;
/// Its owner is writing an item.
pub const FILLING: u32 = 1;
/// There is an item for anybody.
pub const FULL: u32 = 2;
/// There is an item that its owner has in hand.
pub const TAKEN: u32 = 3;

/// The control words, for their offsets.
#[repr(C)]
struct Control {
    full: QueueEnds,
    free: QueueEnds,
    /// Items ever pushed.
    pushed: u64,
    _to_the_next_cache_line: u64,
}

/// The entries `[first, end)` of a table that has one for each slot, going round.
#[repr(C)]
struct QueueEnds {
    first: u64,
    end: u64,
}

/// What a slot holds before the item.
#[repr(C)]
struct Header {
    state: u32,
    /// Whose it is while it is FILLING or TAKEN.
    owner: u32,
    len: u32,
    _to_8: u32,
    /// The item's number in the order of pushing.
    number: u64,
}

/// Where the control words are: behind the mutex and what is waited for.
pub const QUEUES: usize = CONTROL + 80;
const PUSHED: usize = QUEUES + offset_of!(Control, pushed);
/// The tables of the two queues: an entry of each for each slot.
const TABLES: usize = QUEUES + size_of::<Control>();

const _: () = assert!(QUEUES == 208 && PUSHED == 240 && TABLES == 256);
const _: () = assert!(size_of::<Header>() == 24 && offset_of!(Header, number) == 16);

/// One of the two queues.
#[derive(Clone, Copy, Debug)]
pub enum Queue {
    /// Slots with items, oldest first.
    Full = QUEUES as isize,
    /// Slots without.
    Free = (QUEUES + size_of::<QueueEnds>()) as isize,
}

/// All slots, for who is inside the lock.
#[derive(Clone, Copy, Debug)]
pub struct Slots<'a> {
    /// The object.
    pub memory: &'a Memory,
    /// Its shape.
    pub shape: &'a Shape,
}

/// Where a slot begins.
pub fn offset(shape: &Shape, index: u32) -> usize {
    let slots = (TABLES + 8 * shape.slots as usize).next_multiple_of(64);
    slots + index as usize * shape.stride(size_of::<Header>())
}

impl<'a> Slots<'a> {
    /// Makes a slot FILLING by `owner`, this process, writes the item, and makes it FULL.
    pub fn fill(&self, index: u32, owner: u32, item: &[u8]) {
        let at = offset(self.shape, index);
        self.memory.word(at + offset_of!(Header, owner)).store(owner, Relaxed);
        self.set_state(index, FILLING);
        let number = self.memory.long(PUSHED).load(Relaxed);
        self.memory.long(PUSHED).store(number.wrapping_add(1), Relaxed);
        self.memory.long(at + offset_of!(Header, number)).store(number, Relaxed);
        self.memory.word(at + offset_of!(Header, len)).store(item.len() as u32, Relaxed);
        self.memory.write(at + size_of::<Header>(), item);
        self.set_state(index, FULL);
    }

    /// Makes a slot TAKEN by `owner`, this process; the item's length as it was written.
    pub fn take(&self, index: u32, owner: u32) -> u32 {
        let at = offset(self.shape, index);
        self.memory.word(at + offset_of!(Header, owner)).store(owner, Relaxed);
        self.set_state(index, TAKEN);
        self.memory.word(at + offset_of!(Header, len)).load(Relaxed)
    }

    /// Copies the item's bytes.
    pub fn read(&self, index: u32, into: &mut [u8]) {
        self.memory.read(offset(self.shape, index) + size_of::<Header>(), into);
    }

    /// The state of a slot changes.
    pub fn set_state(&self, index: u32, state: u32) {
        // Release, though we are inside the lock: we may be killed right here, and the state must not be ahead
        // of the bytes, because the repair believes it.
        self.memory.word(offset(self.shape, index) + offset_of!(Header, state)).store(state, Release);
    }

    fn state(&self, index: u32) -> u32 {
        self.memory.word(offset(self.shape, index) + offset_of!(Header, state)).load(Relaxed)
    }

    /// The lock's owner died inside: what it was filling is free.
    pub fn free_half_filled(&self) {
        let filling = (0..self.shape.slots).filter(|i| self.state(*i) == FILLING);
        filling.for_each(|index| self.set_state(index, FREE));
    }

    /// A process died: what it had in hand is full. Whether there was anything.
    pub fn take_from_the_dead(&self, pid: u32) -> bool {
        let owner =
            |i: u32| self.memory.word(offset(self.shape, i) + offset_of!(Header, owner)).load(Relaxed);
        let held = (0..self.shape.slots).filter(|i| self.state(*i) == TAKEN && owner(*i) == pid);
        held.map(|index| self.set_state(index, FULL)).count() > 0
    }

    /// Makes both queues from the states of the slots.
    pub fn rebuild_queues(&self) {
        let of_state = |state| (0..self.shape.slots).filter(move |i| self.state(*i) == state).collect();
        let number =
            |i: &u32| self.memory.long(offset(self.shape, *i) + offset_of!(Header, number)).load(Relaxed);
        let (mut full, free): (Vec<u32>, Vec<u32>) = (of_state(FULL), of_state(FREE));
        full.sort_by_key(number);
        for (queue, slots) in [(Queue::Full, full), (Queue::Free, free)] {
            self.memory.long(queue as usize).store(0, Relaxed);
            self.memory.long(queue as usize + offset_of!(QueueEnds, end)).store(0, Relaxed);
            slots.into_iter().for_each(|index| self.push_back(queue, index));
        }
    }

    /// Takes the first number out of a queue, as it was written: it may be no slot's.
    pub fn pop_front(&self, queue: Queue) -> Option<u32> {
        let first = self.memory.long(queue as usize);
        let position = first.load(Relaxed);
        if position == self.memory.long(queue as usize + offset_of!(QueueEnds, end)).load(Relaxed) {
            return None;
        }
        first.store(position.wrapping_add(1), Relaxed);
        Some(self.entry(queue, position).load(Relaxed))
    }

    /// Puts a number at the end of a queue.
    pub fn push_back(&self, queue: Queue, index: u32) {
        let end = self.memory.long(queue as usize + offset_of!(QueueEnds, end));
        let position = end.load(Relaxed);
        self.entry(queue, position).store(index, Relaxed);
        end.store(position.wrapping_add(1), Relaxed);
    }

    /// How many numbers are in a queue; a guess for who is not inside the lock.
    pub fn count(&self, queue: Queue) -> usize {
        let [first, end] =
            [0, offset_of!(QueueEnds, end)].map(|at| self.memory.long(queue as usize + at).load(Relaxed));
        end.wrapping_sub(first) as usize
    }

    fn entry(&self, queue: Queue, position: u64) -> &'a AtomicU32 {
        let table = match queue {
            Queue::Full => 0,
            Queue::Free => self.shape.slots as usize,
        };
        self.memory.word(TABLES + 4 * (table + (position % u64::from(self.shape.slots)) as usize))
    }
}
