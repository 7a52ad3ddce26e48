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
//! touch them when, is the processes' own affair. So
//!
//! - the creator writes the magic number last: a process that sees it sees the rest;
//! - a process that opens the object checks every field of the header once, copies it, and never reads it again;
//! - nobody ever forms a reference to the bytes, except to atomic words: another process may write at any time;
//! - the memory is reserved when it is created. Without that a full /dev/shm is no error but a SIGBUS, later.
//!
//! Who comes, leaves or died is known from [`common::place`]; who holds an object mapped also holds a shared
//! lock (flock) on its descriptor, so that an abandoned one can be told from one in use.
//!
//! System calls: shm_open(3), shm_unlink(3), posix_fallocate(3), mmap(2), flock(2); see also shm_overview(7).

use std::fs::File;
use std::io::{self, ErrorKind};
use std::mem::{offset_of, size_of};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use common::place::{Attached, Guard, Place, Role};
use nix::errno::Errno;
use nix::fcntl::{OFlag, posix_fallocate};
use nix::sys::mman::shm_open;
use nix::sys::stat::Mode;

use crate::memory::Memory;
use crate::seat::{Seat, busy};

/// `IPCLABSH` in memory. Written last.
const MAGIC: u64 = u64::from_le_bytes(*b"IPCLABSH");
const VERSION: u32 = 1;

/// What every object begins with. Only for the offsets: nobody forms a reference to it.
#[repr(C)]
struct Header {
    magic: u64,
    version: u32,
    kind: u32,
    slots: u32,
    slot_size: u32,
    _to_the_next_cache_line: [u64; 5],
    /// 1 after the last producer's goodbye; a new producer cancels it.
    closed: u32,
    /// Producers that went without a goodbye.
    deaths: u32,
    /// Consumers that ever opened it.
    consumers: u32,
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
}

impl SyncKind {
    /// All of them, in the order in which to read them.
    pub const ALL: [SyncKind; 4] = [SyncKind::None, SyncKind::Semaphore, SyncKind::Mutex, SyncKind::Ring];

    /// Their names, likewise.
    pub const NAMES: [&str; 4] = ["none", "semaphore", "mutex", "ring"];

    /// The one of that name; the textbook's if there is none.
    pub fn of_name(name: &str) -> SyncKind {
        SyncKind::ALL.into_iter().find(|kind| kind.name() == name).unwrap_or(SyncKind::Semaphore)
    }

    /// As it is said to `--sync`.
    pub const fn name(self) -> &'static str {
        match self {
            SyncKind::Semaphore => "semaphore",
            SyncKind::Mutex => "mutex",
            SyncKind::Ring => "ring",
            SyncKind::None => "none",
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

/// A shared-memory object, mapped, and this process's place at it.
#[derive(Debug)]
pub struct Object {
    /// The bytes.
    pub memory: Memory,
    /// Read from the header once and checked.
    pub shape: Shape,
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

    fn new(seat: Seat, memory: Memory, shape: Shape) -> Object {
        Object { memory, shape, seat, living: Vec::new() }
    }

    /// Looks who is attached, and hands the pids of the dead to `recover`, which gives back what they held.
    pub fn look(&mut self, mut recover: impl FnMut(&Object, u32) -> io::Result<()>) -> io::Result<()> {
        let channel = self.seat.channel.clone();
        let guard = channel.lock()?;
        let (living, dead): (Vec<_>, Vec<_>) = guard.attached()?.into_iter().partition(|a| a.alive);
        self.living = living;
        let deaths = self.memory.word(offset_of!(Header, deaths));
        for dead in dead {
            if dead.role == Role::Producer {
                deaths.fetch_add(1, Relaxed);
            }
            recover(self, dead.pid)?;
        }
        if std::mem::take(&mut self.seat.predecessor) {
            recover(self, std::process::id())?;
        }
        guard.forget_dead()?;
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
            let message = format!("a producer of {} died before it could say goodbye", self.seat.name);
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
        self.memory.word(offset_of!(Header, consumers)).load(Relaxed) != 1
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
            if goodbye && left > 0 && others.is_empty() {
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

/// Finding or making the object. All of it under the guard.
impl Seat {
    fn join_or_make(&self, guard: &Guard, shape: &Shape) -> io::Result<(Memory, Shape)> {
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

    fn join(&self, file: File) -> io::Result<(Memory, Shape)> {
        file.lock_shared()?;
        let size = file.metadata()?.len();
        if size < CONTROL as u64 {
            return Err(damaged(&self.name, "size", size, "a header's"));
        }
        let memory = Memory::map(file)?;
        let magic = memory.long(offset_of!(Header, magic)).load(Acquire);
        let word = |at| memory.word(at).load(Relaxed);
        let (version, kind) = (word(offset_of!(Header, version)), word(offset_of!(Header, kind)));
        let shape =
            Shape { slots: word(offset_of!(Header, slots)), slot_size: word(offset_of!(Header, slot_size)) };
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
        if memory.len() != size {
            return wrong("size", memory.len() as u64, &format!("{size} bytes"));
        }
        Ok((memory, shape))
    }
}

/// Whether its creator died before it had made it: there is no magic number, and nobody has it mapped.
fn is_half_made(file: &File) -> io::Result<bool> {
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

fn damaged(name: &str, field: &str, found: u64, expected: &str) -> io::Error {
    let message = format!("{name} is damaged or foreign: {field} is {found}, not {expected}");
    io::Error::new(ErrorKind::InvalidData, message)
}
