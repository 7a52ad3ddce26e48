//! Where a message ends: the message says it itself (in a stream), or the kernel does (packets).
//!
//! Which of the two a connection needs is known from its socket's type. Everything above this line of code speaks
//! of *frames* in both cases: a kind and a body.
//!
//! See [`frame`] and [`packet`], which do the work.

use std::io;

use crate::endpoint::Connection;
use crate::frame::{self, FrameReader, FrameWriter, Rules};
use crate::packet::{self, PacketReader};

/// Takes frames out of a connection.
#[derive(Debug)]
pub enum Reader {
    /// Out of a stream of bytes.
    Stream(FrameReader),
    /// Each in a packet of its own.
    Packets(PacketReader),
}

impl Reader {
    /// The reader that `connection` needs.
    pub fn new(connection: &Connection, rules: Rules) -> Reader {
        if connection.packets {
            Reader::Packets(PacketReader::new(rules))
        } else {
            Reader::Stream(FrameReader::new(rules))
        }
    }

    /// Other frames may come from now on.
    pub fn expect(&mut self, rules: Rules) {
        match self {
            Reader::Stream(reader) => reader.expect(rules),
            Reader::Packets(reader) => reader.expect(rules),
        }
    }

    /// The kind of the next frame, if all of it has been read.
    ///
    /// # Errors
    /// As [`FrameReader::next_frame`].
    pub fn next_frame(&mut self) -> io::Result<Option<u32>> {
        match self {
            Reader::Stream(reader) => reader.next_frame(),
            Reader::Packets(reader) => Ok(reader.next_packet()),
        }
    }

    /// The body of the frame that was found last.
    pub fn body(&self) -> &[u8] {
        match self {
            Reader::Stream(reader) => reader.body(),
            Reader::Packets(reader) => reader.body(),
        }
    }

    /// Reads once; 0 is the end.
    ///
    /// # Errors
    /// As [`FrameReader::fill`] and [`PacketReader::fill`].
    pub fn fill(&mut self, connection: &Connection) -> io::Result<usize> {
        match self {
            Reader::Stream(reader) => reader.fill(connection),
            Reader::Packets(reader) => reader.fill(connection),
        }
    }

    /// The next frame's kind, reading as often as it takes; `None` at a clean end.
    ///
    /// # Errors
    /// As [`FrameReader::read`].
    pub fn read(&mut self, connection: &Connection) -> io::Result<Option<u32>> {
        loop {
            if let Some(kind) = self.next_frame()? {
                return Ok(Some(kind));
            }
            if self.fill(connection)? == 0 {
                return self.cut().map_or(Ok(None), Err);
            }
        }
    }

    /// What an end at this place has cut: never a packet.
    pub fn cut(&self) -> Option<io::Error> {
        if let Reader::Stream(reader) = self { reader.cut() } else { None }
    }

    /// How much has come of a frame that is not whole: never a part of a packet.
    pub fn partial(&self) -> Option<String> {
        if let Reader::Stream(reader) = self { reader.partial() } else { None }
    }
}

/// Puts frames into a connection.
#[derive(Debug, Default)]
pub struct Writer {
    /// Only a stream takes a part of a frame, and has to be remembered.
    pub(crate) stream: FrameWriter,
}

impl Writer {
    /// Writes a frame. After `Interrupted` or `WouldBlock` call it again with the same frame.
    ///
    /// # Errors
    /// As [`FrameWriter::write`] and [`packet::send`].
    pub fn write(&mut self, connection: &Connection, kind: u32, body: &[u8]) -> io::Result<()> {
        if connection.packets {
            packet::send(connection, kind, body)
        } else {
            self.stream.write(connection, kind, body)
        }
    }

    /// Whether a frame has been written in part, so that no other can follow.
    pub fn is_inside_frame(&self) -> bool {
        self.stream.is_inside_frame()
    }
}

/// A frame's bytes for `connection`, for who wants to keep them until there is room.
///
/// # Errors
/// As [`frame::header`].
pub fn encode(connection: &Connection, kind: u32, body: &[u8]) -> io::Result<Vec<u8>> {
    if connection.packets {
        return Ok([&kind.to_le_bytes()[..], body].concat());
    }
    Ok([&frame::header(kind, body.len())?[..], body].concat())
}
