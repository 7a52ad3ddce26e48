//! Datagrams: UDP, which carries messages and promises nothing.
//!
//! ```text
//!  0        4        8                 16
//! +--------+--------+-----------------+---------…
//! | "udp1" | kind   | stream          | body             integers little-endian
//! +--------+--------+-----------------+---------…
//!
//!  producer                        consumer                 any of these arrows may be
//!  HELLO (again …) ------------->  a new stream             lost, doubled or late
//!  <------------------------ HELLO
//!  DATA, DATA, DATA … ---------->  an item each
//!  GOODBYE (n sent, again …) --->  n − what came is lost
//!  <-------- GOODBYE (n have come)
//! ```
//!
//! *Guarantees.* What comes, comes whole: one send is one receive, and a checksum drops what was damaged. Nothing else.
//!
//! *Limits.* No connection: nobody is told whether anybody listens (but for `ECONNREFUSED`, if the other machine
//! is kind enough to say so), nor that somebody died. No flow control: who sends faster than the receiver reads
//! fills the receiver's buffer, and what comes then is dropped without a word ([`drops`] counts it). No order over
//! a network. No authentication: anybody can send, in anybody's name. So a datagram says itself that it is one
//! of ours and of which stream, and a stream is a random number. One datagram holds at most [`longest`] bytes, and
//! what is over the network's MTU travels in fragments, of which one lost is all lost.
//!
//! Whoever needs more than that on top of UDP builds TCP again, or takes QUIC.
//!
//! See also: udp(7), ip(7); RFC 768; W. R. Stevens, *UNIX Network Programming*, vol. 1, ch. 8 and 22.

use std::fs;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Bytes before the body.
pub const HEADER: usize = 16;
/// What tells our datagrams, and their version, from whatever else comes to the port.
pub const MAGIC: [u8; 4] = *b"udp1";

/// An item.
pub const DATA: u32 = 1;
/// From the producer: that was all, and it was a u64 of them; from the consumer: so many have come.
pub const GOODBYE: u32 = 2;
/// Is anybody there? Yes.
pub const HELLO: u32 = 3;
/// From the side that goes before the end: a u64, how many items it has sent, or how many have come.
pub const GONE: u32 = 6;

/// The longest body of a datagram to this address, in bytes: 65,535 less what IP and UDP say themselves.
pub fn longest(to: &SocketAddr) -> usize {
    (if to.is_ipv4() { 65_507 } else { 65_527 }) - HEADER
}

/// What stands before the body.
pub fn header(kind: u32, stream: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&kind.to_le_bytes());
    header[8..].copy_from_slice(&stream.to_le_bytes());
    header
}

/// Kind and stream, if it is a datagram of ours; the body is what follows the header.
pub fn parse(datagram: &[u8]) -> Option<(u32, u64)> {
    let (header, body) = datagram.split_first_chunk::<HEADER>()?;
    let (magic, rest) = header.split_first_chunk::<4>()?;
    let (kind, stream) = rest.split_first_chunk::<4>()?;
    let kind = u32::from_le_bytes(*kind);
    let fits = match kind {
        DATA => !body.is_empty(),
        GOODBYE | GONE => body.len() == 8,
        HELLO => body.is_empty(),
        _ => false,
    };
    (*magic == MAGIC && fits).then_some((kind, u64::from_le_bytes(*stream.first_chunk()?)))
}

/// The number in a [`GOODBYE`] or [`GONE`].
pub fn number(datagram: &[u8]) -> u64 {
    datagram.get(HEADER..).and_then(|body| body.first_chunk()).copied().map_or(0, u64::from_le_bytes)
}

/// Sleeps until something has come, a datagram or an error, or `at_most` is over.
///
/// # Errors
/// `Interrupted`.
pub fn wait(socket: &UdpSocket, until: PollFlags, at_most: Option<Duration>) -> io::Result<()> {
    // Rounded up: a millisecond too long is better than turning in circles for the rest of one.
    let patience =
        at_most.map(|t| PollTimeout::try_from(t + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX));
    poll(&mut [PollFd::new(socket.as_fd(), until)], patience.unwrap_or(PollTimeout::NONE))?;
    Ok(())
}

/// How many datagrams the kernel has dropped because this socket's buffer was full.
///
/// # Errors
/// What reading /proc/net fails with.
pub fn drops(socket: &UdpSocket) -> io::Result<u64> {
    let inode = nix::sys::stat::fstat(socket)?.st_ino.to_string();
    let table = if socket.local_addr()?.is_ipv4() { "/proc/self/net/udp" } else { "/proc/self/net/udp6" };
    // The tenth column is the socket's inode, the last one its drops.
    let text = fs::read_to_string(table)?;
    let line = text.lines().find(|l| l.split_whitespace().nth(9) == Some(&inode));
    Ok(line.and_then(|l| l.split_whitespace().last()?.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_told_from_others() {
        let whole = [&header(DATA, 7)[..], b"x"].concat();
        assert_eq!(parse(&whole), Some((DATA, 7)));
        assert_eq!(
            parse(&[&header(GOODBYE, u64::MAX)[..], &5u64.to_le_bytes()].concat()),
            Some((GOODBYE, u64::MAX))
        );
        assert_eq!(number(&[&header(GOODBYE, 1)[..], &5u64.to_le_bytes()].concat()), 5);
        for foreign in
            [&b""[..], b"\x12\x34\x01\0\0\x01", &header(DATA, 7), &header(GOODBYE, 7), &header(9, 7)]
        {
            assert_eq!(parse(foreign), None, "{foreign:?}");
        }
        assert_eq!(parse(&[&header(HELLO, 7)[..], b"x"].concat()), None);
        for i in 0..4 {
            let mut other = whole.clone();
            other[i] ^= 1;
            assert_eq!(parse(&other), None);
        }
    }

    #[test]
    fn what_a_full_buffer_drops_is_counted() {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let to = receiver.local_addr().expect("an address");
        for _ in 0..2000 {
            sender.send_to(&[7; 1000], to).expect("loopback takes all");
        }
        receiver.set_nonblocking(true).expect("set");
        let came = (0..2000).take_while(|_| receiver.recv(&mut [0; 2000]).is_ok()).count() as u64;
        assert!(came < 2000, "the buffer has room for all");
        assert_eq!(came + drops(&receiver).expect("a number"), 2000);
    }
}
