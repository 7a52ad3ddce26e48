//! The shared-memory object: a name, a mapping, and a header that says what it is.
//!
//! ```text
//!  /dev/shm/ipc-lab-UID-NAME
//!  0        64        128                 …                 …
//! +--------+---------+-------------------+-----------------+------------------------------+
//! | shape  | ends    | the mechanism's   | its tables, one | slots, each on cache lines   |
//! | (fixed)| (change)| control words     | entry each slot | of its own                   |
//! +--------+---------+-------------------+-----------------+------------------------------+
//! ```
//!
//! The kernel gives zeroed pages that several processes see, and no more: what the bytes mean, and who may
//! touch them when, is the processes' own affair. [`crate::header`] has the first part of the answer, the
//! mechanisms the second. Here is the life around it: coming, looking who is there, the end, leaving.
//!
//! Who comes, leaves or died is known from [`common::place`]; who holds an object mapped also holds a shared
//! lock (flock) on its descriptor, so that an abandoned one can be told from one in use.
//!
//! System calls: shm_open(3), shm_unlink(3), posix_fallocate(3), mmap(2), flock(2); see also shm_overview(7).

use std::io::{self, ErrorKind};
use std::mem::offset_of;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use common::place::{Attached, Place, Role};

pub use crate::header::{CONTROL, Format, Shape, SyncKind};
use crate::header::{Header, damaged, is_half_made};
use crate::memory::Memory;
use crate::seat::Seat;

/// A shared-memory object, mapped, and this process's place at it.
#[derive(Debug)]
pub struct Object {
    /// The bytes.
    pub memory: Memory,
    /// Read from the header once and checked.
    pub shape: Shape,
    /// This process. Asked for once: getpid(2) is a system call, and would be the only one of an item.
    pub pid: u32,
    seat: Seat,
    /// Who lives, ourselves included, as last seen by [`Object::look`].
    living: Vec<Attached>,
}

impl Object {
    /// Takes a producer's place at the buffer `name` and creates its object, or joins those who use it.
    ///
    /// # Errors
    /// As [`Seat::consumer`]; `StorageFull` if /dev/shm has no room; `InvalidInput` if an object in use has
    /// smaller slots; `InvalidData` if it is not one of ours.
    pub fn create(place: &Place, name: &str, format: &'static Format, shape: Shape) -> io::Result<Object> {
        let mut seat = Seat::new(place, name, Role::Producer, format);
        let channel = seat.channel.clone();
        // One guard for coming and creating: whoever sees our name finds the object. It is dropped before
        // `seat`, whose leaving needs it.
        let guard = channel.lock()?;
        seat.sit(&guard)?;
        let (memory, found) = seat.join_or_make(&guard, &shape)?;
        if found.slot_size < shape.slot_size {
            let (wanted, found) = (shape.slot_size, found.slot_size);
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                format!("{} is in use, and its slots hold {found} bytes, not {wanted}", seat.name),
            ));
        }
        // A new producer cancels the goodbye of those before it.
        memory.word(offset_of!(Header, closed)).store(0, Release);
        drop(guard);
        Ok(Object::new(seat, memory, found))
    }

    /// Opens the object on which `seat` waits, if a producer has made one; then the seat is the object's.
    ///
    /// # Errors
    /// `InvalidData` naming the field that is wrong; `PermissionDenied` if it is not ours alone.
    pub fn open(seat: &mut Option<Seat>) -> io::Result<Option<Object>> {
        let Some(waiting) = seat else { return Ok(None) };
        let channel = waiting.channel.clone();
        let guard = channel.lock()?;
        let Some(file) = waiting.find()? else { return Ok(None) };
        if is_half_made(&file)? {
            return Ok(None);
        }
        let (memory, shape) = waiting.join(file)?;
        memory.word(offset_of!(Header, consumers)).fetch_add(1, Relaxed);
        drop(guard);
        Ok(seat.take().map(|seat| Object::new(seat, memory, shape)))
    }

    /// The part of this object from `at` on, where the same two processes have a buffer in the other direction. Who
    /// comes, leaves or dies is known from this object alone.
    ///
    /// # Errors
    /// What mmap(2) refuses.
    pub fn way_back(&self, at: usize, shape: Shape) -> io::Result<Object> {
        Ok(Object::new(self.seat.turned(), self.memory.part(at)?, shape))
    }

    fn new(seat: Seat, memory: Memory, shape: Shape) -> Object {
        Object { memory, shape, pid: std::process::id(), seat, living: Vec::new() }
    }

    /// Looks who is attached, and hands the pids of the dead to `recover`, which gives back what they held.
    pub fn look(&mut self, mut recover: impl FnMut(&Object, u32) -> io::Result<()>) -> io::Result<()> {
        if !self.seat.is_taken() {
            return Ok(());
        }
        let channel = self.seat.channel.clone();
        let guard = channel.lock()?;
        let (living, dead): (Vec<_>, Vec<_>) = guard.attached()?.into_iter().partition(|a| a.alive);
        self.living = living;
        let deaths = self.memory.word(offset_of!(Header, deaths));
        for dead in &dead {
            if dead.role == Role::Producer {
                deaths.fetch_add(1, Relaxed);
            }
            recover(self, dead.pid)?;
        }
        if std::mem::take(&mut self.seat.predecessor) {
            recover(self, std::process::id())?;
        }
        // Only those: what somebody had that died since is for the next look.
        guard.forget(&dead)?;
        Ok(())
    }

    /// What an empty buffer means to a consumer: `Ok` at the stream's end, `WouldBlock` if more may come.
    /// To be asked only with an answer of [`Object::is_closed`] that is older than the emptiness.
    ///
    /// # Errors
    /// `ConnectionAborted` if a producer died, and nobody is left who could go on.
    pub fn end(&self, closed: bool) -> io::Result<()> {
        if !closed && self.has(Role::Producer) {
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.memory.word(offset_of!(Header, deaths)).load(Relaxed) > self.seat.deaths_before {
            let message = format!("a producer of {} died without a goodbye", self.seat.name);
            return Err(io::Error::new(ErrorKind::ConnectionAborted, message));
        }
        if closed { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
    }

    /// Whether the last producer has said goodbye. Who sees it sees every item that was pushed before.
    pub fn is_closed(&self) -> bool {
        self.memory.word(offset_of!(Header, closed)).load(Acquire) != 0
    }

    /// Whether somebody of that role was attached at the last look.
    pub fn has(&self, role: Role) -> bool {
        self.living.iter().any(|a| a.role == role)
    }

    /// Whether that process was attached at the last look.
    pub fn is_living(&self, pid: u32) -> bool {
        self.living.iter().any(|a| a.pid == pid)
    }

    /// Whether other consumers had, or may have had, a part of the items.
    pub fn is_shared(&self) -> bool {
        self.consumers() != 1
    }

    /// How many consumers ever opened it.
    pub fn consumers(&self) -> u32 {
        self.memory.word(offset_of!(Header, consumers)).load(Relaxed)
    }

    /// How its processes keep out of each other's way.
    pub fn kind(&self) -> SyncKind {
        self.seat.format.kind
    }

    /// Whether it is a producer's end.
    pub fn is_producers(&self) -> bool {
        self.seat.role == Role::Producer
    }

    /// What a process waits for that found the buffer full or empty.
    pub fn why(&self) -> String {
        let slots = self.shape.slots;
        let state = match self.seat.role {
            Role::Producer => format!("buffer full {slots}/{slots}"),
            Role::Consumer => format!("buffer empty 0/{slots}"),
        };
        let other = self.seat.role.other();
        let missing = if self.has(other) { String::new() } else { format!("; no {} attached", other.name()) };
        format!("{state}{missing}")
    }

    /// Leaves the buffer; the last process out removes it. `wake` is called when the end is there to be seen.
    ///
    /// A producer that says `goodbye` with `left` items in the buffer hands them over to those who are there.
    ///
    /// # Errors
    /// `WouldBlock` if nobody is there to take what is `left`: then nothing has happened.
    pub fn leave(&mut self, goodbye: bool, left: usize, wake: impl FnOnce(&Memory)) -> io::Result<()> {
        let (memory, role) = (&self.memory, self.seat.role);
        self.seat.leave(|others| {
            if role == Role::Producer && goodbye && left > 0 && others.is_empty() {
                return Err(ErrorKind::WouldBlock.into());
            }
            match role {
                Role::Consumer => {}
                Role::Producer if !goodbye => {
                    memory.word(offset_of!(Header, deaths)).fetch_add(1, Relaxed);
                }
                Role::Producer if others.iter().any(|a| a.role == Role::Producer) => {}
                Role::Producer => {
                    // Release: pairs with `is_closed`, so that who sees the end sees the last item.
                    memory.word(offset_of!(Header, closed)).store(1, Release);
                    wake(memory);
                }
            }
            Ok(())
        })
    }

    /// Leaves as who is killed does, for we could not give back what we hold: whoever looks next does it for us.
    pub fn die(&mut self) {
        self.seat.die();
    }

    /// What a producer cannot leave to nobody, if there are so many `items` in the buffer: those; and the goodbye
    /// itself, as long as no consumer has come. One that comes later could not know that there was a stream.
    pub fn owed(&self, items: usize) -> usize {
        if self.consumers() == 0 { items.max(1) } else { items }
    }

    /// Refuses an item that is larger than a slot.
    pub fn check_item(&self, item: &[u8]) -> io::Result<()> {
        if item.len() <= self.shape.slot_size as usize {
            return Ok(());
        }
        let message =
            format!("an item of {} bytes is larger than a slot ({} bytes)", item.len(), self.shape.slot_size);
        Err(io::Error::new(ErrorKind::InvalidInput, message))
    }

    /// An item's length that another process wrote: read once, and checked before it is used.
    pub fn check_length(&self, len: u32) -> io::Result<usize> {
        if len <= self.shape.slot_size {
            return Ok(len as usize);
        }
        Err(self.damaged("item length", len.into(), "within its slot"))
    }

    /// An error about what another process wrote.
    pub fn damaged(&self, field: &str, found: u64, expected: &str) -> io::Error {
        damaged(&self.seat.name, field, found, expected)
    }
}
