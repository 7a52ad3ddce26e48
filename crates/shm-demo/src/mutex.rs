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
//! - The lock knows its owner ([`crate::robust`]). If it dies inside, the next one repairs what it may have left half
//!   done: the states of the slots are the truth, and both queues are made anew from them.
//! - So does every slot. An item is TAKEN until it has been consumed; if its consumer dies, it is FULL again. The capacity
//!   never changes, and nothing is lost; an item in hand may come twice.
//! - Who finds nothing looks for a while ([`crate::waiting`]), then sleeps on a futex, and is counted ([`crate::event`]): nobody
//!   makes a system call to wake nobody. (Not a condition variable: a process-shared one hangs once a waiter was killed.)
//!
//! Guarantees: any number of producers and consumers; every item once; in order for each producer.
//! Limits: one process at a time; an item given back comes after later ones that another consumer has already.
//! Calls: futex(2), and those of [`crate::robust`].

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::mem::offset_of;

use crate::event::Event;
use crate::memory::Memory;
use crate::object::{CONTROL, Format, Object, Shape, SyncKind};
use crate::robust::{self, Locked};
use crate::slots::{self, FREE, FULL, Queue, Slots};
use crate::waiting::Waiting;

/// The control words, for their offsets. All are touched only inside the lock.
#[repr(C)]
struct Control {
    mutex: [u64; robust::SIZE / 8],
    items: [u32; 2],
    space: [u32; 2],
    // The rest is in `slots`.
}

const MUTEX: usize = CONTROL + offset_of!(Control, mutex);
const ITEMS: usize = CONTROL + offset_of!(Control, items);
const SPACE: usize = CONTROL + offset_of!(Control, space);

const _: () = assert!(ITEMS == 192 && SPACE == 200 && CONTROL + size_of::<Control>() == slots::QUEUES);

/// What this mechanism wants of its object.
pub static FORMAT: Format =
    Format { kind: SyncKind::Mutex, one_each: false, size: |shape| slots::offset(shape, shape.slots), init };

fn init(memory: &Memory, shape: &Shape) -> io::Result<()> {
    robust::init(memory, MUTEX)?;
    Slots { memory, shape }.rebuild_queues();
    Ok(())
}

/// One process's end of the buffer.
#[derive(Debug)]
pub struct MutexBuffer {
    /// The object underneath.
    pub object: Object,
    /// How to wait for items and slots.
    pub waiting: Waiting,
    /// The private copy of the item in hand, and the slot that still has it.
    item: Vec<u8>,
    hand: Option<u32>,
    repaired: Cell<bool>,
    /// A death could not be looked after, because somebody was stopped inside the lock.
    look_again: bool,
    note: Option<String>,
}

impl MutexBuffer {
    /// A buffer in an object of the format [`FORMAT`].
    pub fn new(object: Object) -> io::Result<MutexBuffer> {
        let (waiting, item, repaired) = (Waiting::default(), Vec::new(), Cell::new(false));
        let mut buffer =
            MutexBuffer { object, waiting, item, hand: None, repaired, look_again: false, note: None };
        buffer.look()?;
        Ok(buffer)
    }

    /// Pushes an item if there is a free slot. (It may wait for the moment that another is in the lock.)
    ///
    /// # Errors
    /// `WouldBlock` if the buffer is full; `Interrupted` if the lock's owner is stopped; `InvalidInput` if it is too large.
    pub fn try_push(&mut self, item: &[u8]) -> io::Result<()> {
        self.object.check_item(item)?;
        self.look_if_needed()?;
        Inside::enter(&self.object, &self.repaired)?.put(item)
    }

    /// Pushes an item, and waits until there is a free slot.
    ///
    /// # Errors
    /// `Interrupted` by a signal, or by `waiting`; `InvalidInput` if the item is larger than a slot.
    pub fn push(&mut self, item: &[u8]) -> io::Result<()> {
        self.object.check_item(item)?;
        let slots = Slots { memory: &self.object.memory, shape: &self.object.shape };
        // A guess from outside: another may be faster, and then we sleep.
        self.waiting.look(|| slots.count(Queue::Free) > 0)?;
        loop {
            let space = Event { memory: &self.object.memory, at: SPACE };
            let seen = space.seen();
            let inside = Inside::enter(&self.object, &self.repaired)?;
            match inside.put(item) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => space.sleep(seen, inside)?,
                done => return done,
            }
        }
    }

    /// Pops an item if there is one: it is in hand, see [`MutexBuffer::item`], until it is done, or the next pop. False at
    /// the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` if the buffer is empty; `Interrupted` if the lock's owner is stopped; `ConnectionAborted` if a producer
    /// died and nobody goes on; `InvalidData` if another process wrote nonsense.
    pub fn try_pop(&mut self) -> io::Result<bool> {
        self.look_if_needed()?;
        let inside = Inside::enter(&self.object, &self.repaired)?;
        inside.take(&mut self.hand, &mut self.item)
    }

    /// Pops an item, and waits until there is one.
    ///
    /// # Errors
    /// As [`MutexBuffer::try_pop`], without `WouldBlock`; `Interrupted` by `waiting`, too.
    pub fn pop(&mut self) -> io::Result<bool> {
        if self.items() == 0 {
            self.done()?; // the producer may wait for this very slot
        }
        let slots = Slots { memory: &self.object.memory, shape: &self.object.shape };
        self.waiting.look(|| slots.count(Queue::Full) > 0)?;
        loop {
            let items = Event { memory: &self.object.memory, at: ITEMS };
            let seen = items.seen();
            let inside = Inside::enter(&self.object, &self.repaired)?;
            match inside.take(&mut self.hand, &mut self.item) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => items.sleep(seen, inside)?,
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

    /// Looks who came, left or died, and makes full again what the dead had in hand: when there are news.
    ///
    /// # Errors
    /// What the file system refuses.
    pub fn look(&mut self) -> io::Result<()> {
        let (repaired, note) = (&self.repaired, &mut self.note);
        let looked = self.object.look(|object, pid| {
            if Inside::enter(object, repaired)?.take_from_the_dead(pid) {
                *note = Some(format!("process {pid} died with an item in hand: it comes again"));
            }
            Ok(())
        });
        self.look_again = matches!(&looked, Err(e) if e.kind() == ErrorKind::Interrupted);
        if self.look_again { Ok(()) } else { looked }
    }

    fn look_if_needed(&mut self) -> io::Result<()> {
        if self.look_again { self.look() } else { Ok(()) }
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
        self.leave(true, self.object.owed(self.items()))
    }

    /// How many items wait to be popped.
    pub fn items(&self) -> usize {
        Slots { memory: &self.object.memory, shape: &self.object.shape }.count(Queue::Full)
    }

    /// Leaves at once. What is in hand goes back; `left` items are left behind if somebody is there.
    pub fn leave(&mut self, goodbye: bool, left: usize) -> io::Result<()> {
        if self.hand.is_some() {
            Inside::enter(&self.object, &self.repaired)?.give_back(&mut self.hand);
        }
        self.object.leave(goodbye, left, |memory| Event { memory, at: ITEMS }.wake_all())
    }
}

impl Drop for MutexBuffer {
    fn drop(&mut self) {
        let _ = self.leave(false, 0).inspect_err(|_| self.object.die());
    }
}

/// What is done inside the lock. Dropping it unlocks.
struct Inside<'a> {
    object: &'a Object,
    slots: Slots<'a>,
    _locked: Locked<'a>,
}

impl<'a> Inside<'a> {
    fn enter(object: &'a Object, repaired: &Cell<bool>) -> io::Result<Inside<'a>> {
        let memory = &object.memory;
        let slots = Slots { memory, shape: &object.shape };
        let _locked = robust::lock(memory, MUTEX, || {
            slots.free_half_filled();
            slots.rebuild_queues();
            Event { memory, at: ITEMS }.wake_all(); // it may have died just before it woke somebody
            Event { memory, at: SPACE }.wake_all();
            repaired.set(true);
        })?;
        Ok(Inside { object, slots, _locked })
    }

    fn put(&self, item: &[u8]) -> io::Result<()> {
        let Some(index) = self.pop_front(Queue::Free)? else { return Err(ErrorKind::WouldBlock.into()) };
        self.slots.fill(index, self.object.pid, item);
        self.slots.push_back(Queue::Full, index);
        self.wake(ITEMS);
        Ok(())
    }

    fn take(&self, hand: &mut Option<u32>, item: &mut Vec<u8>) -> io::Result<bool> {
        self.free(hand);
        // Before the look into the queue: who sees the goodbye and then no item has seen the last one.
        let closed = self.object.is_closed();
        let Some(index) = self.pop_front(Queue::Full)? else {
            return self.object.end(closed).map(|()| false);
        };
        *hand = Some(index);
        // Copied inside the lock, checked before: the length may be anything.
        let len = self.object.check_length(self.slots.take(index, self.object.pid))?;
        item.resize(len, 0);
        self.slots.read(index, item);
        Ok(true)
    }

    fn free(&self, hand: &mut Option<u32>) {
        let Some(index) = hand.take() else { return };
        self.slots.set_state(index, FREE);
        self.slots.push_back(Queue::Free, index);
        self.wake(SPACE);
    }

    fn give_back(&self, hand: &mut Option<u32>) {
        let Some(index) = hand.take() else { return };
        self.slots.set_state(index, FULL);
        self.slots.rebuild_queues();
        self.wake(ITEMS);
    }

    /// Whether that process had an item in hand.
    fn take_from_the_dead(&self, pid: u32) -> bool {
        let found = self.slots.take_from_the_dead(pid);
        self.slots.rebuild_queues();
        self.wake(ITEMS);
        found
    }

    fn pop_front(&self, queue: Queue) -> io::Result<Option<u32>> {
        match self.slots.pop_front(queue) {
            Some(index) if index >= self.object.shape.slots => {
                Err(self.object.damaged("slot number", index.into(), "one of its slots"))
            }
            index => Ok(index),
        }
    }

    fn wake(&self, event: usize) {
        Event { memory: &self.object.memory, at: event }.wake_one();
    }
}

#[cfg(test)]
mod tests {
    use common::place::Place;

    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::seat::Seat;
    use crate::waiting::How;

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
            let index = inside.pop_front(Queue::Free).expect("sound").expect("a free slot");
            inside.slots.set_state(index, slots::FILLING);
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
            let end = inside.object.memory.long(slots::QUEUES + 8);
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
    fn nobody_waits_with_the_slot_in_hand_that_the_other_waits_for() {
        let (mut producer, mut consumer) = pair("slot", 1);
        for side in [&mut producer, &mut consumer] {
            side.waiting = Waiting::new(How::Spin);
        }
        producer.push(b"first").expect("a free slot");
        assert!(consumer.pop().expect("an item"));
        // In vain, but not with the first item in hand.
        assert_eq!(consumer.pop().expect_err("empty").kind(), ErrorKind::Interrupted);
        producer.push(b"second").expect("the slot is free again");
        assert!(consumer.pop().expect("an item"));
        assert_eq!(consumer.item(), b"second");
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

    #[test]
    fn who_leaves_while_somebody_is_stopped_inside_gives_its_item_back_all_the_same() {
        let (mut producer, mut consumer) = pair("stopped", 1);
        producer.try_push(b"first").expect("a free slot");
        assert!(consumer.try_pop().expect("an item"));
        // A thread of ours cannot be stopped alone; one that does not come out again for a while is the same.
        let inside = Inside::enter(&producer.object, &Cell::new(false)).expect("nobody else is inside");
        std::thread::scope(|threads| {
            threads.spawn(|| drop(consumer));
        });
        drop(inside);
        producer.look().expect("nothing is in the way");
        assert_eq!(producer.items(), 1, "the slot is nobody's, for ever");
    }
}
