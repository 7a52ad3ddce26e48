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
//! there. So the writer, which is here, remembers how far it came, and the reader, in `frame_reader.rs`, gathers
//! until a frame is whole.
//!
//! - A writer begins with HELLO and ends with GOODBYE. The stream ends at end-of-file all the same: the
//!   goodbye only tells a writer that was done from one that died.
//! - A frame of at most `PIPE_BUF` (4096) bytes is written whole or not at all, so several writers may share
//!   a pipe. Longer ones may be cut by another's: see `fifo.rs` for who keeps them apart.
//!
//! Guarantees: frames arrive whole and in order, per writer. A cut one is reported, never delivered.
//! Limits: one reader; what is in the pipe when the reader dies is lost.
//!
//! System calls: writev, fcntl (`O_NONBLOCK`). See pipe(7), write(2); Stevens, *UNIX Network
//! Programming* vol. 2, ch. 4; Kerrisk, *The Linux Programming Interface*, ch. 44.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::uio::writev;

/// Bytes in front of a frame's body.
pub const HEADER: usize = 8;
/// The longest body that is taken. A length comes from another process: it is checked before memory is.
pub const MAX_BODY: usize = 64 << 20;
/// POSIX guarantees 512, Linux has 4096: a write of so many bytes is never mixed with another's.
pub const PIPE_BUF: usize = 4096;

pub(crate) const DATA: u32 = 1;
pub(crate) const GOODBYE: u32 = 2;
pub(crate) const HELLO: u32 = 3;
pub(crate) const KINDS: [u32; 3] = [DATA, GOODBYE, HELLO];
/// What a HELLO says: whoever speaks something else is no writer of ours.
pub(crate) const VERSION: &[u8; 8] = b"ipcpipe1";

/// `O_NONBLOCK` belongs to the open file, not to a call: it is switched when the kind of call changes.
pub(crate) fn switch(fd: &OwnedFd, nonblocking: &mut bool, wanted: bool) -> io::Result<()> {
    if *nonblocking != wanted {
        let flag = if wanted { OFlag::O_NONBLOCK } else { OFlag::empty() };
        fcntl(fd, FcntlArg::F_SETFL(flag))?;
        *nonblocking = wanted;
    }
    Ok(())
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
        self.frame(DATA, message, true)
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// As [`FrameWriter::write`], and `WouldBlock` if the pipe is full: call again with the same message.
    pub fn try_write(&mut self, message: &[u8]) -> io::Result<()> {
        self.frame(DATA, message, false)
    }

    /// Says goodbye, without waiting: whoever reads on then knows that this writer was done.
    ///
    /// # Errors
    /// `WouldBlock` if the pipe is full, or holds a part of a frame.
    pub fn try_goodbye(&mut self) -> io::Result<()> {
        self.frame(GOODBYE, &[], false)
    }

    /// Says goodbye, waiting while the pipe is full.
    ///
    /// # Errors
    /// As [`FrameWriter::write`].
    pub fn goodbye(&mut self) -> io::Result<()> {
        self.frame(GOODBYE, &[], true)
    }

    /// Writes frames that are encoded already, at most `PIPE_BUF` bytes of them: all or none. Never the first.
    pub(crate) fn write_encoded(&mut self, frames: &[u8], block: bool) -> io::Result<()> {
        self.put(frames, &[], block)
    }

    /// What every writer begins with, if it was not said yet.
    pub(crate) fn hello(&mut self, block: bool) -> io::Result<()> {
        if !self.said_hello {
            self.put(&header(HELLO, VERSION), VERSION, block)?;
            self.said_hello = true;
        }
        Ok(())
    }

    fn frame(&mut self, kind: u32, body: &[u8], block: bool) -> io::Result<()> {
        if body.len() > MAX_BODY || (body.is_empty() && kind == DATA) {
            let why = format!("a message has 1 to {MAX_BODY} bytes, not {}", body.len());
            return Err(io::Error::new(ErrorKind::InvalidInput, why));
        }
        if kind == GOODBYE && self.written > 0 {
            // Inside a frame it would be taken for a part of the body.
            return Err(ErrorKind::WouldBlock.into());
        }
        self.hello(block)?;
        self.put(&header(kind, body), body, block)
    }

    /// Writes `head`, then `body`, from wherever it was left off.
    fn put(&mut self, head: &[u8], body: &[u8], block: bool) -> io::Result<()> {
        self.put_by(head.len() + body.len(), block, |fd, written| {
            let of_head = written.min(head.len());
            // One call for both parts: two could let another writer's frame in between.
            writev(fd, &[IoSlice::new(&head[of_head..]), IoSlice::new(&body[written - of_head..])])
        })
    }

    /// Has a frame of `length` bytes written by `call`, which is told how much of it the pipe has already.
    pub(crate) fn put_by(
        &mut self,
        length: usize,
        block: bool,
        mut call: impl FnMut(&OwnedFd, usize) -> nix::Result<usize>,
    ) -> io::Result<()> {
        switch(&self.fd, &mut self.nonblocking, !block)?;
        while self.written < length {
            self.written += match call(&self.fd, self.written) {
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
