//! What killed processes took along from the semaphores' buffer, found out afterwards.
//!
//! A semaphore does not know who took a token, so nothing can be given back. But it can be *said*: the one
//! inside the lock writes down its pid, and so does a consumer with an item in hand. It is no part of the
//! textbook's buffer, which works without it, and hangs without a word when a process was killed.
//!
//! The gaps that are left: a process can be killed between `wait` and writing down its pid. So the last word
//! is with the tokens. Each process has one at most, and for microseconds, or an item in hand; what stays
//! away for a tenth of a second is gone.

use std::io::{self, ErrorKind};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use crate::object::Object;
use crate::posix_semaphore::Semaphore;
use crate::semaphore::{DEATHS, EMPTY, FULL, HOLDER, MUTEX};

/// `hands[slots]`: the pids of consumers that have an item in hand, whose slot is not yet free again.
pub const HANDS: usize = 384;
/// In a hand: its process died, and the slot is lost.
const LOST: u32 = u32::MAX;

fn hands(object: &Object) -> impl Iterator<Item = &AtomicU32> {
    (0..object.shape.slots as usize).map(|h| object.memory.word(HANDS + 4 * h))
}

/// Writes down, inside the lock, that this process has the item number `head` in hand: in which hand.
///
/// # Errors
/// `InvalidData` if no hand is free. There are as many as slots, so another process wrote nonsense.
pub fn take_in_hand(object: &Object, head: u64) -> io::Result<u32> {
    let slots = object.shape.slots;
    let first = (head % u64::from(slots)) as u32;
    let hand = |h: u32| object.memory.word(HANDS + 4 * h as usize);
    // Mostly the first that is looked at.
    let free = (first..slots).chain(0..first).find(|h| hand(*h).load(Relaxed) == 0);
    let free = free.ok_or_else(|| object.damaged("free hands", 0, "one for each slot"))?;
    hand(free).store(object.pid, Relaxed);
    Ok(free)
}

/// Crosses it out: the item was consumed.
pub fn put_down(object: &Object, hand: u32) {
    object.memory.word(HANDS + 4 * hand as usize).store(0, Release);
}

/// A process has died: what it had in hand is lost.
pub fn bury(object: &Object, pid: u32) {
    object.memory.word(DEATHS).fetch_add(1, Relaxed);
    hands(object).filter(|h| h.load(Acquire) == pid).for_each(|h| h.store(LOST, Relaxed));
}

/// How many slots are lost for certain.
pub fn lost_slots(object: &Object) -> usize {
    hands(object).filter(|h| h.load(Relaxed) == LOST).count()
}

/// Finds out whether anybody can go on.
///
/// # Errors
/// `ConnectionAborted` if a dead process has the lock, or the dead have all the slots.
pub fn diagnose(object: &Object) -> io::Result<()> {
    let slots = object.shape.slots;
    let value = |at| Semaphore { memory: &object.memory, at }.value();
    let mut finding = String::new();
    for _ in 0..20 {
        let deaths = object.memory.word(DEATHS).load(Relaxed);
        let holder = object.memory.word(HOLDER).load(Relaxed);
        let nobody_in_hand = || hands(object).all(|h| [0, LOST].contains(&h.load(Relaxed)));
        if deaths > 0 && value(MUTEX)? == 0 && !object.is_living(holder) {
            finding = "lock held by a dead process: a semaphore has no owner, so nobody can go on".into();
        } else if deaths >= slots && value(EMPTY)? == 0 && value(FULL)? == 0 && nobody_in_hand() {
            finding = format!("all {slots} slots are lost with processes that died: nobody can go on");
        } else {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let way_out = "end the others and start again, or use --sync mutex";
    Err(io::Error::new(ErrorKind::ConnectionAborted, format!("{finding}; {way_out}")))
}
