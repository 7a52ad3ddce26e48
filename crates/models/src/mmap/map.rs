//! A stand-in for `map.rs`: the positions on loom's atomics, the ring as plain memory that loom watches.

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use loom::cell::Cell;

use super::positions::Positions;

/// A file that both ends have mapped. Loom watches its ring by pieces of 16 bytes, which no two records share.
#[derive(Clone, Debug)]
pub struct Map {
    positions: Rc<Positions>,
    ring: Rc<[Cell<[u8; 16]>]>,
}

impl Map {
    pub fn new(capacity: usize, start: u64) -> Map {
        let map =
            Map { positions: Rc::default(), ring: (0..capacity / 16).map(|_| Cell::default()).collect() };
        map.positions.commit(start);
        map.positions.release(start);
        map
    }

    pub fn capacity(&self) -> u64 {
        16 * self.ring.len() as u64
    }

    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// Not atomic: loom fails if another thread may write there meanwhile.
    pub fn read(&self, position: u64, bytes: &mut [u8]) {
        let at = self.place(position, bytes.len() as u64).start;
        assert!(at.is_multiple_of(16), "a piece begins in the middle");
        for (cell, piece) in self.ring[at / 16..].iter().zip(bytes.chunks_mut(16)) {
            piece.copy_from_slice(&cell.get()[..piece.len()]);
        }
    }

    /// Likewise, if another thread may do anything there.
    pub fn write(&self, position: u64, bytes: &[u8]) {
        let at = self.place(position, bytes.len() as u64).start;
        assert!(at.is_multiple_of(16), "a piece begins in the middle");
        for (cell, piece) in self.ring[at / 16..].iter().zip(bytes.chunks(16)) {
            let mut whole = [0; 16];
            whole[..piece.len()].copy_from_slice(piece);
            cell.set(whole);
        }
    }

    /// A hint.
    pub fn will_write(&self, _position: u64, _len: usize) {}

    pub fn place(&self, position: u64, len: u64) -> Range<usize> {
        let offset = position & (self.capacity() - 1);
        assert!(len <= self.capacity() - offset, "a record never crosses the end");
        offset as usize..(offset + len) as usize
    }

    pub fn intact(&self) -> io::Result<()> {
        Ok(())
    }

    pub fn damaged(&self, what: &str) -> io::Error {
        panic!("{what}")
    }

    pub fn explain(&self, e: io::Error) -> io::Error {
        e
    }

    pub fn write_to(&self, _out: BorrowedFd<'_>, _position: u64, _len: usize) -> io::Result<usize> {
        unreachable!("no model writes to another file")
    }

    pub fn msync(&self, _bytes: Range<usize>, _wait: bool) -> io::Result<()> {
        unreachable!("no model has a device")
    }

    pub fn sync_all(&self) -> io::Result<()> {
        unreachable!("no model has a device")
    }
}
