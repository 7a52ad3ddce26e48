//! Semaphores: the bounded buffer of the textbook.
//!
//! ```text
//!            producer                              consumer
//!            wait(empty)   a slot is mine          wait(full)    an item is mine
//!            wait(mutex)                           wait(mutex)
//!              slots[tail++] = item                  item = slots[head++]
//!            post(mutex)                           post(mutex)
//!            post(full)    an item for anybody     …consume it…
//!                                                  post(empty)   a slot for anybody
//! ```
//!
//! `empty` counts free slots, `full` counts items, and `mutex` is a semaphore that is 1 or 0. Who finds a count of 0
//! looks for a while ([`crate::waiting`]), then sleeps until another process posts; otherwise there is no system call.
//!
//! Guarantees: any number of producers and consumers; every item once; in order for each producer.
//! Limits: a semaphore does not know who took it. What a killed process had taken is never given back: the lock, and nobody
//! gets in any more; or a slot, and the capacity has shrunk. The pids beside the semaphores only let
//! [`crate::post_mortem`] say so instead of hanging. [`crate::mutex`] is the step further.
//! Calls: those of [`crate::posix_semaphore`]. See also Silberschatz, Galvin, Gagne, *Operating System Concepts*, "The Bounded-Buffer Problem".

use std::io::{self, ErrorKind};
use std::mem::offset_of;
use std::sync::atomic::Ordering::Relaxed;

use libc::sem_t;

use crate::memory::Memory;
use crate::object::{CONTROL, Format, Object, Shape, SyncKind};
use crate::posix_semaphore::Semaphore;
use crate::post_mortem::{self, HANDS};
use crate::waiting::Waiting;

/// The control words, for their offsets.
#[repr(C)]
struct Control {
    empty: Line<sem_t>,
    full: Line<sem_t>,
    mutex: Line<sem_t>,
    /// The pid of the process inside the lock.
    holder: u32,
    /// Processes that died; each of them took at most one token along.
    deaths: u32,
    /// Items ever popped, and pushed. Only touched inside the lock.
    head: u64,
    tail: u64,
}

#[repr(C, align(64))]
struct Line<T>(T);

pub(crate) const EMPTY: usize = CONTROL + offset_of!(Control, empty);
pub(crate) const FULL: usize = CONTROL + offset_of!(Control, full);
pub(crate) const MUTEX: usize = CONTROL + offset_of!(Control, mutex);
pub(crate) const HOLDER: usize = CONTROL + offset_of!(Control, holder);
pub(crate) const DEATHS: usize = CONTROL + offset_of!(Control, deaths);
pub(crate) const HEAD: usize = CONTROL + offset_of!(Control, head);
pub(crate) const TAIL: usize = CONTROL + offset_of!(Control, tail);
/// In a slot, before the item: its length.
const SLOT_HEADER: usize = 8;
/// How often to look at a taken lock before sleeping: a few microseconds.
const LOOKS: u32 = 100;

const _: () =
    assert!(EMPTY == 128 && FULL == 192 && MUTEX == 256 && HOLDER == 320 && size_of::<Control>() == 256);

/// What this mechanism wants of its object.
pub static FORMAT: Format =
    Format { kind: SyncKind::Semaphore, one_each: false, size: |s| slot(s, s.slots.into()), init };

fn slot(shape: &Shape, index: u64) -> usize {
    let slots = (HANDS + 4 * shape.slots as usize).next_multiple_of(64);
    slots + index as usize * shape.stride(SLOT_HEADER)
}

fn init(memory: &Memory, shape: &Shape) -> io::Result<()> {
    for (at, value) in [(EMPTY, shape.slots), (FULL, 0), (MUTEX, 1)] {
        Semaphore { memory, at }.init(value)?;
    }
    Ok(())
}

/// One process's end of the buffer.
#[derive(Debug)]
pub struct SemaphoreBuffer {
    /// The object underneath.
    pub object: Object,
    /// How to wait for items and slots.
    pub waiting: Waiting,
    /// The private copy of the item in hand.
    item: Vec<u8>,
    /// Which of `hands` is ours.
    hand: Option<u32>,
    lost: usize,
    note: Option<String>,
}

impl SemaphoreBuffer {
    /// A buffer in an object of the format [`FORMAT`].
    pub fn new(object: Object) -> io::Result<SemaphoreBuffer> {
        let (waiting, item) = (Waiting::default(), Vec::new());
        let mut buffer = SemaphoreBuffer { object, waiting, item, hand: None, lost: 0, note: None };
        buffer.look()?;
        Ok(buffer)
    }

    /// Pushes an item if there is a free slot.
    ///
    /// # Errors
    /// `WouldBlock` if the buffer is full, or somebody stays in the lock; `InvalidInput` if the item is too large.
    pub fn try_push(&mut self, item: &[u8]) -> io::Result<()> {
        self.object.check_item(item)?;
        if !self.semaphore(EMPTY).try_wait()? {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.put(item, false)
    }

    /// Pushes an item, and waits until there is a free slot.
    ///
    /// # Errors
    /// `Interrupted` by a signal, or by `waiting`; `InvalidInput` if the item is larger than a slot.
    pub fn push(&mut self, item: &[u8]) -> io::Result<()> {
        self.object.check_item(item)?;
        Semaphore { memory: &self.object.memory, at: EMPTY }.wait_by(&mut self.waiting)?;
        self.put(item, true)
    }

    /// We have a token of `empty`: there is a slot for us.
    fn put(&mut self, item: &[u8], block: bool) -> io::Result<()> {
        // If we cannot get in, another may have the slot.
        self.lock(block).inspect_err(|_| self.semaphore(EMPTY).post())?;
        let memory = &self.object.memory;
        let tail = memory.long(TAIL).load(Relaxed);
        let at = self.slot(tail);
        memory.word(at).store(item.len() as u32, Relaxed);
        memory.write(at + SLOT_HEADER, item);
        memory.long(TAIL).store(tail.wrapping_add(1), Relaxed);
        self.unlock();
        self.semaphore(FULL).post();
        Ok(())
    }

    /// Pops an item if there is one: it is in hand, see [`SemaphoreBuffer::item`], until it is done, or the next pop. False
    /// at the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` if the buffer is empty, or somebody stays in the lock; `ConnectionAborted` if a producer died and
    /// nobody goes on; `InvalidData` if another process wrote nonsense.
    pub fn try_pop(&mut self) -> io::Result<bool> {
        self.done()?;
        loop {
            // Before the look into the buffer: who sees the goodbye and then no item has seen the last one.
            let closed = self.object.is_closed();
            if !self.semaphore(FULL).try_wait()? {
                return self.object.end(closed).map(|()| false);
            }
            if let Some(popped) = self.take(false)? {
                return Ok(popped);
            }
        }
    }

    /// Pops an item, and waits until there is one.
    ///
    /// # Errors
    /// `Interrupted` by a signal, or by `waiting`; and as [`SemaphoreBuffer::try_pop`], without `WouldBlock`.
    pub fn pop(&mut self) -> io::Result<bool> {
        loop {
            match self.try_pop() {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
            Semaphore { memory: &self.object.memory, at: FULL }.wait_by(&mut self.waiting)?;
            if let Some(popped) = self.take(true)? {
                return Ok(popped);
            }
        }
    }

    /// We have a token of `full`: an item is ours, or else the token is the goodbye.
    fn take(&mut self, block: bool) -> io::Result<Option<bool>> {
        self.lock(block).inspect_err(|_| self.semaphore(FULL).post())?;
        let taken = self.take_inside();
        self.unlock();
        if let Ok(None) = taken
            && self.object.is_closed()
        {
            self.semaphore(FULL).post(); // passed on: every consumer that sleeps is to see it
            return self.object.end(true).map(|()| Some(false));
        }
        taken.map(|item| item.map(|()| true))
    }

    fn take_inside(&mut self) -> io::Result<Option<()>> {
        let memory = &self.object.memory;
        let head = memory.long(HEAD).load(Relaxed);
        if head == memory.long(TAIL).load(Relaxed) {
            return Ok(None);
        }
        let at = self.slot(head);
        let len = self.object.check_length(memory.word(at).load(Relaxed))?;
        self.hand = Some(post_mortem::take_in_hand(&self.object, head)?);
        self.item.resize(len, 0);
        memory.read(at + SLOT_HEADER, &mut self.item);
        memory.long(HEAD).store(head.wrapping_add(1), Relaxed);
        Ok(Some(()))
    }

    /// The item in hand.
    pub fn item(&self) -> &[u8] {
        &self.item
    }

    /// The item in hand has been consumed: its slot is free for another. (It cannot fail.)
    pub fn done(&mut self) -> io::Result<()> {
        if let Some(hand) = self.hand.take() {
            post_mortem::put_down(&self.object, hand);
            self.semaphore(EMPTY).post();
        }
        Ok(())
    }

    /// Looks who came, left or died: when [`Channel::watch`](common::place::Channel::watch) has news.
    ///
    /// # Errors
    /// `ConnectionAborted` if a dead process has the lock, or the dead have all the slots.
    pub fn look(&mut self) -> io::Result<()> {
        self.object.look(|object, pid| {
            post_mortem::bury(object, pid);
            Ok(())
        })?;
        let lost = post_mortem::lost_slots(&self.object);
        if lost > std::mem::replace(&mut self.lost, lost) {
            let slots = self.object.shape.slots;
            self.note = Some(format!(
                "a consumer died with an item in hand: {lost} of {slots} slots lost, for a semaphore has no owner \
                 who could give them back (--sync mutex has one)"
            ));
        }
        post_mortem::diagnose(&self.object)
    }

    /// What happened that a user should know, once.
    pub fn note(&mut self) -> Option<String> {
        self.note.take()
    }

    /// Leaves in good order. For the last producer it is the goodbye.
    ///
    /// # Errors
    /// `WouldBlock`, with nothing done, if items are left and nobody is there to take them.
    pub fn finish(&mut self) -> io::Result<()> {
        self.leave(true, self.object.owed(self.items()))
    }

    /// How many items wait to be popped.
    pub fn items(&self) -> usize {
        let [head, tail] = [HEAD, TAIL].map(|at| self.object.memory.long(at).load(Relaxed));
        tail.wrapping_sub(head) as usize
    }

    /// Leaves at once; `left` items are left behind if somebody is there.
    pub fn leave(&mut self, goodbye: bool, left: usize) -> io::Result<()> {
        self.done()?;
        // One token more than there are items wakes a consumer, who passes it on.
        self.object.leave(goodbye, left, |memory| Semaphore { memory, at: FULL }.post())
    }

    fn slot(&self, position: u64) -> usize {
        slot(&self.object.shape, position % u64::from(self.object.shape.slots))
    }

    fn lock(&self, block: bool) -> io::Result<()> {
        // Whoever is inside comes out again in less time than it takes to sleep and be woken.
        let inside = (0..LOOKS).any(|_| matches!(self.semaphore(MUTEX).try_wait(), Ok(true)));
        match (inside, block) {
            (true, _) => {}
            (false, true) => self.semaphore(MUTEX).wait()?,
            (false, false) => return Err(ErrorKind::WouldBlock.into()),
        }
        self.object.memory.word(HOLDER).store(self.object.pid, Relaxed);
        Ok(())
    }

    fn unlock(&self) {
        self.object.memory.word(HOLDER).store(0, Relaxed);
        self.semaphore(MUTEX).post();
    }

    fn semaphore(&self, at: usize) -> Semaphore<'_> {
        Semaphore { memory: &self.object.memory, at }
    }
}

impl Drop for SemaphoreBuffer {
    fn drop(&mut self) {
        let _ = self.leave(false, 0);
    }
}
