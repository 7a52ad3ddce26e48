//! Messages in a byte stream: every message travels as a *frame*, its length in front.
//!
//! ```text
//!   +--------+------+---------------+--------+------+--------
//!   | length | kind | body          | length | kind | body …
//!   +--------+------+---------------+--------+------+--------
//!     u32      u32    length bytes     little-endian
//! ```
//!
//! A pipe knows bytes only: a write may be taken in part, and a read ends wherever the bytes end that are
//! there. So the reader gathers until a frame is whole, and the writer remembers how far it came.
//!
//! - A writer begins with HELLO and ends with GOODBYE. The stream ends at end-of-file all the same: the
//!   goodbye only tells a writer that was done from one that died.
//! - A frame of at most `PIPE_BUF` (4096) bytes is written whole or not at all, so several writers may share
//!   a pipe. Longer ones may be cut by another's: see `fifo.rs` for who keeps them apart.
//!
//! Guarantees: frames arrive whole and in order, per writer. A cut one is reported, never delivered.
//! Limits: one reader; what is in the pipe when the reader dies is lost.
//!
//! System calls: read, writev, fcntl (`O_NONBLOCK`). See pipe(7), write(2); Stevens, *UNIX Network
//! Programming* vol. 2, ch. 4; Kerrisk, *The Linux Programming Interface*, ch. 44.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Bytes in front of a frame's body.
pub const HEADER: usize = 8;
/// The longest body that is taken. A length comes from another process: it is checked before memory is.
pub const MAX_BODY: usize = 64 << 20;
/// POSIX guarantees 512, Linux has 4096: a write of so many bytes is never mixed with another's.
pub const PIPE_BUF: usize = 4096;

pub(crate) const DATA: u32 = 1;
const GOODBYE: u32 = 2;
const HELLO: u32 = 3;
pub(crate) const KINDS: [u32; 3] = [DATA, GOODBYE, HELLO];
/// What a HELLO says: whoever speaks something else is no writer of ours.
const VERSION: &[u8; 8] = b"ipcpipe1";

/// `O_NONBLOCK` belongs to the open file, not to a call: it is switched when the kind of call changes.
fn switch(fd: &OwnedFd, nonblocking: &mut bool, wanted: bool) -> io::Result<()> {
    if *nonblocking != wanted {
        let flag = if wanted { OFlag::O_NONBLOCK } else { OFlag::empty() };
        fcntl(fd, FcntlArg::F_SETFL(flag))?;
        *nonblocking = wanted;
    }
    Ok(())
}

/// The end that is read.
#[derive(Debug)]
pub struct FrameReader {
    /// The read end.
    pub fd: OwnedFd,
    nonblocking: bool,
    /// Bytes that were read: `[start, end)` are not yet parsed.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Where the current message lies in `buffer`.
    message: std::ops::Range<usize>,
    hellos: usize,
    goodbyes: usize,
}

impl FrameReader {
    /// Reads frames from a pipe's read end, which must be blocking (as it is after `pipe` or `open`).
    pub fn new(fd: OwnedFd) -> FrameReader {
        FrameReader {
            fd,
            nonblocking: false,
            buffer: vec![0; 64 << 10],
            start: 0,
            end: 0,
            message: 0..0,
            hellos: 0,
            goodbyes: 0,
        }
    }

    /// Waits for the next message: true if there is one (see [`FrameReader::message`]), false at the end of
    /// the stream, when every writer has closed its end.
    ///
    /// # Errors
    /// `Interrupted` by a signal, with nothing lost; `UnexpectedEof` for a frame that was cut;
    /// `ConnectionAborted` if a writer closed its end without a goodbye; `InvalidData` for what is no frame.
    pub fn read(&mut self) -> io::Result<bool> {
        switch(&self.fd, &mut self.nonblocking, false)?;
        self.next()
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// As [`FrameReader::read`], and `WouldBlock` if no whole message has come yet.
    pub fn try_read(&mut self) -> io::Result<bool> {
        // What was read ahead needs no system call at all.
        if self.parse()? {
            return Ok(true);
        }
        switch(&self.fd, &mut self.nonblocking, true)?;
        self.next()
    }

    /// The message that the last successful read found.
    pub fn message(&self) -> &[u8] {
        &self.buffer[self.message.clone()]
    }

    /// How many writers have come, and how many have said goodbye. Who opens and closes the pipe is none.
    pub fn writers(&self) -> (usize, usize) {
        (self.hellos, self.goodbyes)
    }

    fn next(&mut self) -> io::Result<bool> {
        while !self.parse()? {
            self.make_room();
            match nix::unistd::read(&self.fd, &mut self.buffer[self.end..])? {
                0 => return self.at_end(),
                n => self.end += n,
            }
        }
        Ok(true)
    }

    /// Takes frames off the buffer until one of them is a message: whether there was one.
    fn parse(&mut self) -> io::Result<bool> {
        while let Some((length, kind)) = self.header()? {
            let body = self.start + HEADER;
            if self.end - body < length {
                return Ok(false);
            }
            self.start = body + length;
            match kind {
                DATA => {
                    self.message = body..body + length;
                    return Ok(true);
                }
                HELLO if self.buffer[body..body + length] == *VERSION => self.hellos += 1,
                HELLO => return Err(no_frame("a writer of another version")),
                // One whose HELLO another reader has heard does not stand for a goodbye that is missing.
                _ => self.goodbyes = (self.goodbyes + 1).min(self.hellos),
            }
        }
        Ok(false)
    }

    /// Length and kind of the frame that begins at `start`, if so much of it is there.
    fn header(&self) -> io::Result<Option<(usize, u32)>> {
        let Some(header) = self.buffer[self.start..self.end].first_chunk::<HEADER>() else { return Ok(None) };
        let [a, b, c, d, e, f, g, h] = *header;
        let (length, kind) = (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]));
        if !matches!((kind, length), (DATA, 1..=MAX_BODY) | (GOODBYE, 0) | (HELLO, 8)) {
            return Err(no_frame(&format!("a frame of kind {kind} that claims {length} bytes")));
        }
        Ok(Some((length, kind)))
    }

    /// Makes room behind what has been read. Memory grows with the bytes that came, not with a claim.
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            } else {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
    }

    fn at_end(&self) -> io::Result<bool> {
        let left = self.end - self.start;
        if left > 0 {
            let whole =
                self.header()?.map_or("a frame's header".into(), |(n, _)| format!("{} bytes", HEADER + n));
            let why = format!("pipe: the last frame was truncated after {left} of {whole}: its writer died");
            return Err(io::Error::new(ErrorKind::UnexpectedEof, why));
        }
        if self.hellos > self.goodbyes {
            let why =
                format!("pipe: {} writer(s) closed the pipe without a goodbye", self.hellos - self.goodbyes);
            return Err(io::Error::new(ErrorKind::ConnectionAborted, why));
        }
        Ok(false)
    }
}

fn no_frame(found: &str) -> io::Error {
    let why = format!("pipe: found {found}; do both sides run the same program?");
    io::Error::new(ErrorKind::InvalidData, why)
}

/// The end that is written.
#[derive(Debug)]
pub struct FrameWriter {
    fd: OwnedFd,
    nonblocking: bool,
    /// How much of the current frame the pipe has.
    written: usize,
    said_hello: bool,
}

impl FrameWriter {
    /// Writes frames to a pipe's write end, which must be blocking (as it is after `pipe` or `open`).
    pub fn new(fd: OwnedFd) -> FrameWriter {
        FrameWriter { fd, nonblocking: false, written: 0, said_hello: false }
    }

    /// Writes `message`, waiting while the pipe is full.
    ///
    /// # Errors
    /// `Interrupted` by a signal: call again with the same message, and it goes on where it was.
    /// `BrokenPipe` if nobody can read it any more; `InvalidInput` if it is empty or over [`MAX_BODY`].
    pub fn write(&mut self, message: &[u8]) -> io::Result<()> {
        switch(&self.fd, &mut self.nonblocking, false)?;
        self.hello_then(DATA, message)
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// As [`FrameWriter::write`], and `WouldBlock` if the pipe is full: call again with the same message.
    pub fn try_write(&mut self, message: &[u8]) -> io::Result<()> {
        switch(&self.fd, &mut self.nonblocking, true)?;
        self.hello_then(DATA, message)
    }

    /// Says goodbye, without waiting: whoever reads on then knows that this writer was done.
    ///
    /// # Errors
    /// `WouldBlock` if the pipe is full, or holds a part of a frame.
    pub fn try_goodbye(&mut self) -> io::Result<()> {
        switch(&self.fd, &mut self.nonblocking, true)?;
        self.hello_then(GOODBYE, &[])
    }

    /// Says goodbye, waiting while the pipe is full.
    ///
    /// # Errors
    /// As [`FrameWriter::write`].
    pub fn goodbye(&mut self) -> io::Result<()> {
        switch(&self.fd, &mut self.nonblocking, false)?;
        self.hello_then(GOODBYE, &[])
    }

    /// Writes frames that are encoded already, at most `PIPE_BUF` bytes of them: all or none. Never the first.
    pub(crate) fn write_encoded(&mut self, frames: &[u8], block: bool) -> io::Result<()> {
        switch(&self.fd, &mut self.nonblocking, !block)?;
        self.put(frames, &[])
    }

    fn hello_then(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        if body.len() > MAX_BODY || (body.is_empty() && kind == DATA) {
            let why = format!("a message has 1 to {MAX_BODY} bytes, not {}", body.len());
            return Err(io::Error::new(ErrorKind::InvalidInput, why));
        }
        if kind == GOODBYE && self.written > 0 {
            // Inside a frame it would be taken for a part of the body.
            return Err(ErrorKind::WouldBlock.into());
        }
        if !self.said_hello {
            self.put(&header(HELLO, VERSION), VERSION)?;
            self.said_hello = true;
        }
        self.put(&header(kind, body), body)
    }

    /// Writes `head`, then `body`, from wherever it was left off.
    fn put(&mut self, head: &[u8], body: &[u8]) -> io::Result<()> {
        while self.written < head.len() + body.len() {
            let of_head = self.written.min(head.len());
            let parts = [IoSlice::new(&head[of_head..]), IoSlice::new(&body[self.written - of_head..])];
            // One call for both parts: two could let another writer's frame in between.
            self.written += match nix::sys::uio::writev(&self.fd, &parts) {
                Err(Errno::EPIPE) => return Err(io::Error::new(ErrorKind::BrokenPipe, "the reader is gone")),
                written => written?,
            };
        }
        self.written = 0;
        Ok(())
    }
}

/// What stands before a body: the length in the lower half of a number of 64 bits, the kind in the upper.
pub(crate) fn header(kind: u32, body: &[u8]) -> [u8; HEADER] {
    (u64::from(kind) << 32 | body.len() as u64).to_le_bytes()
}

impl AsFd for FrameWriter {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe() -> (FrameReader, FrameWriter) {
        let (r, w) = io::pipe().expect("pipe");
        (FrameReader::new(r.into()), FrameWriter::new(w.into()))
    }

    #[test]
    fn messages_of_all_sizes_arrive_whole() {
        let (mut r, mut w) = pipe();
        let big: Vec<u8> = (0..1_000_000u32).map(|i| i as u8).collect();
        let sizes = [1, 7, 8, 4088, 4089, 65_528, 65_536, 1_000_000, 3];
        std::thread::scope(|s| {
            s.spawn(|| {
                for n in sizes {
                    w.write(&big[..n]).expect("write");
                }
                w.goodbye().expect("goodbye");
                drop(w);
            });
            for n in sizes {
                assert!(r.read().expect("read"));
                assert!(r.message() == &big[..n], "{n} bytes");
            }
            assert!(!r.read().expect("end"));
        });
    }

    #[test]
    fn a_frame_in_parts_goes_on_where_it_was() {
        let (mut r, mut w) = pipe();
        let big = vec![7; 200_000];
        let mut blocked = 0;
        while let Err(e) = w.try_write(&big) {
            assert_eq!(e.kind(), ErrorKind::WouldBlock);
            assert_eq!(w.try_goodbye().expect_err("inside a frame").kind(), ErrorKind::WouldBlock);
            assert_eq!(r.try_read().expect_err("not whole yet").kind(), ErrorKind::WouldBlock);
            blocked += 1;
        }
        assert!(r.try_read().expect("whole") && r.message() == big && blocked > 1);
    }

    #[test]
    fn a_writer_that_dies_is_told_from_one_that_ends() {
        let (mut r, mut w) = pipe();
        w.write(b"x").expect("write");
        drop(w);
        assert!(r.read().expect("the message"));
        assert_eq!(r.read().expect_err("no goodbye").kind(), ErrorKind::ConnectionAborted);

        let (mut r, mut w) = pipe();
        let _ = w.try_write(&vec![0; 100_000]);
        drop(w);
        assert_eq!(r.read().expect_err("cut").kind(), ErrorKind::UnexpectedEof);

        let (mut r, w) = pipe();
        drop(w);
        assert!(!r.read().expect("nobody wrote") && r.writers() == (0, 0));
    }

    #[test]
    fn a_claimed_length_takes_no_memory() {
        for (length, kind) in
            [(u32::MAX, DATA), (1 << 31, DATA), (0, DATA), (9, 77), (1, GOODBYE), (8, HELLO), (9, HELLO)]
        {
            let (mut r, w) = pipe();
            let mut bytes = [length.to_le_bytes(), kind.to_le_bytes()].concat();
            bytes.extend_from_slice(b"whatever");
            nix::unistd::write(&w, &bytes).expect("write");
            assert_eq!(r.read().expect_err("no frame").kind(), ErrorKind::InvalidData, "{length} {kind}");
            assert_eq!(r.buffer.len(), 64 << 10);
        }
    }
}
