//! How long what was committed lasts. A mapped file is memory until somebody writes its pages to the device.
//!
//! ```text
//!   page cache (memory)                                             device
//!   [ header: tail, head ][ record | record | … ]  -- writeback --> what a power cut leaves
//!
//!   none    the kernel writes pages when it likes: some are new there and some are old
//!   async   msync(MS_ASYNC) after the tail: asks for writeback "soon", and does not wait
//!   sync    1. msync(MS_SYNC) the record   2. the tail moves   3. msync(MS_SYNC) the header
//! ```
//!
//! All three outlive both processes, `kill -9` included: the pages are the kernel's, not theirs. The difference
//! shows when the machine stops.
//!
//! - *none* and *async* promise nothing then. Linux knows by itself which pages are dirty, so that its MS_ASYNC
//!   has nothing left to do (since 2.6.19). It is what POSIX has for it, and costs two system calls a record.
//! - *sync* promises that a record is on the device when `commit` returns. The tail moves in between, because a
//!   tail on the device that counts bytes which are not there would make the file a damaged one.
//! - The consumer's head is written with the header, and before room that it gave back is used again: else an
//!   old head on the device would point into a newer record. After a power cut it may be older than it was, so
//!   items may come twice; none is missing that was committed.
//!
//! One commit at a time costs two waits for the device. A database shares them among many commits (group
//! commit), and says "done" later for each: here it is said at once.
//!
//! System calls: msync, fsync. See msync(2), `Documentation/admin-guide/sysctl/vm.rst` (`dirty_expire_centisecs`);
//! Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020.

use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::header::HEADER;
use crate::map::Map;

/// What is promised of a committed record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// It outlives the processes.
    #[default]
    None,
    /// The same, and its writeback was asked for.
    Async,
    /// It outlives a power cut.
    Sync,
}

/// Keeps the promise, and counts what that costs.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    durability: Durability,
    /// A head that is on the device.
    head: u64,
    /// Calls of msync(2), and the time that they took.
    spent: (u64, Duration),
}

impl Keeper {
    /// From now on. The file's name, and what is in it already, is brought to the device too.
    pub(crate) fn new(durability: Durability, map: &Map) -> io::Result<Keeper> {
        let head = map.positions().head();
        if durability == Durability::Sync {
            map.sync_all()?;
        }
        Ok(Keeper { durability, head, spent: (0, Duration::ZERO) })
    }

    pub(crate) fn spent(&self) -> (u64, Duration) {
        self.spent
    }

    /// Before the ring is written up to position `end`: what lies there must be given back on the device too.
    pub(crate) fn before_write(&mut self, map: &Map, end: u64) -> io::Result<()> {
        if self.durability == Durability::Sync && end.wrapping_sub(self.head) > map.capacity() {
            self.header(map)?;
        }
        Ok(())
    }

    /// Before the tail moves behind the `len` bytes at `position`.
    pub(crate) fn before_commit(&mut self, map: &Map, position: u64, len: u64) -> io::Result<()> {
        if self.durability == Durability::Sync { self.msync(map, map.place(position, len)) } else { Ok(()) }
    }

    /// After the tail has moved there, or the goodbye was said.
    pub(crate) fn after_commit(&mut self, map: &Map, position: u64, len: u64) -> io::Result<()> {
        match self.durability {
            Durability::None => Ok(()),
            Durability::Sync => self.header(map),
            Durability::Async => {
                if len > 0 {
                    self.msync(map, map.place(position, len))?;
                }
                self.msync(map, 0..HEADER)
            }
        }
    }

    fn header(&mut self, map: &Map) -> io::Result<()> {
        // Loaded before the call: what it writes is this head, or a later one.
        let head = map.positions().head();
        self.msync(map, 0..HEADER)?;
        self.head = head;
        Ok(())
    }

    fn msync(&mut self, map: &Map, bytes: Range<usize>) -> io::Result<()> {
        let since = Instant::now();
        // Never tried again: the kernel may have thrown the pages away that it could not write, and a second
        // call would succeed without them.
        let done = map.msync(bytes, self.durability == Durability::Sync);
        self.spent = (self.spent.0 + 1, self.spent.1 + since.elapsed());
        done
    }
}
