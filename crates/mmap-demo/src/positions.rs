//! The two counters of the ring, and how its ends sleep and wake each other. Nothing else is shared but the
//! bytes between them.
//!
//! ```text
//!              head                 tail
//!   ------------+====================+--------------  both only ever grow (modulo 2^64);
//!     read      |  written, unread   |   free         0 <= tail - head <= capacity
//! ```
//!
//! - `tail` is the producer's. It is stored with Release *after* a record's bytes: who loads it with Acquire
//!   sees the bytes. A producer that dies before the store has written nothing.
//! - `head` is the consumer's. It is stored with Release *after* a record was processed: only then may the
//!   producer write there again. A consumer that dies before the store gets the record again.
//! - Each writes on a cache line of its own, so that storing one does not take the other from its reader.
//!
//! # Sleeping
//! Whoever finds nothing sets its `sleeps` word, looks *once more*, and sleeps on that word. Whoever moves a
//! counter looks at the other's word afterwards, and wakes it if it is set. Both sides store, then load what
//! the other stores; without a SeqCst fence in between on *both* sides, each could miss the other's store
//! (its own is still in the store buffer), and the sleeper would sleep for ever.
//!
//! System call: futex(2), by [`crate::futex`]. Reading: M. Bos, *Rust Atomics and Locks*, ch. 3 and 9.

use std::io;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};

use crate::futex;

/// The value of [`Positions::goodbye`] once the producer has left in good order. Not 1: a stray write is not
/// to be taken for it.
const SAID: u32 = 0x4559_4221; // "!BYE" in the file
/// And once a consumer has read all there was before it: this stream is over.
const HEARD: u32 = 0x4559_422E; // ".BYE" in the file

/// An end sleeps on its word while that is so.
const ASLEEP: u32 = 1;
const AWAKE: u32 = 0;

/// What the two processes share beside the records. Plain integers, all of them atomics, so that a reference
/// to it claims nothing about memory that another process writes.
#[repr(C)]
#[derive(Debug)]
pub struct Positions {
    /// Position in bytes behind the last committed record. Written by the producer only.
    tail: AtomicU64,
    /// [`SAID`] when no more will come: the producer's word, which the consumer turns into [`HEARD`].
    goodbye: AtomicU32,
    /// How many producers have attached to this file.
    producers: AtomicU32,
    _line0: [AtomicU32; 12],
    /// Position in bytes of the first record that is not yet processed. Written by the consumer only.
    head: AtomicU64,
    _line1: [AtomicU32; 14],
    /// Futex: the consumer sleeps until `tail` moves or the goodbye is said.
    consumer_sleeps: AtomicU32,
    _line2: [AtomicU32; 15],
    /// Futex: the producer sleeps until `head` has come to `wanted`.
    producer_sleeps: AtomicU32,
    _hole: AtomicU32,
    /// Written by the producer only, before it sleeps.
    wanted: AtomicU64,
    _line3: [AtomicU32; 12],
}

const _: () = assert!(size_of::<Positions>() == 256);
const _: () = assert!(std::mem::offset_of!(Positions, goodbye) == 8);
const _: () = assert!(std::mem::offset_of!(Positions, producers) == 12);
const _: () = assert!(std::mem::offset_of!(Positions, head) == 64);
const _: () = assert!(std::mem::offset_of!(Positions, consumer_sleeps) == 128);
const _: () = assert!(std::mem::offset_of!(Positions, producer_sleeps) == 192);
const _: () = assert!(std::mem::offset_of!(Positions, wanted) == 200);

impl Positions {
    /// Where the tail is among them, for who reads the file instead of mapping it.
    pub const TAIL: usize = std::mem::offset_of!(Positions, tail);
    /// Likewise the head.
    pub const HEAD: usize = std::mem::offset_of!(Positions, head);

    /// How far the producer has written.
    pub fn tail(&self) -> u64 {
        self.tail.load(Acquire) // pairs with `commit`: who sees the tail sees the records before it
    }

    /// How far the consumer has processed.
    pub fn head(&self) -> u64 {
        self.head.load(Acquire) // pairs with `release`: its reads of the bytes before `head` are over
    }

    /// Producer: whether the consumer has come to `wanted`.
    pub fn has_come_to(&self, wanted: u64) -> bool {
        has_come(self.head(), wanted)
    }

    /// Producer: everything before `tail` is written.
    pub fn commit(&self, tail: u64) {
        self.tail.store(tail, Release); // pairs with the Acquire in `tail`
        wake_if_asleep(&self.consumer_sleeps, || true);
    }

    /// Consumer: everything before `head` is processed, and may be overwritten.
    pub fn release(&self, head: u64) {
        self.head.store(head, Release); // pairs with the Acquire in `head`
        wake_if_asleep(&self.producer_sleeps, || has_come(head, self.wanted.load(Relaxed)));
    }

    /// Producer: no more will come.
    pub fn say_goodbye(&self) {
        self.goodbye.store(SAID, Release); // pairs with `said_goodbye`: who sees it sees the last tail
        wake_if_asleep(&self.consumer_sleeps, || true);
    }

    /// Producer: a new one has come, and an old goodbye is void. Others come and go one at a time.
    pub fn arrive(&self) {
        self.producers.store(self.producers().wrapping_add(1), Relaxed);
        self.goodbye.store(0, Relaxed); // as in `producers`
    }

    /// How many producers have attached to this file.
    pub fn producers(&self) -> u32 {
        self.producers.load(Relaxed) // the lock under which they come and go orders it
    }

    /// Consumer: whether no more will come than what [`Positions::tail`] says from now on.
    pub fn said_goodbye(&self) -> bool {
        matches!(self.goodbye.load(Acquire), SAID | HEARD)
    }

    /// Consumer: the stream was read to its end, and no consumer is to find that end again.
    pub fn hear_goodbye(&self) {
        // Only if it still stands: a producer that goes on has taken it back.
        let _ = self.goodbye.compare_exchange(SAID, HEARD, Relaxed, Relaxed);
    }

    /// Consumer: whether a producer has come and gone without one record, and no consumer knows of it yet.
    pub fn is_unheard_empty_stream(&self) -> bool {
        self.tail() == 0 && self.goodbye.load(Relaxed) == SAID // as in `producers`
    }

    /// Consumer: sleeps while the tail is `seen` and no goodbye was said. May return early: look again.
    ///
    /// # Errors
    /// `Interrupted` by a signal.
    pub fn sleep_until_tail_moves(&self, seen: u64) -> io::Result<()> {
        // Both asleep would be for ever. The words forbid it as long as nobody else writes to them; that
        // somebody does costs no more than this call to survive.
        futex::wake(&self.producer_sleeps, 1);
        sleep_unless(&self.consumer_sleeps, || self.tail.load(Relaxed) != seen || self.said_goodbye())
    }

    /// Producer: sleeps until the head has come to `wanted`. May return early: look again.
    ///
    /// To be woken for every few bytes that become free would cost more than to write them: whoever wants a
    /// good part of the ring is woken once for all of it.
    ///
    /// # Errors
    /// `Interrupted` by a signal.
    pub fn sleep_until_head_comes_to(&self, wanted: u64) -> io::Result<()> {
        futex::wake(&self.consumer_sleeps, 1); // see above
        self.wanted.store(wanted, Relaxed); // before the fence: who must wake us sees it
        sleep_unless(&self.producer_sleeps, || has_come(self.head.load(Relaxed), wanted))
    }
}

/// Called after the store that the sleeper waits for.
fn wake_if_asleep(sleeps: &AtomicU32, is_wanted: impl FnOnce() -> bool) {
    fence(SeqCst); // pairs with the fence in `sleep_unless`
    if sleeps.load(Relaxed) != AWAKE && is_wanted() {
        sleeps.store(AWAKE, Relaxed);
        futex::wake(sleeps, 1);
    }
}

/// Sleeps on `sleeps`, unless what is waited for has happened already.
fn sleep_unless(sleeps: &AtomicU32, happened: impl FnOnce() -> bool) -> io::Result<()> {
    sleeps.store(ASLEEP, Relaxed);
    // Pairs with the fence in `wake_if_asleep`: either we see its store now, or it sees ours, and then its
    // wake-up comes: if it comes before we sleep, the word is AWAKE, and the kernel does not let us.
    fence(SeqCst);
    let slept = if happened() { Ok(()) } else { futex::wait(sleeps, ASLEEP) };
    sleeps.store(AWAKE, Relaxed);
    slept
}

/// Whether a position is at or behind another, also beyond the counters' wrap.
fn has_come(position: u64, wanted: u64) -> bool {
    wanted.wrapping_sub(position) as i64 <= 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_compared_beyond_the_wrap() {
        assert!(has_come(7, 7) && has_come(8, 7) && !has_come(6, 7));
        assert!(has_come(16, u64::MAX - 15) && !has_come(u64::MAX - 15, 16));
    }
}
