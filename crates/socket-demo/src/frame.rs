//! Frames: messages with an end, over a stream that has none.
//!
//! ```text
//!  0        4        8                     8 + length
//! +--------+--------+---------------------+
//! | length | kind   | body                |      both integers 32 bits, little-endian
//! +--------+--------+---------------------+
//! ```
//!
//! *Guarantees.* A frame is handed out whole or not at all, whatever the pieces it comes in. A length is
//! checked against what may come ([`Rules`]) before memory is taken for it, and even then memory grows only
//! with the bytes that have really come. A call that a signal interrupted, or that would have blocked, has
//! lost nothing: call it again.
//!
//! *Limits.* Nothing is known of what was written but not yet read by the other side: that takes an answer.
//! A stream that was cut in the middle of a frame cannot be continued.
//!
//! *System calls.* read, writev: on any descriptor, blocking or not. As much is read as has come, up to the
//! buffer's size, so that many small frames cost one call.
//!
//! See also: read(2), writev(2), unix(7), tcp(7); W. R. Stevens, *UNIX Network Programming*, vol. 1, ch. 3.9.

use std::io::{self, ErrorKind, IoSlice};
use std::ops::RangeInclusive;
use std::os::fd::AsFd;

/// Bytes before the body.
pub const HEADER: usize = 8;

/// One message of whoever uses the connection.
pub const DATA: u32 = 1;
/// The last frame of either side; its body is a u64: how many frames the sender sent, or took.
pub const GOODBYE: u32 = 2;
/// The first frame of either side: see [`Hello`](crate::dial::Hello).
pub const HELLO: u32 = 3;
/// A call of a procedure (`rpc-demo`).
pub const REQUEST: u32 = 4;
/// The answer to a [`REQUEST`].
pub const REPLY: u32 = 5;
/// From who receives: how many frames it has dealt with (u64); see [`window`](crate::window). 6 is a datagram's.
pub const ACK: u32 = 7;

/// What is read at once when there is so much.
const CHUNK: usize = 64 * 1024;
/// What is read at first: a connection by which little comes at a time costs no more.
const PAGE: usize = 4 * 1024;

/// Which kinds of frames may come, and how many bytes the body of each may have.
#[derive(Clone, Debug)]
pub struct Rules(Vec<(u32, RangeInclusive<usize>)>);

impl Rules {
    /// The kinds that may come; all others are refused.
    pub fn new(kinds: impl IntoIterator<Item = (u32, RangeInclusive<usize>)>) -> Rules {
        Rules(kinds.into_iter().collect())
    }

    /// The peer's claim is checked before it is used.
    pub(crate) fn check(&self, kind: u32, len: usize) -> io::Result<()> {
        let why = match self.0.iter().find(|(k, _)| *k == kind) {
            Some((_, lens)) if lens.contains(&len) => return Ok(()),
            Some((_, lens)) => {
                format!("a frame of kind {kind} claims {len} bytes, not {} to {}", lens.start(), lens.end())
            }
            None => format!("a frame of a kind ({kind:#x}) that has no place here"),
        };
        Err(io::Error::new(ErrorKind::InvalidData, why))
    }
}

/// Takes frames out of a stream.
///
/// ```text
///  buffer  | frames read and done with | this frame | the next, or part of it |  room  |
///          0                           start        start + taken             end
/// ```
#[derive(Debug)]
pub struct FrameReader {
    rules: Rules,
    buffer: Vec<u8>,
    start: usize,
    taken: usize,
    end: usize,
}

impl FrameReader {
    /// A reader that takes no memory until something comes.
    pub fn new(rules: Rules) -> FrameReader {
        FrameReader { rules, buffer: Vec::new(), start: 0, taken: 0, end: 0 }
    }

    /// Other frames may come from now on.
    pub fn expect(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Steps to the next frame and returns its kind, if all of it has been read: its body is then
    /// [`FrameReader::body`], until the next call.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] if the rules do not allow it; nothing can be read after that.
    pub fn next_frame(&mut self) -> io::Result<Option<u32>> {
        self.start += std::mem::take(&mut self.taken);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            return Ok(None);
        }
        if let Some((len, kind)) = self.header() {
            self.rules.check(kind, len)?;
            if self.end - self.start >= HEADER + len {
                self.taken = HEADER + len;
                return Ok(Some(kind));
            }
        }
        Ok(None)
    }

    /// The body of the frame that [`FrameReader::next_frame`] found.
    pub fn body(&self) -> &[u8] {
        self.buffer[self.start..self.start + self.taken].get(HEADER..).unwrap_or_default()
    }

    /// Reads once what has come, up to the room in the buffer; to be called when there is no whole frame.
    /// Returns how much that was: 0 is the stream's end, see [`FrameReader::cut`].
    ///
    /// # Errors
    /// `Interrupted` and `WouldBlock` (on a non-blocking descriptor), which lose nothing, and what read(2)
    /// fails with.
    pub fn fill(&mut self, stream: &impl AsFd) -> io::Result<usize> {
        if self.end == self.buffer.len() && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        } else if self.end == self.buffer.len() {
            // A longer frame than all before. Its length was checked; still, memory only doubles with what
            // has come, so that whoever claims much and sends little costs little.
            let whole = self.header().map_or(0, |(len, _)| HEADER + len);
            self.buffer.resize((2 * self.end).min(whole).max(PAGE), 0);
        }
        let n = nix::unistd::read(stream, &mut self.buffer[self.end..])?;
        self.end += n;
        if self.end == self.buffer.len() && self.end < CHUNK {
            // There was more than room for it.
            self.buffer.resize(2 * self.end, 0);
        }
        Ok(n)
    }

    /// The next frame's kind, reading as often as it takes; `None` at the stream's clean end.
    ///
    /// # Errors
    /// As [`FrameReader::next_frame`] and [`FrameReader::fill`]; `UnexpectedEof` if a frame was cut.
    pub fn read(&mut self, stream: &impl AsFd) -> io::Result<Option<u32>> {
        loop {
            if let Some(kind) = self.next_frame()? {
                return Ok(Some(kind));
            }
            // `next_frame` has stepped over the frame handed out before, so being called again is safe.
            if self.fill(stream)? == 0 {
                return self.cut().map_or(Ok(None), Err);
            }
        }
    }

    /// What a stream that ends here has cut: `None` if it ends between two frames.
    pub fn cut(&self) -> Option<io::Error> {
        let partial = self.partial()?;
        Some(io::Error::new(ErrorKind::UnexpectedEof, format!("frame truncated after {partial}")))
    }

    /// How much has come of a frame that is not whole: `50 of 108 bytes`.
    pub fn partial(&self) -> Option<String> {
        let came = self.end - self.start - self.taken;
        match self.header() {
            _ if came == 0 => None,
            Some((len, _)) if self.taken == 0 => Some(format!("{came} of {} bytes", HEADER + len)),
            _ => Some(format!("{came} of at least {HEADER} bytes")),
        }
    }

    /// Length and kind of the frame at `start`, if so much has come.
    fn header(&self) -> Option<(usize, u32)> {
        let header: &[u8; HEADER] = self.buffer[self.start..self.end].first_chunk()?;
        let [len, kind] = [&header[..4], &header[4..]].map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        Some((len as usize, kind))
    }
}

/// Puts frames into a stream.
#[derive(Debug, Default)]
pub struct FrameWriter {
    /// How much of the current frame has been written.
    pub(crate) written: usize,
}

impl FrameWriter {
    /// Writes a frame. After `Interrupted` or `WouldBlock` call it again with the same frame: it goes on
    /// where it stopped. Any other frame in its place would destroy the stream.
    ///
    /// # Errors
    /// `InvalidInput` if the body is longer than the length can say; what writev(2) fails with.
    pub fn write(&mut self, stream: &impl AsFd, kind: u32, body: &[u8]) -> io::Result<()> {
        let header = header(kind, body.len())?;
        while self.written < HEADER + body.len() {
            // One call for both: a header on its own would travel as a segment of its own.
            let head = &header[self.written.min(HEADER)..];
            let rest = &body[self.written.saturating_sub(HEADER)..];
            self.written += nix::sys::uio::writev(stream, &[IoSlice::new(head), IoSlice::new(rest)])?;
        }
        self.written = 0;
        Ok(())
    }

    /// Whether a frame has been written in part, so that no other can follow.
    pub fn is_inside_frame(&self) -> bool {
        self.written > 0
    }
}

/// The eight bytes before a body of `len` bytes.
///
/// # Errors
/// `InvalidInput` if `len` has more than 32 bits.
pub fn header(kind: u32, len: usize) -> io::Result<[u8; HEADER]> {
    let len =
        u32::try_from(len).map_err(|_| io::Error::new(ErrorKind::InvalidInput, "a frame over 4 GiB"))?;
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&len.to_le_bytes());
    header[4..].copy_from_slice(&kind.to_le_bytes());
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    const MAX: usize = 1 << 20;

    fn pair() -> (UnixStream, UnixStream, FrameReader) {
        let (a, b) = UnixStream::pair().expect("a pair of sockets");
        a.set_nonblocking(true).expect("set");
        b.set_nonblocking(true).expect("set");
        (a, b, FrameReader::new(Rules::new([(DATA, 1..=MAX), (GOODBYE, 8..=8)])))
    }

    #[test]
    fn a_frame_may_come_byte_by_byte() {
        let (mut a, b, mut reader) = pair();
        let bytes = [&header(DATA, 5).unwrap()[..], b"hello", &header(DATA, 2).unwrap(), b"yo"].concat();
        let mut got = Vec::new();
        for byte in bytes {
            assert_eq!(reader.read(&b).unwrap_err().kind(), ErrorKind::WouldBlock);
            a.write_all(&[byte]).expect("room");
            if let Ok(Some(DATA)) = reader.read(&b) {
                got.push(reader.body().to_vec());
                assert_eq!(reader.partial(), None);
            } else {
                assert!(reader.partial().is_some());
            }
        }
        assert_eq!(got, [b"hello".to_vec(), b"yo".to_vec()]);
    }

    #[test]
    fn frames_of_all_sizes_through_a_full_socket() {
        let (a, b, mut reader) = pair();
        let mut writer = FrameWriter::default();
        let bodies: Vec<Vec<u8>> = [1, 7, 8, 65_527, 65_528, 65_529, 300_000, 3, MAX, 1, 70_000]
            .iter()
            .map(|&n: &usize| (0..n).map(|i| (i * 31 + n) as u8).collect())
            .collect();
        let mut got = 0;
        for body in &bodies {
            while let Err(e) = writer.write(&a, DATA, body) {
                assert_eq!(e.kind(), ErrorKind::WouldBlock);
                while let Ok(Some(_)) = reader.read(&b) {
                    assert!(reader.body() == bodies[got]);
                    got += 1;
                }
            }
        }
        drop(a);
        while let Some(kind) = reader.read(&b).expect("the rest") {
            assert!(kind == DATA && reader.body() == bodies[got]);
            got += 1;
        }
        assert_eq!(got, bodies.len());
        assert!(reader.buffer.len() <= MAX + HEADER, "no more memory than the longest frame");
    }

    #[test]
    fn what_the_rules_forbid_takes_no_memory() {
        for (kind, len) in
            [(DATA, u32::MAX), (DATA, 1 << 31), (DATA, 0), (DATA, MAX as u32 + 1), (9, 1), (0, 0), (2, 7)]
        {
            let (mut a, b, mut reader) = pair();
            a.write_all(&[len.to_le_bytes(), kind.to_le_bytes()].concat()).expect("room");
            assert_eq!(reader.read(&b).unwrap_err().kind(), ErrorKind::InvalidData, "{kind} {len}");
            assert!(reader.buffer.len() <= PAGE);
        }
        let (mut a, b, mut reader) = pair();
        a.write_all(&header(DATA, MAX).unwrap()).expect("room");
        a.write_all(&[1; 100]).expect("room");
        assert_eq!(reader.read(&b).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(reader.buffer.len(), PAGE, "a claim is not believed before the bytes come");
    }

    #[test]
    fn an_end_inside_a_frame_is_no_clean_end() {
        for (sent, said) in [
            (&b"\x05\0\0"[..], "frame truncated after 3 of at least 8 bytes"),
            (b"\x05\0\0\0\x01\0\0\0hell", "frame truncated after 12 of 13 bytes"),
        ] {
            let (mut a, b, mut reader) = pair();
            a.write_all(b"\x01\0\0\0\x01\0\0\0!").expect("room");
            a.write_all(sent).expect("room");
            drop(a);
            assert_eq!(reader.read(&b).expect("a whole frame first"), Some(DATA));
            let cut = reader.read(&b).unwrap_err();
            assert_eq!((cut.kind(), cut.to_string().as_str()), (ErrorKind::UnexpectedEof, said));
        }
        let (a, b, mut reader) = pair();
        drop(a);
        assert_eq!(reader.read(&b).expect("a clean end"), None);
    }
}
