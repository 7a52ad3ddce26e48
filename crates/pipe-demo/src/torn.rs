//! What `PIPE_BUF` prevents: a reader for frames that several writers have torn.
//!
//! ```text
//!   writer A:  [header|aaaaaaaaaaaa|aaaa]        the pipe:  [header|aaaaaaaaaaaa[header|bbbb|aaaa]bbbbbb
//!   writer B:      [header|bbbbbbbbbb]                       A's body ends in the middle of B's
//! ```
//!
//! A write of more than `PIPE_BUF` bytes goes into the pipe in parts when there is no room for all of it, and
//! another writer's bytes may come between. Then a frame's length still counts bytes, but not its own. This
//! reader delivers what it finds, so that checksums can tell, and where there is no header it goes on byte
//! by byte until something looks like one.
//!
//! Guarantees: none. The plain reader is in `frame.rs`; `fifo.rs` sees to it that it is never needed.
//!
//! System call: read. See write(2), pipe(7) ("PIPE_BUF").

use std::io;
use std::os::fd::OwnedFd;

use crate::frame::{DATA, HEADER, KINDS};

/// No longer body is believed: the letters of a payload would make far longer ones.
const PLAUSIBLE: usize = 1 << 20;

/// Reads whatever can be taken for a frame.
#[derive(Debug)]
pub struct TornReader {
    fd: OwnedFd,
    buffer: Vec<u8>,
    start: usize,
    message: std::ops::Range<usize>,
    in_step: bool,
    torn: u64,
}

impl TornReader {
    /// Reads from a blocking read end.
    pub fn new(fd: OwnedFd) -> TornReader {
        TornReader { fd, buffer: Vec::new(), start: 0, message: 0..0, in_step: true, torn: 0 }
    }

    /// Waits for the next thing that looks like a message; false at the end of the stream.
    ///
    /// # Errors
    /// `Interrupted` by a signal.
    pub fn read(&mut self) -> io::Result<bool> {
        while !self.parse() {
            self.buffer.drain(..std::mem::take(&mut self.start));
            let mut piece = [0; 65536];
            match nix::unistd::read(&self.fd, &mut piece)? {
                0 => return Ok(false),
                n => self.buffer.extend_from_slice(&piece[..n]),
            }
        }
        Ok(true)
    }

    /// The same without waiting: what was read already.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing of it left.
    pub fn try_read(&mut self) -> io::Result<bool> {
        if self.parse() { Ok(true) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    /// What was found last.
    pub fn message(&self) -> &[u8] {
        &self.buffer[self.message.clone()]
    }

    /// How often a header was expected and something else was there.
    pub fn torn(&self) -> u64 {
        self.torn
    }

    fn parse(&mut self) -> bool {
        while let Some(header) = self.buffer[self.start..].first_chunk::<HEADER>() {
            let [a, b, c, d, e, f, g, h] = *header;
            let (length, kind) =
                (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]));
            if length > PLAUSIBLE || !KINDS.contains(&kind) {
                self.torn += u64::from(std::mem::replace(&mut self.in_step, false));
                self.start += 1;
                continue;
            }
            let body = self.start + HEADER;
            if self.buffer.len() < body + length {
                return false;
            }
            self.in_step = true;
            self.start = body + length;
            if kind == DATA {
                self.message = body..body + length;
                return true;
            }
        }
        false
    }
}
