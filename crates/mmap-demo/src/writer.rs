//! The producer's end of the ring.
//!
//! ```text
//!   reserve(len)          wait until the consumer has freed so much
//!   write_at(0, …)        the bytes: nobody looks at them yet
//!   write_at(n, …)
//!   commit(len)           header, then the tail: now the record is there, whole
//! ```
//!
//! The consumer's position is looked at again only when the room known to be free does not do: most records
//! cost the producer no look at memory that the consumer writes.

use std::io::{self, ErrorKind};
use std::time::Duration;

use crate::durability::{Durability, Keeper};
use crate::map::Map;
use crate::ring::{ITEM, RECORD, SKIP, checked_positions, room_for, to_end};
use crate::waiting::Waiting;

/// The end that is written.
#[derive(Debug)]
pub struct Writer {
    /// How to wait for the consumer.
    pub waiting: Waiting,
    map: Map,
    /// Where the next record goes. Ours: the shared word only follows it.
    tail: u64,
    /// The consumer's position when we last looked.
    head: u64,
    /// How much was needed when there was not so much room.
    short_of: u64,
    /// The longest record that was reserved for, in bytes of the ring.
    reserved: u64,
    keeper: Keeper,
}

impl Writer {
    /// Goes on behind the last committed record.
    ///
    /// # Errors
    /// `InvalidData` if the positions in the file cannot be.
    pub fn new(map: Map) -> io::Result<Writer> {
        let (head, tail) = checked_positions(&map)?;
        let (waiting, keeper) = (Waiting::default(), Keeper::default());
        Ok(Writer { waiting, map, tail, head, short_of: 0, reserved: 0, keeper })
    }

    /// The file.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// Promises more, or less, of what is committed from now on.
    ///
    /// # Errors
    /// When what is in the file already cannot be brought to the device.
    pub fn keep(&mut self, durability: Durability) -> io::Result<()> {
        self.keeper = Keeper::new(durability, &self.map)?;
        Ok(())
    }

    /// How often msync(2) was called, and how long that took.
    pub fn spent_on_msync(&self) -> (u64, Duration) {
        self.keeper.spent()
    }

    /// No more will come.
    ///
    /// # Errors
    /// When the device has failed.
    pub fn say_goodbye(&mut self) -> io::Result<()> {
        self.map.positions().say_goodbye();
        self.keeper.after_commit(&self.map, self.tail, 0)
    }

    /// Bytes that are in the ring and not yet processed, when we last looked.
    pub fn unread(&self) -> u64 {
        self.tail.wrapping_sub(self.head)
    }

    /// Waits until a record of up to `len` bytes has room.
    ///
    /// # Errors
    /// `Interrupted` by a signal, or by [`Writer::waiting`]; `InvalidInput` if it can never fit; `InvalidData` if the file is damaged.
    pub fn reserve(&mut self, len: usize) -> io::Result<()> {
        loop {
            match self.try_reserve(len) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
            // Room enough, and with it an eighth of the ring, if there is so much to read.
            let missing = self.short_of + self.unread() - self.map.capacity();
            let ahead = missing.max(self.unread().min(self.map.capacity() / 8));
            let (positions, wanted) = (self.map.positions(), self.head.wrapping_add(ahead));
            if self.waiting.look(|| positions.has_come_to(wanted))? {
                continue;
            }
            let slept = positions.sleep_until_head_comes_to(wanted);
            slept.map_err(|e| self.map.explain(e))?;
        }
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// As [`Writer::reserve`], and `WouldBlock` if there is no room.
    pub fn try_reserve(&mut self, len: usize) -> io::Result<()> {
        let capacity = self.map.capacity();
        let need = room_for(len as u64);
        if need > capacity || u32::try_from(len).is_err() {
            let why = format!("a record of {len} bytes never fits into a ring of {capacity}");
            return Err(io::Error::new(ErrorKind::InvalidInput, why));
        }
        let to_end = to_end(&self.map, self.tail);
        if need > to_end {
            // A commit of its own, not one together with the record: both may be more than the whole ring.
            self.free_up(to_end)?;
            self.write_header(SKIP, to_end - RECORD);
            self.map.intact()?;
            self.keeper.before_commit(&self.map, self.tail, RECORD)?;
            self.tail = self.tail.wrapping_add(to_end);
            self.map.positions().commit(self.tail);
        }
        self.free_up(need)?;
        self.reserved = need;
        Ok(())
    }

    /// `WouldBlock` unless `need` bytes are free.
    fn free_up(&mut self, need: u64) -> io::Result<()> {
        let capacity = self.map.capacity();
        let end = self.tail.wrapping_add(need);
        if capacity - self.unread() >= need {
            return self.keeper.before_write(&self.map, end);
        }
        let head = self.map.positions().head(); // once: the peer may change it
        self.map.intact()?;
        if self.tail.wrapping_sub(head) > self.unread() {
            return Err(self.map.damaged(&format!("head went from {} to {head}", self.head)));
        }
        self.head = head;
        self.short_of = need;
        if capacity - self.unread() < need {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.keeper.before_write(&self.map, end)
    }

    /// The record that the last successful [`Writer::reserve`] made room for.
    pub fn reserved(&mut self) -> Reservation<'_> {
        Reservation { writer: self }
    }

    /// Writes `record`, waiting while there is no room.
    ///
    /// # Errors
    /// As [`Writer::reserve`].
    pub fn push(&mut self, record: &[u8]) -> io::Result<()> {
        self.reserve(record.len())?;
        self.reserved().fill(record)
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// As [`Writer::try_reserve`].
    pub fn try_push(&mut self, record: &[u8]) -> io::Result<()> {
        self.try_reserve(record.len())?;
        self.reserved().fill(record)
    }

    fn write_header(&self, tag: u32, len: u64) {
        let mut header = [0; RECORD as usize];
        header[0..4].copy_from_slice(&tag.to_le_bytes());
        header[4..8].copy_from_slice(&(len as u32).to_le_bytes());
        header[8..16].copy_from_slice(&self.tail.to_le_bytes());
        self.map.write(self.tail, &header);
    }
}

/// Room for one record. Dropped without a commit, nothing has happened.
#[derive(Debug)]
pub struct Reservation<'a> {
    writer: &'a mut Writer,
}

impl Reservation<'_> {
    /// Writes a piece of the record, `offset` bytes behind its beginning.
    ///
    /// # Panics
    /// If it goes over what was reserved.
    pub fn write_at(&mut self, offset: usize, piece: &[u8]) {
        let end = room_for(offset as u64 + piece.len() as u64);
        assert!(end <= self.writer.reserved, "{end} bytes of {} reserved", self.writer.reserved);
        self.writer.map.write(self.writer.tail.wrapping_add(RECORD + offset as u64), piece);
    }

    /// Makes the record, of `len` bytes, visible to the consumer.
    ///
    /// # Errors
    /// `InvalidData` if the file was cut: then it is not in it. What msync(2) fails with.
    ///
    /// # Panics
    /// If it is longer than what was reserved.
    pub fn commit(self, len: usize) -> io::Result<()> {
        let writer = self.writer;
        let room = room_for(len as u64);
        assert!(room <= writer.reserved, "{room} bytes of {} reserved", writer.reserved);
        writer.write_header(ITEM, len as u64);
        writer.map.intact()?;
        writer.reserved = 0;
        let position = writer.tail;
        writer.keeper.before_commit(&writer.map, position, room)?;
        writer.tail = position.wrapping_add(room);
        writer.map.positions().commit(writer.tail);
        // The consumer's processor has the room for the next record: while that is made, it comes over.
        let next = room.min(to_end(&writer.map, writer.tail));
        if writer.unread() + next <= writer.map.capacity() {
            writer.map.will_write(writer.tail, next as usize);
        }
        writer.keeper.after_commit(&writer.map, position, room)
    }

    fn fill(mut self, record: &[u8]) -> io::Result<()> {
        self.write_at(0, record);
        self.commit(record.len())
    }
}
