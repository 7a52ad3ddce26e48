//! Robust mutex and futex: the bounded buffer that survives a killed process.
//!
//! ```text
//!   slots   |  FULL  |  FREE  | TAKEN  |  FULL  |      a state for each, and the pid that it belongs to
//!               #7                #6       #8          the order in which the items came
//!   full    0, 3            numbers of the slots with items, oldest first
//!   free    1               numbers of the slots without
//! ```
//!
//! One process at a time is inside the lock. **New**, compared with [`crate::semaphore`]:
//!
//! - The lock knows its owner ([`crate::robust`]). If it dies inside, the next one repairs what it may have
//!   left half done: the states of the slots are the truth, and both queues are made anew from them.
//! - So does every slot. An item is TAKEN until it has been consumed ([`MutexBuffer::done`]); if its consumer
//!   dies, it is FULL again. The capacity never changes, and nothing is lost; an item in hand may come twice.
//! - Who finds nothing sleeps on a futex, and is counted, so that nobody makes a system call to wake nobody.
//!   (Not a condition variable: a process-shared one hangs once a waiter was killed.)
//!
//! Guarantees: any number of producers and consumers; every item once; in order for each producer.
//! Limits: one process at a time; an item given back comes after later ones that another consumer has already.
//!
//! Calls: futex(2), and those of [`crate::robust`].

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::mem::offset_of;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::futex;
use crate::memory::Memory;
use crate::object::{CONTROL, Format, Object, Shape, SyncKind};
use crate::robust::{self, Locked};

/// The control words, for their offsets. All are touched only inside the lock.
#[repr(C)]
struct Control {
    mutex: [u64; robust::SIZE / 8],
    items: Event,
    space: Event,
    full: Queue,
    free: Queue,
    /// Items ever pushed.
    pushed: u64,
    _to_the_next_cache_line: u64,
}

/// Something to wait for.
#[repr(C)]
struct Event {
    /// The futex: changes with every wake.
    sequence: u32,
    /// How many sleep, or are about to: never fewer than really do.
    sleepers: u32,
}

/// A queue of slot numbers: `[first, end)` of a table with one entry for each slot, going round.
#[repr(C)]
struct Queue {
    first: u64,
    end: u64,
}

/// What a slot holds before the item.
#[repr(C)]
struct SlotHeader {
    state: u32,
    /// Whose it is while it is FILLING or TAKEN.
    owner: u32,
    len: u32,
    _to_8: u32,
    /// The item's number in the order of pushing.
    number: u64,
}

const FREE: u32 = 0;
const FILLING: u32 = 1;
const FULL: u32 = 2;
const TAKEN: u32 = 3;

const MUTEX: usize = CONTROL + offset_of!(Control, mutex);
const ITEMS: usize = CONTROL + offset_of!(Control, items);
const SPACE: usize = CONTROL + offset_of!(Control, space);
const SLEEPERS: usize = offset_of!(Event, sleepers);
const FULL_QUEUE: usize = CONTROL + offset_of!(Control, full);
const FREE_QUEUE: usize = CONTROL + offset_of!(Control, free);
const END: usize = offset_of!(Queue, end);
const PUSHED: usize = CONTROL + offset_of!(Control, pushed);
/// The tables of the two queues: `[slots]` entries of `full`, then of `free`.
const TABLES: usize = CONTROL + size_of::<Control>();

const _: () = assert!(ITEMS == 192 && SPACE == 200 && FULL_QUEUE == 208 && PUSHED == 240 && TABLES == 256);
const _: () = assert!(size_of::<SlotHeader>() == 24 && offset_of!(SlotHeader, number) == 16);

/// What this mechanism wants of its object.
pub static FORMAT: Format =
    Format { kind: SyncKind::Mutex, one_each: false, size: |shape| slot(shape, shape.slots), init };

/// Where a slot begins.
fn slot(shape: &Shape, index: u32) -> usize {
    let slots = (TABLES + 8 * shape.slots as usize).next_multiple_of(64);
    slots + index as usize * shape.stride(size_of::<SlotHeader>())
}

fn init(memory: &Memory, shape: &Shape) -> io::Result<()> {
    robust::init(memory, MUTEX)?;
    rebuild_queues(memory, shape);
    Ok(())
}

/// One process's end of the buffer.
#[derive(Debug)]
pub struct MutexBuffer {
    /// The object underneath.
    pub object: Object,
    /// The private copy of the item in hand, and the slot that still has it.
    item: Vec<u8>,
    hand: Option<u32>,
    repaired: Cell<bool>,
    note: Option<String>,
}

impl MutexBuffer {
    /// A buffer in an object of the format [`FORMAT`].
    pub fn new(object: Object) -> io::Result<MutexBuffer> {
        let repaired = Cell::new(false);
        let mut buffer = MutexBuffer { object, item: Vec::new(), hand: None, repaired, note: None };
        buffer.look()?;
        Ok(buffer)
    }

    /// Pushes an item if there is a free slot. (It may wait for the moment that another is in the lock.)
    ///
    /// # Errors
    /// `WouldBlock` if the buffer is full; `Interrupted` if the lock's owner is stopped; `InvalidInput` if
    /// the item is larger than a slot.
    pub fn try_push(&mut self, item: &[u8]) -> io::Result<()> {
        self.object.check_item(item)?;
        Inside::enter(&self.object, &self.repaired)?.put(item)
    }

    /// Pushes an item, and sleeps until there is a free slot.
    ///
    /// # Errors
    /// `Interrupted` by a signal; `InvalidInput` if the item is larger than a slot.
    pub fn push(&mut self, item: &[u8]) -> io::Result<()> {
        self.object.check_item(item)?;
        loop {
            let seen = self.object.memory.word(SPACE).load(Acquire);
            let inside = Inside::enter(&self.object, &self.repaired)?;
            match inside.put(item) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => inside.leave_and_sleep(SPACE, seen)?,
                done => return done,
            }
        }
    }

    /// Pops an item if there is one: it is in hand, see [`MutexBuffer::item`], until [`MutexBuffer::done`] or
    /// the next pop. False at the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` if the buffer is empty; `Interrupted` if the lock's owner is stopped; `ConnectionAborted`
    /// if a producer died and nobody goes on; `InvalidData` if another process wrote nonsense.
    pub fn try_pop(&mut self) -> io::Result<bool> {
        let inside = Inside::enter(&self.object, &self.repaired)?;
        inside.take(&mut self.hand, &mut self.item)
    }

    /// Pops an item, and sleeps until there is one.
    ///
    /// # Errors
    /// As [`MutexBuffer::try_pop`], without `WouldBlock`.
    pub fn pop(&mut self) -> io::Result<bool> {
        loop {
            let seen = self.object.memory.word(ITEMS).load(Acquire);
            let inside = Inside::enter(&self.object, &self.repaired)?;
            match inside.take(&mut self.hand, &mut self.item) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => inside.leave_and_sleep(ITEMS, seen)?,
                done => return done,
            }
        }
    }

    /// The item in hand.
    pub fn item(&self) -> &[u8] {
        &self.item
    }

    /// The item in hand has been consumed: its slot is free for another.
    ///
    /// # Errors
    /// `Interrupted` if the lock's owner is stopped: to be called again.
    pub fn done(&mut self) -> io::Result<()> {
        if self.hand.is_some() {
            Inside::enter(&self.object, &self.repaired)?.free(&mut self.hand);
        }
        Ok(())
    }

    /// Looks who came, left or died, and makes full again what the dead had in hand. To be called when
    /// [`Channel::watch`](common::place::Channel::watch) has news.
    ///
    /// # Errors
    /// `Interrupted` if the lock's owner is stopped: to be called again.
    pub fn look(&mut self) -> io::Result<()> {
        let (repaired, note) = (&self.repaired, &mut self.note);
        self.object.look(|object, pid| {
            if Inside::enter(object, repaired)?.take_from_the_dead(pid) {
                *note = Some(format!("process {pid} died with an item in hand: it comes again"));
            }
            Ok(())
        })
    }

    /// What happened that a user should know, once.
    pub fn note(&mut self) -> Option<String> {
        if self.repaired.take() {
            return Some("the lock's owner died inside it: owner died, repaired".into());
        }
        self.note.take()
    }

    /// Leaves in good order. For the last producer it is the goodbye.
    ///
    /// # Errors
    /// `WouldBlock`, with nothing done, if items are left and nobody is there to take them.
    pub fn finish(&mut self) -> io::Result<()> {
        self.done()?;
        let word = |at| self.object.memory.long(at).load(Relaxed);
        let left = word(FULL_QUEUE + END).wrapping_sub(word(FULL_QUEUE));
        self.leave(true, left as usize)
    }

    /// Leaves at once. What is in hand goes back; `left` items are left behind if somebody is there.
    pub fn leave(&mut self, goodbye: bool, left: usize) -> io::Result<()> {
        if self.hand.is_some() {
            Inside::enter(&self.object, &self.repaired)?.give_back(&mut self.hand);
        }
        self.object.leave(goodbye, left, |memory| wake_all(memory, ITEMS))
    }
}

impl Drop for MutexBuffer {
    fn drop(&mut self) {
        let _ = self.leave(false, 0);
    }
}

/// What is done inside the lock. Dropping it unlocks.
struct Inside<'a> {
    object: &'a Object,
    memory: &'a Memory,
    _locked: Locked<'a>,
}

impl<'a> Inside<'a> {
    fn enter(object: &'a Object, repaired: &Cell<bool>) -> io::Result<Inside<'a>> {
        let memory = &object.memory;
        let _locked = robust::lock(memory, MUTEX, || {
            // What the dead one was filling is free; the rest is as the states say.
            for index in 0..object.shape.slots {
                let state = memory.word(slot(&object.shape, index));
                if state.load(Relaxed) == FILLING {
                    state.store(FREE, Relaxed);
                }
            }
            rebuild_queues(memory, &object.shape);
            // It may have died just before it woke somebody.
            wake_all(memory, ITEMS);
            wake_all(memory, SPACE);
            repaired.set(true);
        })?;
        Ok(Inside { object, memory, _locked })
    }

    fn put(&self, item: &[u8]) -> io::Result<()> {
        let Some(index) = self.pop_front(FREE_QUEUE)? else { return Err(ErrorKind::WouldBlock.into()) };
        let at = slot(&self.object.shape, index);
        self.memory.word(at + offset_of!(SlotHeader, owner)).store(std::process::id(), Relaxed);
        self.memory.word(at + offset_of!(SlotHeader, state)).store(FILLING, Relaxed);
        let number = self.memory.long(PUSHED).load(Relaxed);
        self.memory.long(PUSHED).store(number.wrapping_add(1), Relaxed);
        self.memory.long(at + offset_of!(SlotHeader, number)).store(number, Relaxed);
        self.memory.word(at + offset_of!(SlotHeader, len)).store(item.len() as u32, Relaxed);
        self.memory.write(at + size_of::<SlotHeader>(), item);
        // Release, though we are inside the lock: we may be killed here, and the state must not be ahead of
        // the bytes, for the repair believes it.
        self.memory.word(at + offset_of!(SlotHeader, state)).store(FULL, Release);
        push_back(self.memory, &self.object.shape, FULL_QUEUE, index);
        self.wake(ITEMS);
        Ok(())
    }

    fn take(&self, hand: &mut Option<u32>, item: &mut Vec<u8>) -> io::Result<bool> {
        self.free(hand);
        // Before the look into the queue: who sees the goodbye and then no item has seen the last one.
        let closed = self.object.is_closed();
        let Some(index) = self.pop_front(FULL_QUEUE)? else { return self.object.end(closed).map(|()| false) };
        let at = slot(&self.object.shape, index);
        self.memory.word(at + offset_of!(SlotHeader, owner)).store(std::process::id(), Relaxed);
        self.memory.word(at + offset_of!(SlotHeader, state)).store(TAKEN, Release);
        *hand = Some(index);
        let len = self.memory.word(at + offset_of!(SlotHeader, len)).load(Relaxed);
        item.resize(self.object.check_length(len)?, 0);
        self.memory.read(at + size_of::<SlotHeader>(), item);
        Ok(true)
    }

    fn free(&self, hand: &mut Option<u32>) {
        let Some(index) = hand.take() else { return };
        self.memory.word(slot(&self.object.shape, index)).store(FREE, Relaxed);
        push_back(self.memory, &self.object.shape, FREE_QUEUE, index);
        self.wake(SPACE);
    }

    fn give_back(&self, hand: &mut Option<u32>) {
        let Some(index) = hand.take() else { return };
        self.memory.word(slot(&self.object.shape, index)).store(FULL, Relaxed);
        rebuild_queues(self.memory, &self.object.shape);
        self.wake(ITEMS);
    }

    /// Whether that process had an item in hand.
    fn take_from_the_dead(&self, pid: u32) -> bool {
        let mut found = false;
        for at in (0..self.object.shape.slots).map(|index| slot(&self.object.shape, index)) {
            let owner = self.memory.word(at + offset_of!(SlotHeader, owner)).load(Relaxed);
            if self.memory.word(at).load(Relaxed) == TAKEN && owner == pid {
                self.memory.word(at).store(FULL, Relaxed);
                found = true;
            }
        }
        rebuild_queues(self.memory, &self.object.shape);
        self.wake(ITEMS);
        found
    }

    fn pop_front(&self, queue: usize) -> io::Result<Option<u32>> {
        let first = self.memory.long(queue).load(Relaxed);
        if first == self.memory.long(queue + END).load(Relaxed) {
            return Ok(None);
        }
        let index = entry(self.memory, &self.object.shape, queue, first).load(Relaxed);
        if index >= self.object.shape.slots {
            return Err(self.object.damaged("slot number", index.into(), "one of its slots"));
        }
        self.memory.long(queue).store(first.wrapping_add(1), Relaxed);
        Ok(Some(index))
    }

    /// Wakes one who sleeps until `event`. The waker does the counting, because a sleeper may be killed: so
    /// `sleepers` can be too high, which costs a system call in vain, but never too low.
    fn wake(&self, event: usize) {
        let sleepers = self.memory.word(event + SLEEPERS).load(Relaxed);
        if sleepers > 0 {
            self.memory.word(event + SLEEPERS).store(sleepers - 1, Relaxed);
            self.memory.word(event).fetch_add(1, Relaxed);
            futex::wake(self.memory.word(event), 1);
        }
    }

    /// `seen` is the event's sequence from before we looked. Whoever came later with something for us, or with
    /// the goodbye, has changed it: then this returns at once.
    fn leave_and_sleep(self, event: usize, seen: u32) -> io::Result<()> {
        self.memory.word(event + SLEEPERS).fetch_add(1, Relaxed);
        let memory = self.memory;
        drop(self);
        futex::wait(memory.word(event), seen)
    }
}

fn wake_all(memory: &Memory, event: usize) {
    // Release: pairs with the Acquire of `seen`. Who has seen the new sequence sees the goodbye too.
    memory.word(event).fetch_add(1, Release);
    futex::wake(memory.word(event), i32::MAX);
}

/// The queue's entry for a position.
fn entry<'a>(memory: &'a Memory, shape: &Shape, queue: usize, position: u64) -> &'a AtomicU32 {
    let table = if queue == FULL_QUEUE { 0 } else { shape.slots as usize };
    memory.word(TABLES + 4 * (table + (position % u64::from(shape.slots)) as usize))
}

fn push_back(memory: &Memory, shape: &Shape, queue: usize, index: u32) {
    let end = memory.long(queue + END).load(Relaxed);
    entry(memory, shape, queue, end).store(index, Relaxed);
    memory.long(queue + END).store(end.wrapping_add(1), Relaxed);
}

/// Makes both queues from the states of the slots.
fn rebuild_queues(memory: &Memory, shape: &Shape) {
    let of_state =
        |state| (0..shape.slots).filter(move |i| memory.word(slot(shape, *i)).load(Relaxed) == state);
    let mut full: Vec<u32> = of_state(FULL).collect();
    full.sort_by_key(|i| memory.long(slot(shape, *i) + offset_of!(SlotHeader, number)).load(Relaxed));
    for (queue, slots) in [(FULL_QUEUE, full), (FREE_QUEUE, of_state(FREE).collect())] {
        memory.long(queue).store(0, Relaxed);
        memory.long(queue + END).store(0, Relaxed);
        slots.into_iter().for_each(|index| push_back(memory, shape, queue, index));
    }
}

#[cfg(test)]
mod tests {
    use common::place::Place;

    use super::*;
    use crate::seat::Seat;

    fn pair(name: &str, slots: u32) -> (MutexBuffer, MutexBuffer) {
        let place = Place::open().expect("place");
        let name = format!("mutex-{name}-{}", std::process::id());
        let object = Object::create(&place, &name, &FORMAT, Shape { slots, slot_size: 16 }).expect("create");
        let producer = MutexBuffer::new(object).expect("producer");
        let mut seat = Some(Seat::consumer(&place, &name, &FORMAT).expect("seat"));
        let object = Object::open(&mut seat).expect("open").expect("there");
        (producer, MutexBuffer::new(object).expect("consumer"))
    }

    /// Dies inside the lock after `what`: for a robust mutex the end of a thread is a death.
    fn die_inside(buffer: &MutexBuffer, what: impl FnOnce(&Inside) + Send) {
        let memory = &buffer.object;
        std::thread::scope(|threads| {
            threads.spawn(move || {
                let inside = Inside::enter(memory, &Cell::new(false)).expect("nobody else is inside");
                what(&inside);
                std::mem::forget(inside);
            });
        });
    }

    #[test]
    fn who_dies_while_filling_leaves_a_free_slot() {
        let (mut producer, mut consumer) = pair("filling", 2);
        producer.try_push(b"before").expect("a free slot");
        die_inside(&producer, |inside| {
            let index = inside.pop_front(FREE_QUEUE).expect("sound").expect("a free slot");
            inside.memory.word(slot(&inside.object.shape, index)).store(FILLING, Relaxed);
        });
        producer.try_push(b"after").expect("the other slot, repaired");
        assert!(producer.note().expect("a note").contains("owner died, repaired"));
        assert_eq!(producer.try_push(b"").expect_err("full").kind(), ErrorKind::WouldBlock);
        for item in [&b"before"[..], b"after"] {
            assert!(consumer.try_pop().expect("an item"));
            assert_eq!(consumer.item(), item);
        }
        assert_eq!(consumer.note(), None, "it was repaired once");
    }

    #[test]
    fn who_dies_after_the_state_has_changed_has_pushed() {
        let (mut producer, mut consumer) = pair("pushed", 3);
        producer.try_push(b"first").expect("a free slot");
        producer.try_push(b"second").expect("a free slot");
        // As if the entry in the queue were missing.
        die_inside(&producer, |inside| {
            let end = inside.memory.long(FULL_QUEUE + END);
            end.store(end.load(Relaxed) - 1, Relaxed);
        });
        for item in [&b"first"[..], b"second"] {
            assert!(consumer.try_pop().expect("an item"));
            assert_eq!(consumer.item(), item);
        }
    }

    #[test]
    fn what_was_in_hand_comes_first_again() {
        let (mut producer, mut consumer) = pair("hand", 2);
        producer.try_push(b"first").expect("a free slot");
        producer.try_push(b"second").expect("a free slot");
        assert!(consumer.try_pop().expect("an item"));
        // As if this very process had died, and been born again.
        let inside = Inside::enter(&producer.object, &producer.repaired).expect("free");
        assert!(inside.take_from_the_dead(std::process::id()));
        drop(inside);
        consumer.hand = None;
        for item in [&b"first"[..], b"second"] {
            assert!(consumer.try_pop().expect("an item"));
            assert_eq!(consumer.item(), item);
        }
    }

    #[test]
    fn slots_are_reused_in_any_order() {
        let (mut producer, mut consumer) = pair("reuse", 3);
        let mut next = 0u64;
        for i in 0..1000u64 {
            while producer.try_push(&(next + 1).to_le_bytes()).is_ok() {
                next += 1;
            }
            assert!(consumer.try_pop().expect("an item"));
            assert_eq!(consumer.item(), (i + 1).to_le_bytes());
            if i % 7 == 0 {
                consumer.done().expect("done");
            }
        }
    }
}
