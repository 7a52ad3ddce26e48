//! What every object begins with, and how it is made and checked.
//!
//! - The creator writes the magic number last: a process that sees it sees the rest.
//! - A process that opens the object checks every field once, copies it, and never reads it again.
//! - The memory is reserved when it is created. Without that a full /dev/shm is no error but a SIGBUS, later.
//!
//! System calls: shm_open(3), posix_fallocate(3), flock(2).

use std::fs::File;
use std::io::{self, ErrorKind};
use std::mem::offset_of;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use common::place::Guard;
use nix::errno::Errno;
use nix::fcntl::{OFlag, posix_fallocate};
use nix::sys::mman::shm_open;
use nix::sys::stat::Mode;

use crate::memory::Memory;
use crate::seat::{Seat, busy};

/// `IPCLABSH` in memory. Written last.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"IPCLABSH");
pub(crate) const VERSION: u32 = 1;

/// What every object begins with. Only for the offsets: nobody forms a reference to it.
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: u64,
    pub(crate) version: u32,
    pub(crate) kind: u32,
    pub(crate) slots: u32,
    pub(crate) slot_size: u32,
    _to_the_next_cache_line: [u64; 5],
    /// 1 after the last producer's goodbye; a new producer cancels it.
    pub(crate) closed: u32,
    /// Producers that went without a goodbye.
    pub(crate) deaths: u32,
    /// Consumers that ever opened it.
    pub(crate) consumers: u32,
    _to_the_control_words: [u32; 13],
}

/// Where the mechanism's own control words begin.
pub const CONTROL: usize = size_of::<Header>();

const _: () = assert!(CONTROL == 128 && offset_of!(Header, closed) == 64);

/// How the processes keep out of each other's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SyncKind {
    /// Three process-shared semaphores: the textbook.
    Semaphore = 1,
    /// A robust process-shared mutex, and futexes to wait.
    Mutex = 2,
    /// Lock-free, for one producer and one consumer.
    Ring = 3,
    /// Not at all.
    None = 4,
    /// A ring there, and one back.
    Duplex = 5,
}

impl SyncKind {
    /// All of them, in the order in which to read them.
    pub const ALL: [SyncKind; 5] =
        [SyncKind::None, SyncKind::Semaphore, SyncKind::Mutex, SyncKind::Ring, SyncKind::Duplex];

    /// The names of those that `--sync` takes, likewise.
    pub const NAMES: [&str; 4] = ["none", "semaphore", "mutex", "ring"];

    /// The one of that name; the textbook's if there is none.
    pub fn of_name(name: &str) -> SyncKind {
        SyncKind::ALL.into_iter().find(|kind| kind.name() == name).unwrap_or(SyncKind::Semaphore)
    }

    /// As it is said behind `--sync`.
    pub const fn name(self) -> &'static str {
        match self {
            SyncKind::Semaphore => "semaphore",
            SyncKind::Mutex => "mutex",
            SyncKind::Ring => "ring",
            SyncKind::None => "none",
            SyncKind::Duplex => "ring --duplex",
        }
    }
}

/// How many slots, and how many bytes an item in one of them can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The buffer's capacity in items.
    pub slots: u32,
    /// The largest item, in bytes.
    pub slot_size: u32,
}

impl Shape {
    /// Whether there can be such a buffer: what 64-bit arithmetic on it cannot overflow.
    pub fn is_possible(&self) -> bool {
        (1..=1 << 20).contains(&self.slots) && self.slot_size <= 1 << 31
    }

    /// From one slot to the next: `header` bytes and an item, on cache lines that no other slot shares.
    pub fn stride(&self, header: usize) -> usize {
        (header + self.slot_size as usize).next_multiple_of(64)
    }
}

/// What a mechanism wants of its object.
#[derive(Debug)]
pub struct Format {
    /// Which mechanism it is.
    pub kind: SyncKind,
    /// Whether there can be only one producer and one consumer.
    pub one_each: bool,
    /// The object's size in bytes.
    pub size: fn(&Shape) -> usize,
    /// Makes the control words of a new object, which is all zeroes but for its header.
    pub init: fn(&Memory, &Shape) -> io::Result<()>,
}

/// Finding or making the object. All of it under the guard.
impl Seat {
    pub(crate) fn join_or_make(&self, guard: &Guard, shape: &Shape) -> io::Result<(Memory, Shape)> {
        if let Some(file) = self.find()? {
            if !is_half_made(&file)? {
                return self.join(file);
            }
            self.unlink()?;
        }
        // Whoever died without an object cannot have lost anything.
        guard.forget_dead()?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR;
        let fd = shm_open(self.name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR);
        let file = File::from(fd.map_err(|e| self.error("create", e.into()))?);
        file.lock_shared()?;
        // Somebody with another run-time directory may have taken it for abandoned before it was locked.
        if file.metadata()?.nlink() == 0 {
            return Err(busy(format!("{} was removed by a process starting at the same moment", self.name)));
        }
        self.make(file, shape).inspect_err(|_| drop(self.unlink()))
    }

    fn make(&self, file: File, shape: &Shape) -> io::Result<(Memory, Shape)> {
        let size = (self.format.size)(shape);
        while let Err(e) = posix_fallocate(&file, 0, size as i64) {
            if e != Errno::EINTR {
                let advice = "use fewer or smaller slots, or enlarge /dev/shm";
                let message = format!("reserve {size} bytes for {} in /dev/shm: {e}; {advice}", self.name);
                return Err(io::Error::new(io::Error::from(e).kind(), message));
            }
        }
        let memory = Memory::map(file)?;
        memory.word(offset_of!(Header, version)).store(VERSION, Relaxed);
        memory.word(offset_of!(Header, kind)).store(self.format.kind as u32, Relaxed);
        memory.word(offset_of!(Header, slots)).store(shape.slots, Relaxed);
        memory.word(offset_of!(Header, slot_size)).store(shape.slot_size, Relaxed);
        (self.format.init)(&memory, shape)?;
        // Release: pairs with the Acquire in `join`. Who sees the magic number sees all of the above.
        memory.long(offset_of!(Header, magic)).store(MAGIC, Release);
        Ok((memory, *shape))
    }

    pub(crate) fn join(&self, file: File) -> io::Result<(Memory, Shape)> {
        file.lock_shared()?;
        let memory = Memory::map(file)?;
        // What is mapped, not what the file has by now.
        if memory.size() < CONTROL {
            return Err(damaged(&self.name, "size", memory.size() as u64, "a header's"));
        }
        let magic = memory.long(offset_of!(Header, magic)).load(Acquire);
        let word = |at| memory.word(at).load(Relaxed);
        let (version, kind) = (word(offset_of!(Header, version)), word(offset_of!(Header, kind)));
        let shape =
            Shape { slots: word(offset_of!(Header, slots)), slot_size: word(offset_of!(Header, slot_size)) };
        memory.intact()?;
        let wrong = |field, found, expected: &str| Err(damaged(&self.name, field, found, expected));
        if magic != MAGIC {
            return wrong("magic", magic, "IPCLABSH");
        }
        if version != VERSION {
            return wrong("version", version.into(), "1");
        }
        if kind != self.format.kind as u32 {
            return wrong("sync kind", kind.into(), self.format.kind.name());
        }
        if !shape.is_possible() {
            return wrong("slots or slot size", shape.slots.into(), "1 to 2^20 slots of up to 2^31 bytes");
        }
        let size = (self.format.size)(&shape);
        if memory.size() != size {
            return wrong("size", memory.size() as u64, &format!("{size} bytes"));
        }
        Ok((memory, shape))
    }
}

/// Whether its creator died before it had made it: there is no magic number, and nobody has it mapped.
pub(crate) fn is_half_made(file: &File) -> io::Result<bool> {
    let mut magic = [0; 8];
    let whole = file.metadata()?.len() >= CONTROL as u64;
    Ok(!(whole && file.read_at(&mut magic, 0)? == 8 && magic != [0; 8]) && file.try_lock().is_ok())
}

/// The number of deaths in an object that is not mapped; 0 if it is too short.
pub(crate) fn deaths(file: &File) -> io::Result<u32> {
    let mut word = [0; 4];
    let n = file.read_at(&mut word, offset_of!(Header, deaths) as u64)?;
    Ok(if n == 4 { u32::from_ne_bytes(word) } else { 0 })
}

pub(crate) fn damaged(name: &str, field: &str, found: u64, expected: &str) -> io::Error {
    let message = format!("{name} is damaged or foreign: {field} is {found}, not {expected}");
    io::Error::new(ErrorKind::InvalidData, message)
}
