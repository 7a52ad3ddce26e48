//! The consumer's end of the ring.
//!
//! ```text
//!   find()                wait until the producer has committed a record; check its header
//!   read_at(0, …)         piece by piece into a small buffer, however long the record is
//!   write_to(fd, …)       or straight from the file's pages to another file
//!   commit()              the head: now its room may be written again
//! ```

use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;

use crate::map::Map;
use crate::ring::{ITEM, RECORD, SKIP, checked_positions, room_for, to_end};
use crate::waiting::Waiting;

/// The end that is read.
#[derive(Debug)]
pub struct Reader {
    /// How to wait for the producer.
    pub waiting: Waiting,
    map: Map,
    /// The first record that is not processed. Ours: the shared word only follows it.
    head: u64,
    /// The producer's position when we last looked.
    tail: u64,
    /// The length of the record at `head`, once it was found and checked.
    found: Option<usize>,
}

impl Reader {
    /// Goes on behind the last processed record.
    ///
    /// # Errors
    /// `InvalidData` if the positions in the file cannot be.
    pub fn new(map: Map) -> io::Result<Reader> {
        let (head, tail) = checked_positions(&map)?;
        Ok(Reader { waiting: Waiting::default(), map, head, tail, found: None })
    }

    /// The file.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// How many bytes of the stream are processed, by this consumer and those before it.
    pub fn position(&self) -> u64 {
        self.head
    }

    /// Waits for the next record, unless it was found already: its length.
    ///
    /// # Errors
    /// `Interrupted` by a signal, or by [`Reader::waiting`]; `WouldBlock` after the producer's goodbye; `InvalidData` if the file is
    /// damaged.
    pub fn find(&mut self) -> io::Result<usize> {
        loop {
            match self.try_find() {
                Err(e) if e.kind() == ErrorKind::WouldBlock && !self.map.positions().said_goodbye() => {}
                done => return done,
            }
            let (positions, known) = (self.map.positions(), self.tail);
            if self.waiting.look(|| positions.tail() != known)? {
                continue;
            }
            let slept = positions.sleep_until_tail_moves(known);
            slept.map_err(|e| self.map.explain(e))?;
        }
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// As [`Reader::find`], and `WouldBlock` if there is none.
    pub fn try_find(&mut self) -> io::Result<usize> {
        while self.found.is_none() {
            if self.head == self.tail {
                self.look_at_tail()?;
            }
            match self.header()? {
                (ITEM, len) => self.found = Some(len as usize),
                _ => self.go_on(to_end(&self.map, self.head)),
            }
        }
        Ok(self.found.expect("the loop has ended"))
    }

    /// `WouldBlock` unless there is more to read.
    fn look_at_tail(&mut self) -> io::Result<()> {
        let tail = self.map.positions().tail(); // once: the peer may change it
        self.map.intact()?;
        if tail.wrapping_sub(self.head) > self.map.capacity() || !tail.is_multiple_of(16) {
            return Err(self.map.damaged(&format!("tail is {tail} while head is {}", self.head)));
        }
        self.tail = tail;
        if tail == self.head { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }

    /// Kind and length of the record at `head`, checked: it ends before the tail and the ring's end.
    fn header(&self) -> io::Result<(u32, u64)> {
        let mut header = [0; RECORD as usize];
        self.map.read(self.head, &mut header);
        self.map.intact()?;
        let u32_at = |i: usize| u32::from_le_bytes(header[i..i + 4].try_into().expect("four bytes"));
        let (tag, len) = (u32_at(0), u64::from(u32_at(4)));
        let position = u64::from_le_bytes(header[8..16].try_into().expect("eight bytes"));
        let most = self.tail.wrapping_sub(self.head).min(to_end(&self.map, self.head));
        let fits = match tag {
            ITEM => room_for(len) <= most,
            SKIP => RECORD + len == to_end(&self.map, self.head) && RECORD + len <= most,
            _ => false,
        };
        if fits && position == self.head {
            return Ok((tag, len));
        }
        let found = format!("record at {}: tag {tag:#010x}, length {len}, position {position}", self.head);
        Err(self.map.damaged(&found))
    }

    fn go_on(&mut self, by: u64) {
        self.head = self.head.wrapping_add(by);
        self.map.positions().release(self.head);
    }

    /// The record that the last successful [`Reader::find`] found; `None` once it is committed.
    pub fn record(&mut self) -> Option<Record<'_>> {
        let len = self.found?;
        Some(Record { reader: self, len })
    }
}

/// A record in the file. Until it is committed it stays there, and comes again after a crash.
#[derive(Debug)]
pub struct Record<'a> {
    reader: &'a mut Reader,
    len: usize,
}

impl Record<'_> {
    /// Its length in bytes.
    #[allow(clippy::len_without_is_empty)] // an empty record is one like any other
    pub fn len(&self) -> usize {
        self.len
    }

    /// Copies a piece of it, from `offset` on.
    ///
    /// # Errors
    /// `InvalidData` if the file was cut.
    ///
    /// # Panics
    /// If it goes over the record's end.
    pub fn read_at(&self, offset: usize, piece: &mut [u8]) -> io::Result<()> {
        self.reader.map.read(self.place(offset, piece.len()), piece);
        self.reader.map.intact()
    }

    /// Writes a piece of it to `out`, straight from the mapping: how much of it was taken.
    ///
    /// # Errors
    /// What write(2) fails with; `InvalidData` if the file was cut.
    ///
    /// # Panics
    /// If it goes over the record's end.
    pub fn write_to(&self, out: BorrowedFd<'_>, offset: usize, len: usize) -> io::Result<usize> {
        self.reader.map.write_to(out, self.place(offset, len), len)
    }

    /// It is processed: its room is the producer's again.
    pub fn commit(self) {
        self.reader.found = None;
        self.reader.go_on(room_for(self.len as u64));
    }

    fn place(&self, offset: usize, len: usize) -> u64 {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.len), "over the record's end");
        self.reader.head.wrapping_add(RECORD + offset as u64)
    }
}
