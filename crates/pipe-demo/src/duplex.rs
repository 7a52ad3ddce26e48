//! Two-way: a pipe goes in one direction, so talking both ways takes two.
//!
//! ```text
//!   producer ==demo.fifo==> consumer        items
//!   producer <==demo.back== consumer        a reply for each: the number of bytes that came
//! ```
//!
//! Both sides open the two in the same order. If one of them began with the other pipe, each would wait in
//! `open` for the other: a deadlock before the first byte. The other classic one is `deadlock.rs`.
//!
//! Limits: one writer and one reader for each pipe.

use std::io;

use common::place::Channel;

use crate::fifo::{FifoReader, FifoWriter};
use crate::frame::FrameWriter;
use crate::frame_reader::FrameReader;

/// Bytes of a reply.
pub const REPLY: usize = 8;

/// Where replies are read.
#[derive(Debug)]
pub struct Replies {
    fifo: FifoReader,
    pipe: Option<FrameReader>,
}

impl Replies {
    /// Creates the second pipe. Nobody is waited for yet.
    ///
    /// # Errors
    /// `AddrInUse` if somebody reads replies already: two-way is one to one.
    pub fn create(channel: Channel) -> io::Result<Replies> {
        Ok(Replies { fifo: FifoReader::create(channel)?, pipe: None })
    }

    /// Opens it, which waits for the other side to do the same.
    ///
    /// # Errors
    /// `Interrupted` by a signal.
    pub fn open(&mut self) -> io::Result<()> {
        let mut pipe = self.fifo.open()?;
        pipe.expect_an_answer();
        self.pipe = Some(pipe);
        Ok(())
    }

    /// Reads a reply, waiting for it if it may `block`: how many bytes came.
    ///
    /// # Errors
    /// As [`FrameReader::read`]; `BrokenPipe` if the other side has closed the pipe; `InvalidData` for what is
    /// no reply.
    pub fn read(&mut self, block: bool) -> io::Result<u64> {
        let pipe = self.pipe.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        if !(if block { pipe.read()? } else { pipe.try_read()? }) {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the pipe of the replies was closed"));
        }
        pipe.expect_an_answer();
        let reply: [u8; REPLY] = pipe.message().try_into().map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(u64::from_le_bytes(reply))
    }
}

/// Where replies are written.
#[derive(Debug)]
pub struct Replier {
    fifo: FifoWriter,
    pipe: Option<FrameWriter>,
}

impl Replier {
    /// Creates the second pipe. Nobody is waited for yet.
    ///
    /// # Errors
    /// As [`FifoWriter::create`].
    pub fn create(channel: Channel) -> io::Result<Replier> {
        Ok(Replier { fifo: FifoWriter::create(channel, REPLY, false)?, pipe: None })
    }

    /// Opens it, which waits for the other side to do the same.
    ///
    /// # Errors
    /// `Interrupted` by a signal.
    pub fn open(&mut self) -> io::Result<()> {
        self.pipe = Some(self.fifo.open()?);
        Ok(())
    }

    /// Replies that `bytes` bytes came, waiting for room in the pipe if it may `block`.
    ///
    /// # Errors
    /// As [`FrameWriter::write`].
    pub fn write(&mut self, bytes: u64, block: bool) -> io::Result<()> {
        let pipe = self.pipe.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let reply = bytes.to_le_bytes();
        if block { pipe.write(&reply) } else { pipe.try_write(&reply) }
    }
}
