//! Where a producer's items come from: made up, or a file's bytes.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::args::Producer;
use crate::item::{self, HEADER, Header, now_ns};
use crate::session::Session;

/// How much of a payload is made, read or hashed at once when it is not kept whole.
const PIECE: usize = 64 * 1024;

/// The items of one run, one after the other.
#[derive(Debug)]
pub struct Items {
    source: Source,
    size: usize,
    left: Option<u64>,
    interval: Duration,
    stream: u64,
    /// Asked for once: getpid(2) is a system call, with shared memory the only one that an item would cost.
    pid: u32,
    seq: u64,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Source {
    Generated,
    Chunks(Input),
    Lines(Input),
}

impl Items {
    /// What the arguments ask for. `--input` is opened here, so that a wrong path creates nothing.
    ///
    /// # Errors
    /// When the input cannot be opened.
    pub fn new(args: &Producer, session: &mut Session) -> Result<Items> {
        let source = match &args.input {
            None => Source::Generated,
            Some(path) => {
                let input =
                    Input::open(path, session).with_context(|| format!("open --input {}", path.display()))?;
                if args.lines { Source::Lines(input) } else { Source::Chunks(input) }
            }
        };
        session.report.expect(args.count());
        Ok(Items {
            source,
            size: args.size(),
            left: args.count(),
            interval: args.interval(),
            stream: u64::from_ne_bytes(random()?),
            pid: std::process::id(),
            seq: 0,
            buffer: Vec::new(),
        })
    }

    /// The random number that all items of this run carry.
    pub fn stream(&self) -> u64 {
        self.stream
    }

    /// The encoded length of the longest item that can come.
    pub fn longest(&self) -> usize {
        HEADER + self.size
    }

    /// Whether the next item may take its time: there is a pause before it, or a read of the input. Nothing that
    /// somebody could have now should wait for it.
    pub fn may_pause(&self) -> bool {
        let reads = match &self.source {
            Source::Generated => false,
            // A regular file is not waited for, and its next chunk mostly in memory.
            Source::Chunks(input) => !input.is_file,
            Source::Lines(input) => !input.ahead.contains(&b'\n'),
        };
        reads || !self.interval.is_zero()
    }

    /// The next item, encoded; `None` after the last. Keeps the pause between two items.
    ///
    /// # Errors
    /// When the run is stopped, or the input fails.
    pub fn next(&mut self, session: &mut Session) -> Result<Option<&[u8]>> {
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.len() < self.longest() {
            buffer.resize(self.longest(), 0);
        }
        let built = self.build(session, &mut buffer);
        self.buffer = buffer;
        Ok(built?.map(|len| &self.buffer[..len]))
    }

    /// The next item, encoded in the first bytes of `room`, which holds the longest: its header and encoded length.
    ///
    /// # Errors
    /// As [`Items::next`].
    ///
    /// # Panics
    /// If `room` is shorter than [`Items::longest`].
    pub fn next_in(
        &mut self,
        session: &mut Session,
        room: &mut [u8],
    ) -> Result<Option<([u8; HEADER], usize)>> {
        let built = self.build(session, room)?;
        Ok(built.and_then(|len| Some((*room.first_chunk()?, len))))
    }

    fn build(&mut self, session: &mut Session, room: &mut [u8]) -> Result<Option<usize>> {
        if !self.another(session)? {
            return Ok(None);
        }
        let payload = &mut room[HEADER..HEADER + self.size];
        let mut crc = None;
        let len = match &mut self.source {
            Source::Generated => {
                generate(self.seq, 0, payload);
                self.size
            }
            Source::Chunks(input) if payload.len() <= PIECE => input.fill(payload, session)?,
            Source::Chunks(input) => {
                // Each piece is hashed while it is in the cache.
                let crc = crc.insert(crc32fast::Hasher::new());
                let mut len = 0;
                for piece in payload.chunks_mut(PIECE) {
                    let n = input.fill(piece, session)?;
                    crc.update(&piece[..n]);
                    len += n;
                }
                len
            }
            Source::Lines(input) => input.line(payload, session)?,
        };
        if len == 0 && !matches!(self.source, Source::Generated) {
            return Ok(None);
        }
        let item = &mut room[..HEADER + len];
        let header = Header { stream: self.stream, seq: self.seq, sent_ns: 0, pid: self.pid, crc: 0 };
        match crc {
            None => item::seal_now(item, &header),
            Some(crc) => item[..HEADER].copy_from_slice(&Header { sent_ns: now_ns(), ..header }.seal(&crc)),
        }
        self.seq += 1;
        Ok(Some(len + HEADER))
    }

    /// The next item in pieces, for a channel in which it can be built in place: `put(session, offset, bytes)`
    /// is called for the payload's pieces, and for the header last, or for all of a short item. Nothing is put where
    /// there is no item, so the first call may wait for room. The item's header and encoded length.
    ///
    /// # Errors
    /// As [`Items::next`], and what `put` fails with.
    pub fn next_in_pieces(
        &mut self,
        session: &mut Session,
        mut put: impl FnMut(&mut Session, usize, &[u8]) -> Result<()>,
    ) -> Result<Option<([u8; HEADER], usize)>> {
        if self.size <= PIECE || matches!(self.source, Source::Lines(_)) {
            // In one piece, and hashed as one: to combine two checksums takes longer than to make both. A line is
            // found in a buffer that holds the longest, so it is in one piece already.
            let Some(item) = self.next(session)? else { return Ok(None) };
            put(session, 0, item)?;
            return Ok(item.first_chunk().map(|head| (*head, item.len())));
        }
        if !self.another(session)? {
            return Ok(None);
        }
        self.buffer.resize(PIECE.min(self.size), 0);
        let mut crc = crc32fast::Hasher::new();
        let mut len = 0;
        loop {
            let piece = &mut self.buffer[..PIECE.min(self.size - len)];
            let n = match &mut self.source {
                Source::Chunks(input) => input.fill(piece, session)?,
                _ => {
                    generate(self.seq, len, piece);
                    piece.len()
                }
            };
            if len + n == 0 && self.size > 0 {
                return Ok(None);
            }
            crc.update(&self.buffer[..n]);
            put(session, HEADER + len, &self.buffer[..n])?;
            len += n;
            if n < PIECE || len == self.size {
                break;
            }
        }
        let header = Header { stream: self.stream, seq: self.seq, sent_ns: now_ns(), pid: self.pid, crc: 0 };
        let head = header.seal(&crc);
        put(session, 0, &head)?;
        self.seq += 1;
        Ok(Some((head, HEADER + len)))
    }

    /// Counts down and keeps the pause: whether there is to be another item.
    fn another(&mut self, session: &mut Session) -> Result<bool> {
        match &mut self.left {
            Some(0) => return Ok(false),
            Some(left) => *left -= 1,
            None => {}
        }
        if self.seq > 0 && !self.interval.is_zero() {
            session.sleep(self.interval)?;
        }
        session.check()?;
        Ok(true)
    }
}

/// Eight bytes that nobody else has.
fn random() -> Result<[u8; 8]> {
    use std::io::Read;
    let mut bytes = [0; 8];
    File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut bytes)).context("read /dev/urandom")?;
    Ok(bytes)
}

/// The payload of item `seq` from `offset` on: its number, then letters. Readable with `xxd`, and different
/// in every byte from the next item's, so that a torn item shows.
fn generate(seq: u64, offset: usize, payload: &mut [u8]) {
    const LETTERS: &[u8; 26] = b"abcdefghijklmnopqrstuvwxyz";
    const BLOCK: [u8; 26 * 160] = {
        let mut block = [0; 26 * 160];
        let mut i = 0;
        while i < block.len() {
            block[i] = LETTERS[i % 26];
            i += 1;
        }
        block
    };
    let mut rest = &mut *payload;
    let mut at = (seq as usize).wrapping_add(offset) % 26;
    while !rest.is_empty() {
        let n = rest.len().min(BLOCK.len() - at);
        let (now, later) = rest.split_at_mut(n);
        now.copy_from_slice(&BLOCK[at..at + n]);
        rest = later;
        at = 0;
    }
    if offset == 0 {
        let mut stamp = *b"item 0000000000 ";
        let mut n = seq;
        for two in stamp[5..15].rchunks_exact_mut(2) {
            two.copy_from_slice(&[b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8]);
            n /= 100;
            if n == 0 {
                break;
            }
        }
        let n = payload.len().min(stamp.len());
        payload[..n].copy_from_slice(&stamp[..n]);
    }
}

/// A file, pipe or terminal that is read to its end.
#[derive(Debug)]
struct Input {
    fd: OwnedFd,
    is_file: bool,
    /// What was read ahead while looking for the end of a line.
    ahead: Vec<u8>,
    ended: bool,
}

impl Input {
    fn open(path: &std::path::Path, session: &mut Session) -> Result<Input> {
        let fd = if path.as_os_str() == "-" {
            io::stdin().as_fd().try_clone_to_owned()?
        } else {
            let mut opened = None;
            // The open of a FIFO waits for its writer.
            session.transfer(|| {
                opened = Some(open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?);
                Ok(0)
            })?;
            opened.ok_or(io::Error::from(ErrorKind::NotFound))?
        };
        let meta = File::from(fd.try_clone()?).metadata()?;
        if meta.is_dir() {
            return Err(io::Error::from(ErrorKind::IsADirectory).into());
        }
        Ok(Input { fd, is_file: meta.is_file(), ahead: Vec::new(), ended: false })
    }

    fn read(&mut self, buffer: &mut [u8], session: &mut Session) -> Result<usize> {
        let n = session.transfer(|| Ok(nix::unistd::read(&self.fd, buffer)?)).context("read --input")?;
        self.ended |= n == 0 && !buffer.is_empty();
        Ok(n)
    }

    /// Fills `buffer`, or what is left of the input; how much that was.
    fn fill(&mut self, buffer: &mut [u8], session: &mut Session) -> Result<usize> {
        let mut len = 0;
        while len < buffer.len() && !self.ended {
            len += self.read(&mut buffer[len..], session)?;
        }
        Ok(len)
    }

    /// The next line, with its newline; an unfinished one at the end is a line too.
    fn line(&mut self, buffer: &mut [u8], session: &mut Session) -> Result<usize> {
        let mut searched = 0;
        loop {
            let end = self.ahead[searched..].iter().position(|&b| b == b'\n').map(|i| searched + i + 1);
            let len = match end {
                Some(len) => len,
                None if self.ended => self.ahead.len(),
                None if self.ahead.len() > buffer.len() => self.ahead.len(),
                None => {
                    searched = self.ahead.len();
                    let mut more = [0; 4096];
                    let n = self.read(&mut more, session)?;
                    self.ahead.extend_from_slice(&more[..n]);
                    continue;
                }
            };
            if len > buffer.len() {
                // Not wrong usage (2): by now the channel is there, and lines before this one are in it.
                bail!("a line of --input is longer than --size {}; give a larger --size", buffer.len());
            }
            buffer[..len].copy_from_slice(&self.ahead[..len]);
            self.ahead.drain(..len);
            return Ok(len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_payload_make_the_whole() {
        let mut whole = vec![0; 10_000];
        generate(7, 0, &mut whole);
        assert!(whole.starts_with(b"item 0000000007 "));
        let mut pieces = vec![0; 10_000];
        for (i, piece) in pieces.chunks_mut(777).enumerate() {
            generate(7, i * 777, piece);
        }
        assert!(whole == pieces);
        let mut next = vec![0; 10_000];
        generate(8, 0, &mut next);
        assert!(whole[16..].iter().zip(&next[16..]).all(|(a, b)| a != b), "every byte differs");
    }
}
