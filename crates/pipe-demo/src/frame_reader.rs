//! Reading messages from a byte stream: gather until a frame is whole.
//!
//! ```text
//!   buffer   [ …read… | message | #2 | #3 | #4 beg|          ]     one read takes all that is there
//!                     ^ start                     ^ end
//! ```
//!
//! What a frame is, and how it is written, is in `frame.rs`. A read returns what is in the pipe: a part of a frame, or
//! many frames at once, which then cost no further call.
//!
//! Guarantees: those of `frame.rs`. A length comes from another process: it is checked before memory is taken, and
//! memory is taken only for bytes that have come.
//! Limits: a message can be looked at until the next one is read.
//!
//! System calls: read, fcntl (`O_NONBLOCK`). See read(2), pipe(7).

use std::io::{self, ErrorKind};
use std::mem;
use std::ops::Range;
use std::os::fd::OwnedFd;

use crate::frame::{DATA, GOODBYE, HEADER, HELLO, MAX_BODY, VERSION, switch};

/// So much is read at once, and read ahead unless a message is longer.
const AHEAD: usize = 64 << 10;
/// After so many frames that are no messages the caller is let go: a pipe that is never empty never blocks, and a
/// call that never blocks is not interrupted.
const MANY: usize = 1000;

/// The end that is read.
#[derive(Debug)]
pub struct FrameReader {
    /// The read end.
    pub fd: OwnedFd,
    nonblocking: bool,
    /// The next message answers what was written a moment ago.
    answered: bool,
    /// Bytes that were read: `[start, end)` are not yet parsed.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Where the current message lies in `buffer`.
    message: Range<usize>,
    hellos: usize,
    goodbyes: usize,
    /// Frames that were no messages, ever.
    greetings: usize,
}

impl FrameReader {
    /// Reads frames from a pipe's read end, which must be blocking (as it is after `pipe` or `open`).
    pub fn new(fd: OwnedFd) -> FrameReader {
        FrameReader {
            fd,
            nonblocking: false,
            answered: false,
            buffer: vec![0; AHEAD],
            start: 0,
            end: 0,
            message: 0..0,
            hellos: 0,
            goodbyes: 0,
            greetings: 0,
        }
    }

    /// Waits for the next message: true if there is one (see [`FrameReader::message`]), false at the end of
    /// the stream, when every writer has closed its end.
    ///
    /// # Errors
    /// `Interrupted`, with nothing lost, by a signal, or when a thousand frames came without a message among them,
    /// so that the caller can look at the clock; `UnexpectedEof` for a frame that was cut;
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
        if mem::take(&mut self.answered) {
            return Err(ErrorKind::WouldBlock.into());
        }
        switch(&self.fd, &mut self.nonblocking, true)?;
        self.next()
    }

    /// Says that the next message answers what was written a moment ago, so it cannot be there yet: the next
    /// [`FrameReader::try_read`] does not look. A look, and the two calls of fcntl around it, are more than half of a
    /// round trip's calls.
    pub fn expect_an_answer(&mut self) {
        self.answered = true;
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
        let greetings = self.greetings;
        while !self.parse()? {
            if self.greetings - greetings > MANY {
                return Err(ErrorKind::Interrupted.into());
            }
            let room = self.room()?;
            match nix::unistd::read(&self.fd, &mut self.buffer[room])? {
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
            if kind == DATA {
                self.message = body..body + length;
                return Ok(true);
            }
            self.greetings += 1;
            match kind {
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

    /// Where the next bytes go: behind those that are there. Memory grows with the bytes that came, not with a
    /// claim.
    fn room(&mut self) -> io::Result<Range<usize>> {
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
        // Of a long message no more than all of it: what is read behind it would have to be moved to the front. As long
        // as its header has not come it is taken to be as long as the last one.
        let length = self.header()?.map_or(self.message.len(), |(length, _)| length);
        let all = if length > AHEAD { self.start + HEADER + length } else { usize::MAX };
        // And piece by piece, so that the writer goes on while the next one is read.
        Ok(self.end..all.min(self.buffer.len()).min(self.end + AHEAD))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FrameWriter, header};

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
    fn long_messages_are_not_moved_and_short_ones_are_read_ahead() {
        let (mut r, mut w) = pipe();
        let long = vec![7; 150_000];
        let (mut whole, mut in_place) = (0, 0);
        std::thread::scope(|s| {
            s.spawn(|| (0..50).for_each(|_| w.write(&long).expect("write")));
            for n in 0..50 {
                whole += u32::from(r.read().expect("read") && r.message() == long);
                // Of the first one nobody could know that it is long.
                in_place += u32::from(n > 0 && r.message.start == HEADER && r.start == r.end);
            }
        });
        assert_eq!((whole, in_place), (50, 49));
        (0..10).for_each(|_| w.write(b"short").expect("write"));
        assert!(r.read().expect("read") && r.end - r.start == 9 * (HEADER + 5));
    }

    #[test]
    fn who_floods_a_pipe_with_greetings_does_not_keep_its_reader() {
        let (mut r, mut w) = pipe();
        w.hello(true).expect("hello");
        let greetings = [header(GOODBYE, &[]), header(HELLO, VERSION), *VERSION].concat();
        let mut flood = || while w.write_encoded(&greetings, false).is_ok() {};
        let mut let_go = 0;
        for _ in 0..20 {
            flood();
            match r.try_read() {
                Err(e) if e.kind() == ErrorKind::Interrupted => let_go += 1,
                read => panic!("{read:?}"),
            }
        }
        assert_eq!(let_go, 20);
        // Those that do not come in masses are read over.
        while r.try_read().expect_err("no message").kind() == ErrorKind::Interrupted {}
        (0..10).for_each(|_| w.write_encoded(&greetings, true).expect("greet"));
        w.write(b"x").expect("write");
        assert!(r.read().expect("read") && r.message() == b"x");
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
