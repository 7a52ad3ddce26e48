//! No synchronisation: the bounded buffer as one would write it in a single process.
//!
//! ```text
//!   producer                            consumer
//!   while count == slots: wait          while count == 0: wait
//!   n = pushes                          item = slots[out]
//!   slots[in] = n, item                 out = (out + 1) % slots
//!   in = (in + 1) % slots               count = count - 1
//!   count = count + 1
//!   pushes = n + 1
//! ```
//!
//! It is wrong, and that is its purpose. `count = count + 1` is three steps for the machine: read, add, write.
//! If the other process does the same between the read and the write, one of the two is lost. Two producers
//! find the same `in` and write the same slot, which *tears* the item; two consumers take the same item.
//!
//! `pushes` shows the lost update without any buffer: the number of the next item, that every push reads,
//! and writes back one larger. Two producers that read it at the same time write the same number back, so in
//! the end it is short. What it should be is known, because every process also counts for itself, where
//! nobody else writes, and adds that up when it leaves, by one *atomic* addition: see [`crate::tally`].
//!
//! Guarantees: none. With one of each it mostly works, which is the worst about it. It cannot crash, because
//! indices and lengths are checked, and nobody waits longer than a look every 50 ms.
//! [`crate::semaphore`] is the step further.
//!
//! System call: ppoll(2) as a sleep, for there is nothing to wait *for*: who finds the buffer full or empty looks
//! again later.

use std::io::{self, ErrorKind};
use std::mem::offset_of;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;

use crate::memory::Memory;
use crate::object::{CONTROL, Format, Object, Shape, SyncKind};
use crate::tally::Tally;

/// The shared variables, for their offsets.
#[repr(C)]
struct Control {
    r#in: u32,
    out: u32,
    count: u32,
    /// All pushes of all producers; wraps around.
    pushes: u32,
    /// The truth: what each process counted for itself, added when it left, by one atomic instruction.
    pushed: u32,
    popped: u32,
    /// Consumers that have added theirs.
    told: u32,
    _to_the_next_cache_line: [u32; 9],
}

const IN: usize = CONTROL + offset_of!(Control, r#in);
const OUT: usize = CONTROL + offset_of!(Control, out);
pub(crate) const COUNT: usize = CONTROL + offset_of!(Control, count);
const PUSHES: usize = CONTROL + offset_of!(Control, pushes);
const PUSHED: usize = CONTROL + offset_of!(Control, pushed);
const POPPED: usize = CONTROL + offset_of!(Control, popped);
const TOLD: usize = CONTROL + offset_of!(Control, told);
const SLOTS: usize = CONTROL + size_of::<Control>();
/// In a slot, before the item: its length, and at `NUMBER` its number in the order of pushing.
const SLOT_HEADER: usize = 8;
const NUMBER: usize = 4;
/// The pause before looking again grows from the first to the last.
const PAUSES: [Duration; 2] = [Duration::from_micros(10), Duration::from_millis(50)];

const _: () = assert!(IN == 128 && PUSHES == 140 && TOLD == 152 && SLOTS == 192);

/// What this mechanism wants of its object.
pub static FORMAT: Format =
    Format { kind: SyncKind::None, one_each: false, size, init: |_: &Memory, _: &Shape| Ok(()) };

fn size(shape: &Shape) -> usize {
    SLOTS + shape.slots as usize * shape.stride(SLOT_HEADER)
}

/// One process's end of the buffer.
#[derive(Debug)]
pub struct Unsynchronized {
    /// The object underneath.
    pub object: Object,
    /// The private copy of the last item.
    item: Vec<u8>,
    /// How many items we pushed or popped, that we have not told yet.
    mine: u32,
    /// A consumer has seen the end of the stream.
    at_the_end: bool,
    has_told: bool,
}

impl Unsynchronized {
    /// A buffer in an object of the format [`FORMAT`].
    pub fn new(object: Object) -> io::Result<Unsynchronized> {
        let mut buffer =
            Unsynchronized { object, item: Vec::new(), mine: 0, at_the_end: false, has_told: false };
        buffer.look()?;
        Ok(buffer)
    }

    /// Pushes an item if there seems to be a free slot.
    ///
    /// # Errors
    /// `WouldBlock` if the buffer seems full; `InvalidInput` if the item is larger than a slot.
    pub fn try_push(&mut self, item: &[u8]) -> io::Result<()> {
        self.object.check_item(item)?;
        let (memory, slots) = (&self.object.memory, self.object.shape.slots);
        if count(memory) >= slots {
            return Err(ErrorKind::WouldBlock.into());
        }
        let number = memory.read_plain(PUSHES);
        let index = memory.read_plain(IN) % slots;
        memory.write_plain(self.slot(index), item.len() as u32);
        memory.write_plain(self.slot(index) + NUMBER, number);
        memory.write(self.slot(index) + SLOT_HEADER, item);
        memory.write_plain(IN, (index + 1) % slots);
        memory.write_plain(COUNT, memory.read_plain(COUNT).wrapping_add(1));
        memory.write_plain(PUSHES, number.wrapping_add(1));
        self.mine = self.mine.wrapping_add(1);
        Ok(())
    }

    /// Pushes an item, and looks again and again until there seems to be a free slot.
    ///
    /// # Errors
    /// `Interrupted` by a signal; `InvalidInput` if the item is larger than a slot.
    pub fn push(&mut self, item: &[u8]) -> io::Result<()> {
        let [mut pause, longest] = PAUSES;
        loop {
            match self.try_push(item) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => sleep(pause)?,
                done => return done,
            }
            pause = (pause * 2).min(longest);
        }
    }

    /// Pops an item if there seems to be one: see [`Unsynchronized::item`]. False at the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` if the buffer seems empty; `ConnectionAborted` if a producer died and nobody goes on.
    pub fn try_pop(&mut self) -> io::Result<bool> {
        let (memory, slots) = (&self.object.memory, self.object.shape.slots);
        let closed = self.object.is_closed();
        if count(memory) == 0 {
            self.object.end(closed)?;
            self.at_the_end = true;
            return Ok(false);
        }
        let index = memory.read_plain(OUT) % slots;
        // Torn or not, no more than a slot. The checksum in the item will tell.
        let len = memory.read_plain(self.slot(index)).min(self.object.shape.slot_size);
        self.item.resize(len as usize, 0);
        memory.read(self.slot(index) + SLOT_HEADER, &mut self.item);
        memory.write_plain(OUT, (index + 1) % slots);
        memory.write_plain(COUNT, memory.read_plain(COUNT).wrapping_sub(1));
        self.mine = self.mine.wrapping_add(1);
        self.at_the_end = false;
        Ok(true)
    }

    /// Pops an item, and looks again and again until there seems to be one.
    ///
    /// # Errors
    /// `Interrupted` by a signal; and as [`Unsynchronized::try_pop`], without `WouldBlock`.
    pub fn pop(&mut self) -> io::Result<bool> {
        let [mut pause, longest] = PAUSES;
        loop {
            match self.try_pop() {
                Err(e) if e.kind() == ErrorKind::WouldBlock => sleep(pause)?,
                done => return done,
            }
            pause = (pause * 2).min(longest);
        }
    }

    /// The item popped last.
    pub fn item(&self) -> &[u8] {
        &self.item
    }

    /// Nothing: the slot was free as soon as the item was copied.
    pub fn done(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Looks who came, left or died. To be called when
    /// [`Channel::watch`](common::place::Channel::watch) has news.
    ///
    /// # Errors
    /// What the file system refuses.
    pub fn look(&mut self) -> io::Result<()> {
        self.object.look(|_, _| Ok(()))
    }

    /// What happened that a user should know: nobody knows.
    pub fn note(&mut self) -> Option<String> {
        None
    }

    /// Leaves in good order. For the last producer it is the goodbye.
    ///
    /// # Errors
    /// `WouldBlock`, with nothing done, if items seem left and nobody is there to take them.
    pub fn finish(&mut self) -> io::Result<()> {
        self.leave(true, self.object.owed(self.items()))
    }

    /// How many items seem to wait to be popped.
    pub fn items(&self) -> usize {
        count(&self.object.memory) as usize
    }

    /// Leaves at once; `left` items are left behind if somebody is there.
    pub fn leave(&mut self, goodbye: bool, left: usize) -> io::Result<()> {
        let memory = &self.object.memory;
        let mine = std::mem::take(&mut self.mine);
        if self.object.is_producers() {
            memory.word(PUSHED).fetch_add(mine, AcqRel);
        } else if !std::mem::replace(&mut self.has_told, true) {
            memory.word(POPPED).fetch_add(mine, AcqRel);
            memory.word(TOLD).fetch_add(1, AcqRel);
        }
        // Whoever waits looks by itself.
        self.object.leave(goodbye, left, |_| ())
    }

    /// What was counted, for who has left after the last producer.
    pub fn tally(&self) -> Option<Tally> {
        let memory = &self.object.memory;
        let all_told = memory.word(TOLD).load(Acquire) == self.object.consumers();
        // In this order: a producer that comes meanwhile makes no lost update of what is none.
        let pushed = memory.word(PUSHED).load(Acquire);
        let increments = memory.read_plain(PUSHES);
        let popped = (all_told && self.at_the_end).then(|| memory.word(POPPED).load(Acquire));
        self.object.is_closed().then_some(Tally { pushed, increments, popped })
    }

    fn slot(&self, index: u32) -> usize {
        SLOTS + index as usize * self.object.shape.stride(SLOT_HEADER)
    }
}

impl Drop for Unsynchronized {
    fn drop(&mut self) {
        let _ = self.leave(false, 0);
    }
}

/// The items that seem to be there. A count that lost updates can have gone below zero.
pub(crate) fn count(memory: &Memory) -> u32 {
    let count = memory.read_plain(COUNT);
    if count as i32 > 0 { count } else { 0 }
}

/// A sleep that a signal interrupts; std's would go on.
fn sleep(pause: Duration) -> io::Result<()> {
    match nix::poll::ppoll(&mut [], Some(TimeSpec::from_duration(pause)), None) {
        Err(Errno::EINTR) => Err(ErrorKind::Interrupted.into()),
        _ => Ok(()),
    }
}
