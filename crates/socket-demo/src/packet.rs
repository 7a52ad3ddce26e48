//! Packets: messages whose end the kernel keeps (`SOCK_SEQPACKET`), so that nobody has to say a length.
//!
//! ```text
//!  0        4                      the packet's end, which is no byte
//! +--------+---------------------+
//! | kind   | body                |      an integer of 32 bits, little-endian
//! +--------+---------------------+
//! ```
//!
//! *Guarantees.* What one call sends, one call receives: never two packets at once, never a part of one. They
//! come in order and none is lost. How long a packet is says the kernel, who knows; still that is checked against
//! what may come ([`Rules`]) before memory is taken for it.
//!
//! *Limits.* A packet is in the sender's buffer as a whole, so it has at most `SO_SNDBUF` − 32 bytes
//! ([`longest`]), and a longer one is `EMSGSIZE`. Of a packet that is longer than the receiver's buffer the kernel
//! throws the rest away, so the receiver asks for the length first: two calls for each packet, where many
//! frames come with one. An empty packet cannot be told from the end of the connection, so there is none. Only
//! on one machine: TCP has no packets, and SCTP, which has, is another family.
//!
//! *System calls.* recv (with `MSG_PEEK` and `MSG_TRUNC`), writev, getsockopt(SO_SNDBUF).
//!
//! See also: unix(7), recv(2), socket(7); M. Kerrisk, *The Linux Programming Interface*, ch. 57.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, getsockopt, recv, socket, sockopt};

use crate::frame::Rules;

/// Bytes before the body.
pub const HEADER: usize = 4;

/// The longest body that fits into a packet of this socket, in bytes.
///
/// # Errors
/// What getsockopt(2) fails with.
pub fn longest(socket: &impl AsFd) -> io::Result<usize> {
    // unix_dgram_sendmsg() in the kernel's net/unix/af_unix.c keeps 32 bytes back.
    Ok(getsockopt(socket, sockopt::SndBuf)?.saturating_sub(32 + HEADER))
}

/// Refuses a body that fits into no packet, before there is a connection.
///
/// # Errors
/// `InvalidInput`, naming both lengths.
pub fn check(len: usize) -> io::Result<()> {
    let max = longest(&socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?)?;
    if len <= max {
        return Ok(());
    }
    let why = format!(
        "an item of {len} bytes (with its header) is one packet, and that holds up to {max} (net.core.wmem_default): take a smaller --size, or --transport unix"
    );
    Err(io::Error::new(ErrorKind::InvalidInput, why))
}

/// Receives packets.
#[derive(Debug)]
pub struct PacketReader {
    rules: Rules,
    buffer: Vec<u8>,
    len: usize,
    /// The kind of the packet in the buffer, until it is handed out.
    fresh: Option<u32>,
}

impl PacketReader {
    /// A reader that takes no memory until something comes.
    pub fn new(rules: Rules) -> PacketReader {
        PacketReader { rules, buffer: Vec::new(), len: HEADER, fresh: None }
    }

    /// Other packets may come from now on.
    pub fn expect(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// The kind of the packet that [`PacketReader::fill`] has received, once.
    pub fn next_packet(&mut self) -> Option<u32> {
        self.fresh.take()
    }

    /// The body of the packet that was received last.
    pub fn body(&self) -> &[u8] {
        self.buffer.get(HEADER..self.len).unwrap_or_default()
    }

    /// Receives one packet, and returns its length: 0 is the connection's end.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] if the rules do not allow it, `WouldBlock` on a non-blocking socket, and what
    /// recv(2) fails with.
    pub fn fill(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        let fd = socket.as_fd().as_raw_fd();
        let mut head = [0; HEADER];
        // A look: how long it is, and its kind. It stays where it is.
        let len = recv(fd, &mut head, MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC)?;
        if len == 0 {
            return Ok(0);
        }
        let Some(body) = len.checked_sub(HEADER) else {
            return Err(io::Error::new(ErrorKind::InvalidData, format!("a packet of {len} bytes")));
        };
        let kind = u32::from_le_bytes(head);
        self.rules.check(kind, body)?;
        if self.buffer.len() < len {
            self.buffer.resize(len, 0);
        }
        self.len = loop {
            match recv(fd, &mut self.buffer, MsgFlags::empty()) {
                // It is still there. Who looked and was interrupted each time would never take it.
                Err(Errno::EINTR) => {}
                received => break received?,
            }
        };
        self.fresh = Some(kind);
        Ok(self.len)
    }
}

/// Sends a packet: all of it, or none.
///
/// # Errors
/// `EMSGSIZE` if it is over [`longest`]; what writev(2) fails with.
pub fn send(socket: &impl AsFd, kind: u32, body: &[u8]) -> io::Result<()> {
    nix::sys::uio::writev(socket, &[IoSlice::new(&kind.to_le_bytes()), IoSlice::new(body)])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{DATA, GOODBYE};
    use nix::sys::socket::socketpair;
    use std::os::fd::OwnedFd;

    fn pair() -> (OwnedFd, OwnedFd, PacketReader) {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).expect("a pair");
        (a, b, PacketReader::new(Rules::new([(DATA, 1..=1 << 20), (GOODBYE, 8..=8)])))
    }

    #[test]
    fn a_packet_comes_as_it_went() {
        let (a, b, mut reader) = pair();
        for body in [&b"one"[..], b"two, longer", b"3"] {
            send(&a, DATA, body).expect("room");
        }
        for body in [&b"one"[..], b"two, longer", b"3"] {
            assert_eq!(reader.fill(&b).expect("a packet"), HEADER + body.len());
            assert_eq!((reader.next_packet(), reader.body()), (Some(DATA), body));
            assert_eq!(reader.next_packet(), None);
        }
        assert_eq!(reader.fill(&b).unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(a);
        assert_eq!(reader.fill(&b).expect("the end"), 0);
    }

    #[test]
    fn the_longest_is_the_longest() {
        let (a, b, mut reader) = pair();
        let longest = longest(&a).expect("a limit");
        let e = send(&a, DATA, &vec![7; longest + 1]).unwrap_err();
        assert_eq!(e.raw_os_error(), Some(Errno::EMSGSIZE as i32));
        send(&a, DATA, &vec![7; longest]).expect("room");
        reader.fill(&b).expect("all of it");
        assert!(reader.body().len() == longest && reader.body().iter().all(|b| *b == 7));
    }

    #[test]
    fn what_the_rules_forbid_takes_no_memory() {
        for (kind, len) in [(DATA, (1 << 17) + 1), (9, 1), (GOODBYE, 7), (DATA, 0)] {
            let (a, b, _) = pair();
            let mut reader = PacketReader::new(Rules::new([(DATA, 1..=1 << 17), (GOODBYE, 8..=8)]));
            send(&a, kind, &vec![0; len]).expect("room");
            assert_eq!(reader.fill(&b).unwrap_err().kind(), ErrorKind::InvalidData, "{kind} {len}");
            assert!(reader.buffer.is_empty());
        }
        let (a, b, mut reader) = pair();
        nix::unistd::write(&a, b"abc").expect("room");
        assert_eq!(reader.fill(&b).unwrap_err().to_string(), "a packet of 3 bytes");
    }
}
