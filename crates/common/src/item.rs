//! Items: what a producer sends and a consumer checks. A mechanism carries the encoded bytes and knows
//! nothing of them.
//!
//! ```text
//!  0        8        16       24     28     32
//! +--------+--------+--------+------+------+---------…
//! | stream | seq    | sent   | pid  | crc  | payload
//! +--------+--------+--------+------+------+---------…
//! ```
//!
//! All integers are little-endian. `crc` is the CRC-32 (the polynomial of zlib and Ethernet) of the 28 bytes
//! before it and the payload behind it.

use rustix::time::{ClockId, clock_gettime};

/// Bytes before the payload.
pub const HEADER: usize = 32;

/// Bytes of the header that the checksum covers: all but itself.
const CHECKED: usize = 28;

/// Nanoseconds of `CLOCK_MONOTONIC`: one clock for all processes of a machine.
pub fn now_ns() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// What an item says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Who sent it: 64 random bits, because pids collide between hosts and are reused.
    pub stream: u64,
    /// Its number in that stream, from 0.
    pub seq: u64,
    /// When it was sent, see [`now_ns`].
    pub sent_ns: u64,
    /// The producer's process id, to be shown.
    pub pid: u32,
    /// The checksum as found; [`Header::seal`] fills it in.
    pub crc: u32,
}

impl Header {
    /// The header's bytes, with the checksum of itself and of a payload that `payload` has hashed.
    pub fn seal(&self, payload: &crc32fast::Hasher) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..8].copy_from_slice(&self.stream.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.seq.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sent_ns.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.pid.to_le_bytes());
        let mut all = crc32fast::Hasher::new();
        all.update(&bytes[..CHECKED]);
        all.combine(payload);
        bytes[28..32].copy_from_slice(&all.finalize().to_le_bytes());
        bytes
    }

    /// Reads a header; nothing is checked yet.
    pub fn parse(bytes: &[u8; HEADER]) -> Header {
        let u64_at = |i: usize| u64::from_le_bytes(bytes[i..i + 8].try_into().expect("eight bytes"));
        let u32_at = |i: usize| u32::from_le_bytes(bytes[i..i + 4].try_into().expect("four bytes"));
        Header { stream: u64_at(0), seq: u64_at(8), sent_ns: u64_at(16), pid: u32_at(24), crc: u32_at(28) }
    }
}

/// Writes header and checksum into the first [`HEADER`] bytes of `item`, whose payload is already there.
///
/// # Panics
/// If `item` is shorter than a header.
pub fn seal(item: &mut [u8], header: &Header) {
    seal_at(item, header, || header.sent_ns);
}

/// The same with the time of this moment.
///
/// # Panics
/// As [`seal`].
pub fn seal_now(item: &mut [u8], header: &Header) {
    seal_at(item, header, now_ns);
}

fn seal_at(item: &mut [u8], header: &Header, time: impl FnOnce() -> u64) {
    let (head, payload) = item.split_at_mut(HEADER);
    head[0..8].copy_from_slice(&header.stream.to_le_bytes());
    head[8..16].copy_from_slice(&header.seq.to_le_bytes());
    head[24..28].copy_from_slice(&header.pid.to_le_bytes());
    // Last: a processor that reads in one piece what it has just written in several waits until that is all in its
    // cache, which it is after the look at the clock.
    head[16..24].copy_from_slice(&time().to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head[..CHECKED]);
    crc.update(payload);
    head[28..32].copy_from_slice(&crc.finalize().to_le_bytes());
}

/// Checks an item that comes in pieces (from a mapped file, say), so that it need not be copied whole.
#[derive(Debug)]
pub struct Check {
    /// The header, to be believed only once [`Check::is_intact`] has said so.
    pub header: Header,
    crc: crc32fast::Hasher,
}

impl Check {
    /// Starts with the item's first [`HEADER`] bytes.
    pub fn new(head: &[u8; HEADER]) -> Check {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&head[..CHECKED]);
        Check { header: Header::parse(head), crc }
    }

    /// Goes on with the payload's next bytes.
    pub fn update(&mut self, piece: &[u8]) {
        self.crc.update(piece);
    }

    /// Whether the checksum fits all that was given.
    pub fn is_intact(self) -> bool {
        self.crc.finalize() == self.header.crc
    }
}

/// The header and payload of a whole item, or `None` if it is too short or its checksum does not fit.
pub fn open(item: &[u8]) -> Option<(Header, &[u8])> {
    let (head, payload) = item.split_first_chunk::<HEADER>()?;
    let mut check = Check::new(head);
    let header = check.header;
    check.update(payload);
    check.is_intact().then_some((header, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: Header = Header { stream: 7, seq: 3, sent_ns: 99, pid: 4711, crc: 0 };

    #[test]
    fn every_flipped_bit_is_found() {
        let mut item = [0; HEADER + 5];
        item[HEADER..].copy_from_slice(b"hello");
        seal(&mut item, &H);
        let (header, payload) = open(&item).expect("intact");
        assert_eq!((header.stream, header.seq, header.pid, payload), (7, 3, 4711, &b"hello"[..]));
        for bit in 0..item.len() * 8 {
            item[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&item).is_none(), "bit {bit}");
            item[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(open(&item[..HEADER - 1]).is_none() && open(&item[..HEADER]).is_none());
    }

    #[test]
    fn pieces_and_whole_agree() {
        let mut whole = [0; HEADER + 5];
        whole[HEADER..].copy_from_slice(b"hello");
        seal(&mut whole, &H);
        let mut payload = crc32fast::Hasher::new();
        payload.update(b"he");
        payload.update(b"llo");
        assert_eq!(H.seal(&payload), whole[..HEADER]);
    }
}
