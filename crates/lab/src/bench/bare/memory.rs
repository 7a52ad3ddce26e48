//! The barest exchange by shared memory: nothing is checked, and nobody ever sleeps, but where that is the point.
//!
//! ```text
//!  stream:      0: head │ 64: tail │ 128: slot 0 │ slot 1 │ …      a slot is as large as a message
//!  round trip:  0: the word there │ 64: the word back              a message is a word that has changed
//!  paced:       as a stream, and the receiver sleeps in futex(2) until the tail has changed
//! ```

#![allow(unsafe_code)]

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use memmap2::MmapRaw;
use nix::sched::sched_yield;

use super::line::Line;
use super::{LAST, MORE};
use crate::bench::subject::{Pattern, slots};
use crate::stop;

/// Looks in a row, before others are let onto the CPU: the other side may need it.
const LOOKS: u32 = 2000;
/// The other side has died, or it is not a matter of speed.
const TOO_LONG: Duration = Duration::from_secs(10);

/// How much memory a ring takes whose slots hold so much.
pub fn size_of_ring(size: usize) -> usize {
    128 + slots(size).next_power_of_two() * size.next_multiple_of(64)
}

/// One end.
pub struct Memory {
    map: MmapRaw,
    round_trip: bool,
    sleeps: bool,
    slots: u64,
    slot: usize,
    /// Where in the mapping our counter is, and the other side's.
    ours: usize,
    theirs: usize,
    sent: u64,
    received: u64,
    /// The other side's counter when we last looked.
    seen: u64,
}

impl Memory {
    /// Maps what [`size_of_ring`] has measured.
    pub fn map(file: &OwnedFd, pattern: Pattern, size: usize, sender: bool) -> Result<Memory> {
        let (ours, theirs) = if sender { (64, 0) } else { (0, 64) };
        Ok(Memory {
            map: MmapRaw::map_raw(file)?,
            round_trip: pattern == Pattern::RoundTrip,
            sleeps: pattern == Pattern::Paced,
            slots: slots(size).next_power_of_two() as u64,
            slot: size.next_multiple_of(64),
            ours,
            theirs,
            sent: 0,
            received: 0,
            seen: 0,
        })
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        let word = self.map.as_mut_ptr().wrapping_add(at).cast();
        // SAFETY: it is 0 or 64, so mapped and aligned; the other process touches it as an atomic only, too.
        unsafe { AtomicU64::from_ptr(word) }
    }

    /// Looks at the other side's word until it is as wanted.
    fn until(&mut self, wanted: impl Fn(u64) -> bool) -> Result<()> {
        let mut since = None;
        loop {
            for _ in 0..LOOKS {
                // Pairs with the Release in `say`.
                self.seen = self.word(self.theirs).load(Acquire);
                if wanted(self.seen) {
                    return Ok(());
                }
                std::hint::spin_loop();
            }
            sched_yield()?;
            stop::check()?;
            if since.get_or_insert_with(Instant::now).elapsed() > TOO_LONG {
                bail!("the other side does not move");
            }
        }
    }

    /// Makes the system call on a counter's lower half: to sleep while that has this value, or to wake who sleeps.
    fn futex(&self, at: usize, call: i32, value: u32) {
        let half = if cfg!(target_endian = "little") { at } else { at + 4 };
        let word = self.map.as_mut_ptr().wrapping_add(half).cast::<u32>();
        let for_ever = std::ptr::null::<libc::timespec>();
        // SAFETY: the word is mapped and aligned, as in `word`; the kernel only reads it. Whatever it answers, the
        // caller looks at the counter again.
        unsafe { libc::syscall(libc::SYS_futex, word, call, value, for_ever) };
    }

    fn say(&self, counter: u64) {
        // Pairs with the Acquire in `until`: who sees the counter sees the slot.
        self.word(self.ours).store(counter, Release);
    }

    fn at(&self, counter: u64) -> *mut u8 {
        self.map.as_mut_ptr().wrapping_add(128 + (counter & (self.slots - 1)) as usize * self.slot)
    }
}

impl Line for Memory {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        if self.round_trip {
            self.sent += 1;
            let last = u64::from(message[0] == LAST) << 63;
            self.say(self.sent | last);
            return Ok(());
        }
        if self.sent - self.seen == self.slots {
            let sent = self.sent;
            let slots = self.slots;
            self.until(|head| sent - head < slots)?;
        }
        // SAFETY: a slot of the ring, as large as a message; the other side reads it when the counter says so.
        unsafe { self.at(self.sent).copy_from_nonoverlapping(message.as_ptr(), message.len()) };
        self.sent += 1;
        self.say(self.sent);
        if self.sleeps {
            self.futex(self.ours, libc::FUTEX_WAKE, 1);
        }
        Ok(())
    }

    fn receive(&mut self, message: &mut [u8]) -> Result<()> {
        let received = self.received;
        self.received += 1;
        if self.round_trip {
            self.until(|word| word & !(1 << 63) > received)?;
            message[0] = if self.seen >> 63 == 1 { LAST } else { MORE };
            return Ok(());
        }
        while self.sleeps && self.word(self.theirs).load(Acquire) == received {
            // It does not sleep if the tail has changed meanwhile.
            self.futex(self.theirs, libc::FUTEX_WAIT, received as u32);
        }
        if self.seen == received {
            self.until(|tail| tail > received)?;
        }
        // SAFETY: a slot that the counter says is written, and that is not written again before ours says so.
        unsafe { self.at(received).copy_to_nonoverlapping(message.as_mut_ptr(), message.len()) };
        self.say(self.received);
        Ok(())
    }
}
