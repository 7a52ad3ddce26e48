//! Batches: frames that nobody waits for travel together, by one system call.
//!
//! ```text
//!   write #0    after a silence      [#0] ──────────────────►      at once: somebody may wait for it
//!   write #1    right after it       [#1]
//!   write #2 …                       [#1 #2 … #39]
//!   write #40   it does not fit in   [#1 #2 … #39] ─────────►      39 frames for one call
//!                                    [#40]
//!   flush       before a pause       [#40] ─────────────────►
//! ```
//!
//! What is new compared to `frame.rs`: a frame that follows another closely is *gathered*. It is written when the
//! next one finds no room beside it, when one of the next comes a while ([`SILENCE`]) after the last write, or by
//! [`BatchWriter::flush`]. In the pipe are the same bytes in the same order: a reader need not know.
//!
//! Guarantees: those of `frame.rs`. A batch has at most `PIPE_BUF` bytes, so it is written whole or not at all:
//! several writers may share a pipe, and one that is killed leaves no half of a frame. A longer frame goes by
//! itself, as it does there.
//! Limits: nobody writes a batch but this writer's own calls; there is no timer. So *flush before you do anything
//! that takes time*: sleep, read, wait for an answer. What was gathered when the writer is killed was never sent.
//!
//! System calls: those of `frame.rs`. See write(2), pipe(7) ("PIPE_BUF"); Stevens, *TCP/IP Illustrated* vol. 1, on
//! Nagle's algorithm, which does this for TCP with the other side's acknowledgement in place of a clock.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::frame::{DATA, FrameWriter, HEADER, PIPE_BUF, header};

/// When so much time has passed since the last write, the reader has nothing to do and may wait: about what it takes
/// to wake it.
pub const SILENCE: Duration = Duration::from_micros(50);

/// While frames are gathered, the clock is looked at before every so many of them.
const LOOK: usize = 8;

/// Writes frames to a pipe, several at once where that delays none that is waited for.
#[derive(Debug)]
pub struct BatchWriter {
    frames: FrameWriter,
    /// The longest batch, in bytes.
    most: usize,
    /// Whole frames that wait to be written.
    batch: Vec<u8>,
    waiting: usize,
    /// When the pipe was written last.
    last: Option<Instant>,
    writes: u64,
}

impl BatchWriter {
    /// Writes batches of at most `most` bytes, and never more than `PIPE_BUF`. With 0 each frame goes at once and
    /// by itself, as if `frames` was used directly.
    pub fn new(frames: FrameWriter, most: usize) -> BatchWriter {
        let most = most.min(PIPE_BUF);
        BatchWriter { frames, most, batch: Vec::with_capacity(most), waiting: 0, last: None, writes: 0 }
    }

    /// Takes `message`, and writes it at once or later; if it may `block`, waits while the pipe is full.
    ///
    /// # Errors
    /// As [`FrameWriter::write`], or unless it may `block`, as [`FrameWriter::try_write`]. `Interrupted` and
    /// `WouldBlock`: it was not taken, so call again with the same message.
    pub fn write(&mut self, message: &[u8], block: bool) -> io::Result<()> {
        let length = HEADER + message.len();
        // Not at every frame: a look at the clock takes as long as all the rest of gathering one.
        let silence =
            self.waiting.is_multiple_of(LOOK) && self.last.is_none_or(|last| last.elapsed() >= SILENCE);
        if (silence && self.batch.is_empty()) || length > self.most || message.is_empty() {
            self.flush(block)?;
            let alone = if block { self.frames.write(message) } else { self.frames.try_write(message) };
            alone?;
            self.wrote();
            return Ok(());
        }
        if silence || self.batch.len() + length > self.most {
            self.flush(block)?;
        }
        self.batch.extend_from_slice(&header(DATA, message));
        self.batch.extend_from_slice(message);
        self.waiting += 1;
        Ok(())
    }

    /// Writes what has been gathered.
    ///
    /// # Errors
    /// As [`BatchWriter::write`]; all that had been gathered still is.
    pub fn flush(&mut self, block: bool) -> io::Result<()> {
        if self.waiting > 0 {
            self.frames.write_encoded(&self.batch, block)?;
            self.batch.clear();
            self.waiting = 0;
            self.wrote();
        }
        Ok(())
    }

    /// Writes what has been gathered, and says goodbye.
    ///
    /// # Errors
    /// As [`BatchWriter::flush`] and [`FrameWriter::goodbye`].
    pub fn goodbye(&mut self, block: bool) -> io::Result<()> {
        self.flush(block)?;
        if block { self.frames.goodbye() } else { self.frames.try_goodbye() }
    }

    /// How many of the messages that were taken the pipe does not have yet: the last ones.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// By how many calls the pipe was given all that it has.
    pub fn writes(&self) -> u64 {
        self.writes
    }

    fn wrote(&mut self) {
        self.writes += 1;
        self.last = Some(Instant::now());
    }
}

impl AsFd for BatchWriter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.frames.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;
    use crate::frame_reader::FrameReader;

    fn pipe(most: usize) -> (FrameReader, BatchWriter) {
        let (r, w) = io::pipe().expect("pipe");
        (FrameReader::new(r.into()), BatchWriter::new(FrameWriter::new(w.into()), most))
    }

    /// As if the last write was just now, however slow this machine is.
    fn in_a_hurry(w: &mut BatchWriter) {
        w.last = Some(Instant::now() + Duration::from_secs(3600));
    }

    #[test]
    fn after_a_silence_at_once_and_then_together() {
        let (mut r, mut w) = pipe(PIPE_BUF);
        w.write(b"first", true).expect("write");
        assert!(w.waiting() == 0 && r.try_read().expect("at once"));
        in_a_hurry(&mut w);
        for waiting in 1..=3 {
            w.write(b"next", true).expect("write");
            assert_eq!(w.waiting(), waiting);
        }
        assert_eq!(r.try_read().expect_err("gathered").kind(), ErrorKind::WouldBlock);
        w.flush(true).expect("flush");
        assert_eq!((w.waiting(), w.writes()), (0, 2));
        for _ in 0..3 {
            assert!(r.try_read().expect("all of them") && r.message() == b"next");
        }
        // Who comes late takes along those who wait, and who comes late alone goes at once.
        in_a_hurry(&mut w);
        for waiting in 1..=LOOK {
            w.write(b"waits", true).expect("write");
            assert_eq!(w.waiting(), waiting);
        }
        w.last = Some(Instant::now() - SILENCE);
        w.write(b"late", true).expect("write");
        assert_eq!(w.waiting(), 1);
        for _ in 0..LOOK {
            assert!(r.try_read().expect("taken along") && r.message() == b"waits");
        }
        w.goodbye(true).expect("goodbye");
        assert!(r.try_read().expect("flushed before the goodbye") && r.message() == b"late");
        w.last = Some(Instant::now() - SILENCE);
        w.write(b"alone", true).expect("write");
        assert!(w.waiting() == 0 && r.try_read().expect("at once"));
    }

    #[test]
    fn a_batch_is_no_longer_than_what_is_written_whole() {
        let (mut r, mut w) = pipe(usize::MAX);
        let message = [7; 96];
        w.write(&message, true).expect("write");
        let many = 1 + 10 * (PIPE_BUF / (HEADER + message.len()));
        let mut longest = 0;
        for _ in 1..many {
            in_a_hurry(&mut w);
            w.write(&message, true).expect("write");
            longest = longest.max(w.batch.len());
        }
        assert!((PIPE_BUF - 103..=PIPE_BUF).contains(&longest), "{longest}");
        w.flush(true).expect("flush");
        assert_eq!(w.writes(), 11);
        // A frame that would not fit goes by itself, behind those that wait.
        in_a_hurry(&mut w);
        w.write(&message, true).expect("write");
        in_a_hurry(&mut w);
        w.write(&[8; PIPE_BUF - HEADER + 1], true).expect("write");
        assert_eq!((w.waiting(), w.writes()), (0, 13));
        for i in 0..=many {
            assert!(r.try_read().expect("there") && r.message() == message, "{i}");
        }
        assert!(r.try_read().expect("there") && r.message().len() == PIPE_BUF - HEADER + 1);
    }

    #[test]
    fn without_batches_each_frame_goes_at_once() {
        let (mut r, mut w) = pipe(0);
        for _ in 0..3 {
            in_a_hurry(&mut w);
            w.write(b"x", true).expect("write");
            assert!(w.waiting() == 0 && r.try_read().expect("at once"));
        }
        assert_eq!(w.write(b"", true).expect_err("empty").kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn what_a_full_pipe_did_not_take_is_not_lost_and_not_doubled() {
        let (mut r, mut w) = pipe(PIPE_BUF);
        let mut taken = 0u64;
        let mut read = 0u64;
        while read < 10_000 {
            in_a_hurry(&mut w);
            match w.write(&taken.to_le_bytes(), false) {
                Ok(()) => taken += 1,
                Err(e) => {
                    assert_eq!(e.kind(), ErrorKind::WouldBlock);
                    assert!(w.goodbye(false).is_err() && w.flush(false).is_err(), "it is still full");
                    while r.try_read().is_ok() {
                        assert_eq!(r.message(), read.to_le_bytes());
                        read += 1;
                    }
                    assert_eq!(read + w.waiting() as u64, taken);
                }
            }
        }
    }
}
