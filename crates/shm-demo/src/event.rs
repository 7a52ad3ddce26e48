//! Something to wait for that happens inside a lock: a futex, and how many sleep there.
//!
//! It is what a condition variable is to a mutex, in the few lines that it takes when waiters may be killed.
//! (A process-shared pthread_cond_t hangs once a waiter was.)
//!
//! - The sequence changes with every wake. A waiter reads it *before* it looks whether it has to wait, and
//!   sleeps only while it is the same: so it cannot sleep through a wake in between.
//! - The waker does the counting, because a sleeper may be killed or interrupted. So the count can be too
//!   high, which costs a system call in vain once, but never too low, which would be a sleep for ever.
//!
//! System call: futex(2).

use std::io;
use std::mem::offset_of;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::futex;
use crate::memory::Memory;

/// What lies in the object, for its offsets.
#[repr(C)]
struct Words {
    /// The futex.
    sequence: u32,
    sleepers: u32,
}

const SLEEPERS: usize = offset_of!(Words, sleepers);
const _: () = assert!(offset_of!(Words, sequence) == 0 && SLEEPERS == 4);

/// The event at an offset of an object.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The object.
    pub memory: &'a Memory,
    /// Where in it.
    pub at: usize,
}

impl Event<'_> {
    /// The sequence, to be read before looking.
    pub fn seen(&self) -> u32 {
        self.memory.word(self.at).load(Acquire)
    }

    /// Leaves the lock (by dropping `inside`) and sleeps, unless somebody woke since the sequence was `seen`.
    ///
    /// # Errors
    /// `Interrupted` by a signal.
    pub fn sleep<L>(&self, seen: u32, inside: L) -> io::Result<()> {
        self.memory.word(self.at + SLEEPERS).fetch_add(1, Relaxed);
        drop(inside);
        futex::wait(self.memory.word(self.at), seen)
    }

    /// Wakes one who sleeps, if anybody does. To be called inside the lock.
    pub fn wake_one(&self) {
        let sleepers = self.memory.word(self.at + SLEEPERS).load(Relaxed);
        if sleepers > 0 {
            self.memory.word(self.at + SLEEPERS).store(sleepers - 1, Relaxed);
            self.memory.word(self.at).fetch_add(1, Relaxed);
            futex::wake(self.memory.word(self.at), 1);
        }
    }

    /// Wakes all, also from outside of the lock.
    pub fn wake_all(&self) {
        // Release: pairs with `seen`. Who has seen the new sequence sees what it was changed for.
        self.memory.word(self.at).fetch_add(1, Release);
        futex::wake(self.memory.word(self.at), i32::MAX);
    }
}
