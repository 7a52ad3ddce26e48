//! The ring: lock-free, for one producer and one consumer.
//!
//! ```text
//!             head                tail
//!              v                   v            head: items ever consumed, written by the consumer only
//!   |        |####|####|####|####|        |     tail: items ever pushed, written by the producer only
//!              in hand             next
//! ```
//!
//! **New**, compared with [`crate::mutex`]: nobody waits for a lock, because no word has two writers. An item
//! is published by one store of `tail`, and consumed by one store of `head`. A process that is killed, at any
//! moment, leaves the counters as they were: what it was pushing was never there, what it had in hand still is.
//!
//! - At full speed there is no system call: who finds the buffer empty or full looks for a while ([`crate::waiting`]),
//!   then says so in a word beside the other's counter and sleeps there (futex); the other side looks at that word
//!   after each step and wakes only who sleeps.
//! - The counters run freely and wrap around; `tail - head` is the number of items. The array has a power of
//!   two of slots, so that a position's slot is found by a mask, also across the wrap. The capacity is exact.
//! - Each side keeps a copy of the other's counter and looks at the real one, whose cache line the other is
//!   writing, only when the copy says empty or full.
//! - What the other side wrote is checked before it is used: scribbling can end the run, not crash it.
//! - What orders all that between two processors is in [`crate::side`].
//!
//! Guarantees: every item, in order; nothing lost when either side is killed; an item in hand may come twice.
//! Limits: one of each.
//!
//! System call: futex(2). See also Lamport, "Proving the Correctness of Multiprocess Programs" (1977), and
//! Bos, *Rust Atomics and Locks*, chapters 3 and 9.

use std::io::{self, ErrorKind};
use std::sync::atomic::Ordering::Relaxed;

use crate::memory::Memory;
use crate::object::{CONTROL, Format, Object, Shape, SyncKind};
use crate::side::{self, Side};
use crate::waiting::Waiting;

/// The consumer's side, and the producer's: each on a cache line of its own.
pub(crate) const HEAD: usize = CONTROL;
pub(crate) const TAIL: usize = HEAD + side::SIZE;
const SLOTS: usize = TAIL + side::SIZE;
/// In a slot, before the item: its length.
const SLOT_HEADER: usize = 8;

const _: () = assert!(HEAD == 128 && TAIL == 192 && SLOTS == 256);

/// What this mechanism wants of its object.
pub static FORMAT: Format =
    Format { kind: SyncKind::Ring, one_each: true, size, init: |_: &Memory, _: &Shape| Ok(()) };

pub(crate) fn size(shape: &Shape) -> usize {
    SLOTS + shape.slots.next_power_of_two() as usize * shape.stride(SLOT_HEADER)
}

/// One process's end of the ring.
#[derive(Debug)]
pub struct Ring {
    /// The object underneath.
    pub object: Object,
    /// How to wait for the other side.
    pub waiting: Waiting,
    /// Where we are: what we wrote into our counter, which nobody else writes.
    mine: u64,
    /// The other side's counter when we last looked.
    theirs: u64,
    /// The private copy of the item in hand.
    item: Vec<u8>,
    in_hand: bool,
}

impl Ring {
    /// A ring in an object of the format [`FORMAT`].
    ///
    /// # Errors
    /// `InvalidData` if the counters make no sense.
    pub fn new(object: Object) -> io::Result<Ring> {
        let waiting = Waiting::default();
        let mut ring = Ring { object, waiting, mine: 0, theirs: 0, item: Vec::new(), in_hand: false };
        let (head, tail) = (ring.side(HEAD).load(), ring.side(TAIL).load());
        ring.check("head and tail", head, tail)?;
        (ring.mine, ring.theirs) = if ring.object.is_producers() { (tail, head) } else { (head, tail) };
        ring.look()?;
        Ok(ring)
    }

    /// Pushes an item if there is a free slot.
    ///
    /// # Errors
    /// `WouldBlock` if the ring is full; `InvalidInput` if the item is larger than a slot; `InvalidData` if
    /// another process wrote nonsense.
    pub fn try_push(&mut self, item: &[u8]) -> io::Result<()> {
        self.object.check_item(item)?;
        let tail = self.mine;
        if self.seems_full() {
            let head = self.side(HEAD).load();
            let items = self.check("head", head, tail)?;
            self.theirs = head;
            if items == u64::from(self.object.shape.slots) {
                return Err(ErrorKind::WouldBlock.into());
            }
        }
        let at = self.slot(tail);
        self.object.memory.word(at).store(item.len() as u32, Relaxed);
        self.object.memory.write(at + SLOT_HEADER, item);
        self.mine = tail.wrapping_add(1);
        self.side(TAIL).publish(self.mine);
        self.side(TAIL).wake();
        if !self.seems_full() {
            // The consumer's processor has the next slot: while the next item is made, it comes over.
            self.object.memory.will_write(self.slot(self.mine), SLOT_HEADER + item.len());
        }
        Ok(())
    }

    /// Pushes an item, and waits until there is a free slot.
    ///
    /// # Errors
    /// `Interrupted` by a signal, or by [`Ring::waiting`]; and as [`Ring::try_push`], without `WouldBlock`.
    pub fn push(&mut self, item: &[u8]) -> io::Result<()> {
        if !self.seems_full() || self.moves_soon(HEAD)? {
            match self.try_push(item) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
        loop {
            self.side(HEAD).about_to_sleep();
            match self.try_push(item) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.side(HEAD).sleep()?,
                done => {
                    self.side(HEAD).awake();
                    return done;
                }
            }
        }
    }

    /// Pops an item if there is one: it is in hand, see [`Ring::item`], until [`Ring::done`] or the next pop.
    /// False at the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` if the ring is empty; `ConnectionAborted` if the producer died and none goes on;
    /// `InvalidData` if another process wrote nonsense.
    pub fn try_pop(&mut self) -> io::Result<bool> {
        self.done()?;
        let head = self.mine;
        if head == self.theirs {
            // Before the look at the counter: who sees the goodbye and then no item has seen the last one.
            let closed = self.object.is_closed();
            let tail = self.side(TAIL).load();
            if self.check("tail", head, tail)? == 0 {
                return self.object.end(closed).map(|()| false);
            }
            self.theirs = tail;
        }
        let at = self.slot(head);
        // Read once, checked, then used: the producer may write anything at any time.
        let len = self.object.check_length(self.object.memory.word(at).load(Relaxed))?;
        self.item.resize(len, 0);
        self.object.memory.read(at + SLOT_HEADER, &mut self.item);
        self.in_hand = true;
        Ok(true)
    }

    /// Pops an item, and waits until there is one.
    ///
    /// # Errors
    /// `Interrupted` by a signal, or by [`Ring::waiting`]; and as [`Ring::try_pop`], without `WouldBlock`.
    pub fn pop(&mut self) -> io::Result<bool> {
        self.done()?;
        if self.mine != self.theirs || self.moves_soon(TAIL)? {
            match self.try_pop() {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
        loop {
            self.side(TAIL).about_to_sleep();
            match self.try_pop() {
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.side(TAIL).sleep()?,
                done => {
                    self.side(TAIL).awake();
                    return done;
                }
            }
        }
    }

    /// The item in hand.
    pub fn item(&self) -> &[u8] {
        &self.item
    }

    /// The item in hand has been consumed: its slot is free for another. (It cannot fail.)
    pub fn done(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.in_hand) {
            self.mine = self.mine.wrapping_add(1);
            self.side(HEAD).publish(self.mine);
            self.side(HEAD).wake();
        }
        Ok(())
    }

    /// Looks who came, left or died. There is nothing to repair. To be called when
    /// [`Channel::watch`](common::place::Channel::watch) has news.
    ///
    /// # Errors
    /// What the file system refuses.
    pub fn look(&mut self) -> io::Result<()> {
        self.object.look(|_, _| Ok(()))
    }

    /// What happened that a user should know: nothing ever.
    pub fn note(&mut self) -> Option<String> {
        None
    }

    /// Leaves in good order. For the producer it is the goodbye.
    ///
    /// # Errors
    /// `WouldBlock`, with nothing done, if items are left and nobody is there to take them.
    pub fn finish(&mut self) -> io::Result<()> {
        self.done()?;
        self.leave(true, self.object.owed(self.items()))
    }

    /// How many items there are; one in hand counts, too.
    pub fn items(&self) -> usize {
        self.side(TAIL).load().wrapping_sub(self.side(HEAD).load()) as usize
    }

    /// Leaves at once. What is in hand stays; `left` items are left behind if somebody is there.
    pub fn leave(&mut self, goodbye: bool, left: usize) -> io::Result<()> {
        self.object.leave(goodbye, left, |memory| Side::at(memory, TAIL).wake())
    }

    /// Whether there is no free slot, as far as we know.
    fn seems_full(&self) -> bool {
        self.mine.wrapping_sub(self.theirs) >= self.object.shape.slots.into()
    }

    /// Looks for a while whether the other side's counter moves on from where we know it.
    fn moves_soon(&mut self, other: usize) -> io::Result<bool> {
        let (other, known) = (Side::at(&self.object.memory, other), self.theirs);
        self.waiting.look(|| other.load() != known)
    }

    fn side(&self, at: usize) -> Side<'_> {
        Side::at(&self.object.memory, at)
    }

    fn slot(&self, position: u64) -> usize {
        let mask = self.object.shape.slots.next_power_of_two() as u64 - 1;
        SLOTS + (position & mask) as usize * self.object.shape.stride(SLOT_HEADER)
    }

    /// How many items there are between the counters, if they make sense.
    fn check(&self, which: &str, head: u64, tail: u64) -> io::Result<u64> {
        let items = tail.wrapping_sub(head);
        if items <= self.object.shape.slots.into() {
            return Ok(items);
        }
        Err(self.object.damaged(which, items, "at most its slots apart"))
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let _ = self.leave(false, 0);
    }
}

#[cfg(test)]
mod tests {
    use common::place::Place;

    use super::*;
    use crate::seat::Seat;
    use crate::waiting::How;

    /// Both ends in one process; its two names differ by the role. `start` is where the counters begin.
    fn pair(name: &str, slots: u32, start: u64) -> (Ring, Ring) {
        let place = Place::open().expect("place");
        let name = format!("ring-{name}-{}", std::process::id());
        let object = Object::create(&place, &name, &FORMAT, Shape { slots, slot_size: 16 }).expect("create");
        for side in [HEAD, TAIL] {
            Side::at(&object.memory, side).publish(start);
        }
        let producer = Ring::new(object).expect("producer");
        let mut seat = Some(Seat::consumer(&place, &name, &FORMAT).expect("seat"));
        let object = Object::open(&mut seat).expect("open").expect("there");
        (producer, Ring::new(object).expect("consumer"))
    }

    #[test]
    fn the_capacity_is_exact_and_the_counters_wrap() {
        for slots in [1, 3, 8] {
            let (mut producer, mut consumer) = pair(&format!("wrap{slots}"), slots, u64::MAX - 4);
            for round in 0..10u64 {
                for i in 0..u64::from(slots) {
                    producer.try_push(&(100 * round + i).to_le_bytes()).expect("a free slot");
                }
                let full = producer.try_push(b"one more").expect_err("full");
                assert_eq!(full.kind(), ErrorKind::WouldBlock);
                for i in 0..u64::from(slots) {
                    assert!(consumer.try_pop().expect("an item"));
                    assert_eq!(consumer.item(), (100 * round + i).to_le_bytes());
                }
                // The last one is still in hand, and its slot not free; looking for another is being done with it.
                assert_eq!(consumer.try_pop().expect_err("empty").kind(), ErrorKind::WouldBlock);
            }
            assert_eq!(producer.mine, (u64::MAX - 4).wrapping_add(10 * u64::from(slots)));
        }
    }

    #[test]
    fn an_item_in_hand_keeps_its_slot_until_it_is_done() {
        let (mut producer, mut consumer) = pair("hand", 1, 0);
        producer.try_push(b"first").expect("a free slot");
        assert!(consumer.try_pop().expect("an item"));
        producer.try_push(b"second").expect_err("no free slot");
        consumer.done().expect("done");
        producer.try_push(b"second").expect("a free slot");
    }

    #[test]
    fn nobody_waits_with_the_slot_in_hand_that_the_other_waits_for() {
        let (mut producer, mut consumer) = pair("slot", 1, 0);
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
    fn nonsense_is_named() {
        let (mut producer, mut consumer) = pair("nonsense", 2, 0);
        producer.side(HEAD).publish(7);
        for _ in 0..2 {
            producer.try_push(b"").expect("free as far as it knows");
        }
        assert!(producer.try_push(b"").expect_err("damaged").to_string().contains("head"));
        producer.side(TAIL).publish(3);
        assert!(consumer.try_pop().expect_err("damaged").to_string().contains("tail"));
        producer.side(TAIL).publish(1);
        producer.object.memory.word(SLOTS).store(17, Relaxed);
        assert!(consumer.try_pop().expect_err("damaged").to_string().contains("item length"));
    }

    #[test]
    fn a_sleeper_is_woken_by_an_item_and_by_the_goodbye() {
        let (mut producer, mut consumer) = pair("sleep", 2, 0);
        let items = std::thread::spawn(move || {
            let mut items = 0;
            while consumer.pop().expect("nobody died") {
                items += 1;
            }
            items
        });
        for _ in 0..20_000 {
            producer.push(b"item").expect("nobody interrupts");
        }
        producer.leave(true, 0).expect("goodbye");
        assert_eq!(items.join().expect("ended"), 20_000);
    }
}
