//! One side of the ring: its counter, and a bed for who waits for it. All that two processes share without a lock, and
//! every ordering.
//!
//! ```text
//!   the side                       who waits for it
//!   write the item (or read it)    asleep = 1
//!   counter = n   (Release)        ---- fence ----
//!   ---- fence ----                look at the counter (Acquire): is it n?
//!   is somebody asleep?            then go to the item; else sleep
//! ```
//!
//! - Who sees the counter sees what was done before it moved: Release and Acquire.
//! - Each writes one word and then reads the other's. Without the two fences both writes could still be on their
//!   way while both read the old values: one side sleeps, and the other does not know.
//! - The bed stands beside the counter that is waited for, not beside the sleeper's own, which the sleeper writes for
//!   each item: so who publishes and looks whether to wake somebody finds both words in its own cache.
//!
//! System call: futex(2). See also Bos, *Rust Atomics and Locks*, chapters 3 and 9.

use std::io;
use std::mem::offset_of;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};

use crate::futex;
use crate::memory::Memory;

/// What lies in the object, for its offsets: a cache line of its own.
#[repr(C, align(64))]
struct Words {
    /// `head` or `tail`. Only this side writes it.
    counter: u64,
    /// 1 while the other side sleeps until the counter moves, or is about to. The futex.
    asleep: u32,
}

/// How much of the object it is, in bytes.
pub const SIZE: usize = size_of::<Words>();
const ASLEEP: usize = offset_of!(Words, asleep);
const _: () = assert!(offset_of!(Words, counter) == 0 && ASLEEP == 8 && SIZE == 64);

/// One side, as both processes see it.
#[derive(Debug)]
pub struct Side<'a> {
    counter: &'a AtomicU64,
    asleep: &'a AtomicU32,
}

impl<'a> Side<'a> {
    /// The side at an offset of an object.
    pub fn at(memory: &'a Memory, side: usize) -> Side<'a> {
        Side { counter: memory.long(side), asleep: memory.word(side + ASLEEP) }
    }

    /// How far this side has come. Acquire: pairs with the Release in `publish`. Who sees the tail sees the items
    /// before it; who sees the head knows that the slots before it have been read.
    pub fn load(&self) -> u64 {
        self.counter.load(Acquire)
    }

    /// Says how far it has come. Release: see `load`.
    pub fn publish(&self, counter: u64) {
        self.counter.store(counter, Release);
    }

    /// For the other one, before its last look at this counter. Each first writes, then reads what the other wrote:
    /// that one `asleep`, then the counter; this side the counter, then `asleep`. The two fences forbid that both
    /// read the old value, which would be to sleep while nobody knows.
    pub fn about_to_sleep(&self) {
        self.asleep.store(1, Relaxed);
        fence(SeqCst);
    }

    /// The other one sleeps until this side wakes it; not at all if it has done so since `about_to_sleep`.
    ///
    /// # Errors
    /// `Interrupted` by a signal.
    pub fn sleep(&self) -> io::Result<()> {
        futex::wait(self.asleep, 1).inspect_err(|_| self.awake())
    }

    /// The other one had no need to sleep.
    pub fn awake(&self) {
        self.asleep.store(0, Relaxed);
    }

    /// Wakes who sleeps until this side moves; called after `publish`. See `about_to_sleep`.
    pub fn wake(&self) {
        fence(SeqCst);
        if self.asleep.load(Relaxed) != 0 {
            // First the word, then the call: who is about to sleep finds it changed, who sleeps is woken.
            self.asleep.store(0, Relaxed);
            futex::wake(self.asleep, 1);
        }
    }
}
