//! One of the four mechanisms, as `--sync` says.
//!
//! The four are separate types on purpose, each whole in its file. This is no more than the choice, and a program
//! that uses one of them needs none of it; but for one thing that is the same for all, and so stands here: an
//! object that another process cuts short is an error, and no SIGBUS (see [`crate::sigbus`]).

use std::io;

use common::place::{Place, Role};

use crate::duplex;
use crate::mutex::{self, MutexBuffer};
use crate::object::{Format, Object, Shape, SyncKind};
use crate::ring::{self, Ring};
use crate::seat::Seat;
use crate::semaphore::{self, SemaphoreBuffer};
use crate::tally::Tally;
use crate::unsynchronized::{self, Unsynchronized};
use crate::waiting::{How, Waiting};

/// One process's end of a buffer.
#[derive(Debug)]
pub enum Buffer {
    /// `--sync semaphore`
    Semaphore(SemaphoreBuffer),
    /// `--sync mutex`
    Mutex(MutexBuffer),
    /// `--sync ring`; with `--duplex` the ring of the items
    Ring(Ring),
    /// `--sync none`
    None(Unsynchronized),
}

/// The same call, whichever it is.
macro_rules! each {
    ($buffer:expr, $it:ident => $call:expr) => {
        match $buffer {
            Buffer::Semaphore($it) => $call,
            Buffer::Mutex($it) => $call,
            Buffer::Ring($it) => $call,
            Buffer::None($it) => $call,
        }
    };
}

impl Buffer {
    /// Creates the buffer, or joins it, as a producer.
    ///
    /// # Errors
    /// See [`Object::create`].
    pub fn create(place: &Place, name: &str, kind: SyncKind, shape: Shape) -> io::Result<Buffer> {
        Buffer::new(kind, Object::create(place, name, format(kind), shape)?)
    }

    /// Takes a consumer's place, where it may have to wait for a producer.
    ///
    /// # Errors
    /// See [`Seat::consumer`].
    pub fn wait(place: &Place, name: &str, kind: SyncKind) -> io::Result<Seat> {
        Seat::consumer(place, name, format(kind))
    }

    /// Opens the buffer as a consumer, if it is there.
    ///
    /// # Errors
    /// See [`Object::open`].
    pub fn open(seat: &mut Option<Seat>, kind: SyncKind) -> io::Result<Option<Buffer>> {
        Object::open(seat)?.map(|object| Buffer::new(kind, object)).transpose()
    }

    fn new(kind: SyncKind, object: Object) -> io::Result<Buffer> {
        object.memory.check_size()?;
        Ok(match kind {
            SyncKind::Semaphore => Buffer::Semaphore(SemaphoreBuffer::new(object)?),
            SyncKind::Mutex => Buffer::Mutex(MutexBuffer::new(object)?),
            SyncKind::Ring | SyncKind::Duplex => Buffer::Ring(Ring::new(object)?),
            SyncKind::None => Buffer::None(Unsynchronized::new(object)?),
        })
    }

    /// The ring of the replies, if there is a way back: who pushes items pops them, and the other way round.
    ///
    /// # Errors
    /// See [`duplex::replies`].
    pub fn replies(&self) -> io::Result<Option<Buffer>> {
        match self {
            Buffer::Ring(items) if self.object().kind() == SyncKind::Duplex => {
                duplex::replies(items).map(Buffer::Ring).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// How to wait from now on.
    pub fn wait_by(&mut self, how: How) {
        let waiting = match self {
            Buffer::Semaphore(b) => &mut b.waiting,
            Buffer::Mutex(b) => &mut b.waiting,
            Buffer::Ring(b) => &mut b.waiting,
            Buffer::None(_) => return,
        };
        *waiting = Waiting::new(how);
    }

    /// Pushes an item: waits until there is space if it may `block`, else fails with `WouldBlock`.
    pub fn push(&mut self, item: &[u8], block: bool) -> io::Result<()> {
        let pushed = each!(self, b => if block { b.push(item) } else { b.try_push(item) });
        self.whole(pushed)
    }

    /// Pops an item, likewise; false at the end of the stream.
    pub fn pop(&mut self, block: bool) -> io::Result<bool> {
        let popped = each!(self, b => if block { b.pop() } else { b.try_pop() });
        self.whole(popped)
    }

    /// What a call found, unless the object was cut: then it may have found zeroes, which say that there is nothing
    /// to do, or make no sense. So nobody falls asleep over them for good: a wait that is interrupted now and then has
    /// found an error, too.
    fn whole<T>(&self, found: io::Result<T>) -> io::Result<T> {
        let memory = &self.object().memory;
        match found {
            Ok(found) => memory.intact().map(|()| found),
            Err(e) => {
                let nothing_there = e.kind() == io::ErrorKind::WouldBlock;
                let size = if nothing_there { memory.check_size_sometimes() } else { memory.check_size() };
                Err(size.err().unwrap_or(e))
            }
        }
    }

    /// The item popped last.
    pub fn item(&self) -> &[u8] {
        each!(self, b => b.item())
    }

    /// The item in hand has been consumed.
    pub fn done(&mut self) -> io::Result<()> {
        let done = each!(self, b => b.done());
        self.whole(done)
    }

    /// Looks who came, left or died, and gives back what the dead held.
    pub fn look(&mut self) -> io::Result<()> {
        self.object().memory.check_size()?;
        each!(self, b => b.look())
    }

    /// What happened that a user should know, once.
    pub fn note(&mut self) -> Option<String> {
        each!(self, b => b.note())
    }

    /// Leaves in good order; `WouldBlock` if items are left and nobody is there to take them.
    pub fn finish(&mut self) -> io::Result<()> {
        self.object().memory.check_size()?;
        each!(self, b => b.finish())
    }

    /// Leaves at once. For the last producer it is the goodbye all the same.
    pub fn leave(&mut self) -> io::Result<()> {
        each!(self, b => b.leave(true, 0))
    }

    /// How many items wait to be popped.
    pub fn items(&self) -> usize {
        each!(self, b => b.items())
    }

    /// What was counted without synchronisation, for who has left after the last producer.
    pub fn tally(&self) -> Option<Tally> {
        match self {
            Buffer::None(b) => b.tally(),
            _ => None,
        }
    }

    /// What a wait is for: "buffer full 8/8".
    pub fn why(&self) -> String {
        self.object().why()
    }

    /// Whether a consumer is attached.
    pub fn has_consumer(&self) -> bool {
        self.object().has(Role::Consumer)
    }

    /// The object underneath.
    pub fn object(&self) -> &Object {
        each!(self, b => &b.object)
    }
}

/// What `--sync` and `--duplex` ask for.
///
/// # Errors
/// `InvalidInput` where a reply could not find who has asked.
pub fn kind(sync: SyncKind, duplex: bool) -> io::Result<SyncKind> {
    match sync {
        _ if !duplex => Ok(sync),
        SyncKind::Ring => Ok(SyncKind::Duplex),
        _ => {
            let why = "--duplex: only with --sync ring, which has one of each; where there are more, anybody could \
                       take the reply to another's item";
            Err(io::Error::new(io::ErrorKind::InvalidInput, why))
        }
    }
}

/// How to wait, as `--wait` says.
///
/// # Errors
/// `InvalidInput` where nobody waits for anybody.
pub fn how(kind: SyncKind, told: Option<&str>) -> io::Result<How> {
    if kind == SyncKind::None && told.is_some() {
        let why = "--wait: with --sync none nobody wakes anybody; who finds nothing looks again later";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(told.map_or_else(How::default, How::of_name))
}

pub(crate) fn format(kind: SyncKind) -> &'static Format {
    match kind {
        SyncKind::Semaphore => &semaphore::FORMAT,
        SyncKind::Mutex => &mutex::FORMAT,
        SyncKind::Ring => &ring::FORMAT,
        SyncKind::Duplex => &duplex::FORMAT,
        SyncKind::None => &unsynchronized::FORMAT,
    }
}
