//! Zero copy: the pipe is given the pages in which a message lies, not a copy of what is in them.
//!
//! ```text
//!   frame.rs    [message]  == write ==>  [the kernel's pages]  == read ==>  [the reader's buffer]     two copies
//!   here        [message]  <-- the pipe holds references ---   == read ==>  [the reader's buffer]     one
//! ```
//!
//! What is new compared to `frame.rs`: a frame is built in pages of its own ([`PageWriter::room`]), and vmsplice(2) puts
//! them into the pipe ([`PageWriter::give`]). In the pipe are the same bytes, and the reader reads as ever.
//!
//! **Pages that were given must not be written to until they have been read.** They are the writer's still, and no
//! one hinders it; but what it changes there changes in the pipe. And how does it know that they have been read?
//!
//! - A pipe has places for so many pages (its capacity), and is a queue. When as many pages have been given after
//!   these as there are places, these are not in it any more. So the buffers take turns, and are as many as it takes.
//!   (`FIONREAD` asks how many bytes are in a pipe: with one writer only, that tells sooner.)
//! - That holds for a reader that copies, as read(2) does. Who splices the pages on, to a socket or another pipe,
//!   can keep them as long as it likes, and no call tells. Then never write there again: unmap them.
//! - `SPLICE_F_GIFT` changes nothing about it, and pages of a mapped *file* are worse: there everybody who may
//!   write to the file changes what is in the pipe, and who truncates it ends this process by SIGBUS. So a file is
//!   read into the buffer, which is a copy, but the last.
//!
//! A frame may need more places than the pipe has left. Its rest is not waited for but follows with the next call, as in
//! `batch.rs`: meanwhile the next one is built. So [`PageWriter::flush`] before you do anything that takes time.
//!
//! Guarantees: those of `frame.rs`, with the same bytes. A frame of at most `PIPE_BUF` bytes lies in one page, so it,
//! too, is given whole or not at all.
//! Limits: each message takes whole places: 64 bytes, one of a pipe's 16. Below some KiB copying is cheaper.
//!
//! System calls: vmsplice, mmap, munmap, fcntl (`F_GETPIPE_SZ`). See vmsplice(2), splice(2), pipe(7); Kerrisk, *The
//! Linux Programming Interface*, section 61.4 on sendfile(2), for where copies are saved between files and sockets.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};

use memmap2::MmapMut;
use nix::fcntl::{FcntlArg, SpliceFFlags, fcntl, vmsplice};

use crate::frame::{DATA, FrameWriter, HEADER, MAX_BODY, header};

/// The smallest page that Linux has. Where they are larger, what is counted by it is too little, which is safe.
const PAGE: usize = 4096;

/// Writes frames by giving the pipe the pages in which they lie.
#[derive(Debug)]
pub struct PageWriter {
    frames: FrameWriter,
    /// The frame that is being built.
    pub(crate) building: Option<MmapMut>,
    /// Those that were given, the oldest first.
    pub(crate) given: VecDeque<Given>,
    /// Not all of the last one has found room in the pipe yet.
    waiting: bool,
    /// How much of the pipe's capacity those took that are in it, or were, ever: whole pages, in bytes.
    total: u64,
}

/// A frame of which somebody may still read the pages.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) pages: MmapMut,
    length: usize,
    /// What `total` is when the pipe has it.
    total: u64,
}

impl PageWriter {
    /// Writes to the pipe that `frames` writes to.
    pub fn new(frames: FrameWriter) -> PageWriter {
        PageWriter { frames, building: None, given: VecDeque::new(), waiting: false, total: 0 }
    }

    /// Room for the next message, of at most `longest` bytes, in pages that no reader can reach. What is in it is old.
    ///
    /// # Errors
    /// `InvalidInput` if `longest` is 0 or over [`MAX_BODY`]; `OutOfMemory`.
    pub fn room(&mut self, longest: usize) -> io::Result<&mut [u8]> {
        if longest == 0 || longest > MAX_BODY {
            let why = format!("a message has 1 to {MAX_BODY} bytes, not {longest}");
            return Err(io::Error::new(ErrorKind::InvalidInput, why));
        }
        let size = (HEADER + longest).next_multiple_of(PAGE);
        let pages = match self.building.take() {
            Some(pages) => Some(pages),
            None => self.unused()?,
        };
        // Of another size they are let go. Were long ones kept for short messages, in the end all would be long.
        let pages = match pages {
            Some(pages) if pages.len() == size => pages,
            _ => MmapMut::map_anon(size)?,
        };
        Ok(&mut self.building.insert(pages)[HEADER..HEADER + longest])
    }

    /// The oldest pages that were given, if they are in the pipe no more.
    fn unused(&mut self) -> io::Result<Option<MmapMut>> {
        // What it can hold at this moment: so it does not matter who made it larger or smaller meanwhile.
        let capacity = fcntl(&self.frames, FcntlArg::F_GETPIPE_SZ)? as u64;
        match self.given.front() {
            Some(oldest) if self.total.saturating_sub(oldest.total) >= capacity => {
                Ok(self.given.pop_front().map(|oldest| oldest.pages))
            }
            _ => Ok(None),
        }
    }

    /// Takes the first `length` bytes of the [`room`](PageWriter::room) for the pipe, which gets as much of it as it
    /// has room for; the rest follows with the next call. Only the rest of the last message is waited for, if it may
    /// `block`.
    ///
    /// # Errors
    /// `Interrupted` by a signal, and unless it may block `WouldBlock`: it was not taken, so call again with the same
    /// length. `BrokenPipe` if nobody can read it any more; `InvalidInput` without room for so much.
    pub fn give(&mut self, length: usize, block: bool) -> io::Result<()> {
        self.flush(block)?;
        self.frames.hello(block)?;
        let frame = self.building.as_deref_mut().and_then(|pages| pages.get_mut(..HEADER + length));
        let Some(frame) = frame.filter(|_| length > 0) else { return Err(ErrorKind::InvalidInput.into()) };
        let (head, body) = frame.split_at_mut(HEADER);
        head.copy_from_slice(&header(DATA, body));
        let length = frame.len();
        let total = self.total + length.next_multiple_of(PAGE) as u64;
        self.given.extend(self.building.take().map(|pages| Given { pages, length, total }));
        self.waiting = true;
        match self.flush(false) {
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            done => done,
        }
    }

    /// Gives the pipe what it has not got yet of the last message, waiting while it is full if it may `block`.
    ///
    /// # Errors
    /// As [`PageWriter::give`]: call again, and it goes on where it was.
    pub fn flush(&mut self, block: bool) -> io::Result<()> {
        let Some(last) = self.given.back().filter(|_| self.waiting) else { return Ok(()) };
        let flags = if block { SpliceFFlags::empty() } else { SpliceFFlags::SPLICE_F_NONBLOCK };
        // Why this is sound: the kernel only reads these pages, for whoever reads the pipe, and holds references to
        // them of its own. It may do so at any time, also when this process has unmapped them or was killed: what
        // the other process gets is bytes, the right or the wrong ones, and never freed memory. That they are the
        // right ones is what `unused` is for: nobody writes here before no reader can reach them.
        let give =
            |pipe: &_, put: usize| vmsplice(pipe, &[IoSlice::new(&last.pages[put..last.length])], flags);
        self.frames.put_by(last.length, block, give)?;
        self.total = last.total;
        self.waiting = false;
        Ok(())
    }

    /// Says goodbye after the rest of the last message, waiting while the pipe is full if it may `block`.
    ///
    /// # Errors
    /// As [`PageWriter::flush`] and [`FrameWriter::goodbye`].
    pub fn goodbye(&mut self, block: bool) -> io::Result<()> {
        self.flush(block)?;
        if block { self.frames.goodbye() } else { self.frames.try_goodbye() }
    }

    /// How many of the messages that were taken are not whole in the pipe yet: the last one, or none.
    pub fn waiting(&self) -> usize {
        self.waiting.into()
    }

    /// How many messages' pages are let alone because they may still be in the pipe.
    pub fn kept(&self) -> usize {
        self.given.len()
    }
}

impl AsFd for PageWriter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.frames.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fifo::set_capacity;
    use crate::frame_reader::FrameReader;

    fn pipe() -> (FrameReader, PageWriter) {
        let (r, w) = io::pipe().expect("pipe");
        (FrameReader::new(r.into()), PageWriter::new(FrameWriter::new(w.into())))
    }

    /// A message of which every byte tells which one it is.
    fn give(w: &mut PageWriter, n: u64, length: usize, block: bool) -> io::Result<()> {
        w.room(length).expect("room").fill(n as u8);
        w.give(length, block)
    }

    fn check(r: &FrameReader, n: u64, length: usize) {
        assert!(r.message().len() == length && r.message().iter().all(|b| *b == n as u8), "message {n}");
    }

    #[test]
    fn messages_of_all_sizes_arrive_whole() {
        let (mut r, mut w) = pipe();
        let sizes = [1, 7, 4088, 4089, 65_528, 65_529, 1_000_000, 3, 1 << 20, 1 << 20, 4089];
        std::thread::scope(|s| {
            s.spawn(|| {
                for (n, length) in sizes.into_iter().cycle().take(200).enumerate() {
                    give(&mut w, n as u64, length, true).expect("give");
                }
                w.goodbye(true).expect("goodbye");
                drop(w);
            });
            for (n, length) in sizes.into_iter().cycle().take(200).enumerate() {
                assert!(r.read().expect("read"));
                check(&r, n as u64, length);
            }
            assert!(!r.read().expect("end"));
        });
    }

    #[test]
    fn what_is_in_the_pipe_is_not_written_to_however_large_it_is_made() {
        for length in [1, 4088, 5000, 100_000] {
            let (mut r, mut w) = pipe();
            let (mut sent, mut read) = (0, 0);
            for bytes in [65_536, 4096, 1 << 20, 65_536] {
                assert_eq!(set_capacity(&w, bytes).expect("it is empty"), bytes);
                for _ in 0..3 {
                    // Until it is full, and holds a part of the last one, or nothing of it.
                    while w.waiting() == 0 {
                        give(&mut w, sent, length, false).expect("give");
                        sent += 1;
                    }
                    w.room(length).expect("room").fill(sent as u8);
                    for refused in [w.give(length, false), w.flush(false), w.goodbye(false)] {
                        assert_eq!(refused.expect_err("it is full").kind(), ErrorKind::WouldBlock);
                    }
                    while w.flush(false).is_err() || read < sent {
                        if r.try_read().is_ok() {
                            check(&r, read, length);
                            read += 1;
                        }
                    }
                    assert!(w.kept() <= (1 << 20) / length.next_multiple_of(PAGE) + 2, "{}", w.kept());
                }
            }
            assert!(read > 10, "{read}");
        }
    }

    #[test]
    fn buffers_are_as_many_as_the_pipe_needs_and_no_longer_than_their_messages() {
        let (mut r, mut w) = pipe();
        for n in 0..1000 {
            let length = if n % 10 == 0 { 50_000 } else { 5 };
            give(&mut w, n, length, true).expect("give");
            w.flush(true).expect("flush");
            assert!(r.read().expect("read"));
            check(&r, n, length);
        }
        let mapped: usize = w.given.iter().map(|g| g.pages.len()).sum();
        assert!(w.kept() <= 17 && mapped <= 65_536 + 2 * 13 * PAGE, "{} of {mapped} bytes", w.kept());
    }

    #[test]
    fn what_is_unmapped_is_in_the_pipe_all_the_same() {
        let (mut r, mut w) = pipe();
        for n in 0..3 {
            give(&mut w, n, 20_000, true).expect("give");
        }
        drop(w);
        for n in 0..3 {
            assert!(r.read().expect("read"));
            check(&r, n, 20_000);
        }
    }

    #[test]
    fn what_is_no_message_is_not_given() {
        let (_r, mut w) = pipe();
        assert_eq!(w.give(1, true).expect_err("no room").kind(), ErrorKind::InvalidInput);
        for length in [0, MAX_BODY + 1] {
            assert_eq!(w.room(length).expect_err("length").kind(), ErrorKind::InvalidInput);
        }
        w.room(10).expect("room");
        for length in [0, 4089] {
            assert_eq!(w.give(length, true).expect_err("length").kind(), ErrorKind::InvalidInput);
        }
    }
}
