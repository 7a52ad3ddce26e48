//! How two processes meet: by a name in a directory or without one (Unix), or by an address and a port (TCP).
//!
//! ```text
//!              unix, seqpacket            abstract                    tcp
//!  name        DIR/NAME.sock, a file      \0ipc-lab-UID-NAME.sock,    127.0.0.1:7411
//!              of type socket             no file anywhere
//!  whose       this directory's           this network namespace's    this network's
//!  who may     who may write to the file  everybody on the machine    everybody who reaches it
//!  who is it   SO_PEERCRED, both sides    SO_PEERCRED, both sides     not known
//!  left over   the file                   nothing                     nothing
//! ```
//!
//! `SO_PEERCRED` is the kernel's word for who connected, or listened: pid, user and group. Where the name has no
//! permissions that is the only door there is, so another user is refused here, whatever the transport.
//!
//! All sockets are non-blocking; whoever wants to wait does so in poll(2), which every signal interrupts.
//!
//! *System calls.* socket, connect, getsockopt(SO_PEERCRED, SO_ERROR), setsockopt(TCP_NODELAY, SO_SNDBUF),
//! poll.
//!
//! See also: unix(7), tcp(7), ip(7), connect(2), poll(2); M. Kerrisk, *The Linux Programming Interface*,
//! ch. 56–59 and 61.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use common::place::Channel;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, UnixAddr, connect, getsockopt,
    setsockopt, socket, sockopt,
};
use nix::unistd::geteuid;

/// How many bytes a Unix stream is to hold. The more, the fewer waits a long item costs. (TCP finds a size itself, and
/// would no longer do so if it were told one.)
const ROOM: usize = 1 << 20;

/// Where a listener is to be found.
#[derive(Clone, Debug)]
pub enum Address {
    /// A socket file in the channel's place; a stream.
    Unix(Channel),
    /// The same name, for packets: see [`packet`](crate::packet).
    Seqpacket(Channel),
    /// A name that begins with a zero byte (not part of this): in no directory, so without permissions, and
    /// gone with its socket. A stream. Linux only.
    Abstract(String),
    /// An internet address and port.
    Tcp(SocketAddr),
}

impl Address {
    /// By `addr` (else `default`) if `transport` is `tcp`, else by the name of `channel`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the two do not fit together, and as [`inet`] and
    /// [`Address::check`].
    pub fn of(transport: &str, channel: Channel, addr: Option<&str>, default: &str) -> io::Result<Address> {
        let address = match (transport, addr) {
            ("tcp", addr) => Address::Tcp(inet(addr.unwrap_or(default))?),
            (_, Some(_)) => return Err(invalid("--addr is for --transport tcp and udp".into())),
            ("abstract", None) => Address::Abstract(abstract_name(&channel)),
            ("seqpacket", None) => Address::Seqpacket(channel),
            (_, None) => Address::Unix(channel),
        };
        address.check().map(|()| address)
    }

    /// Whether who waits for a listener is told of it (by the directory) and need not try again and again.
    pub(crate) fn has_news(&self) -> bool {
        matches!(self, Address::Unix(_) | Address::Seqpacket(_))
    }

    /// What the sockets at both ends are.
    pub(crate) fn socket_type(&self) -> SockType {
        match self {
            Address::Seqpacket(_) => SockType::SeqPacket,
            _ => SockType::Stream,
        }
    }

    /// Whether processes of other machines can reach it.
    pub fn is_remote(&self) -> bool {
        matches!(self, Address::Tcp(addr) if !addr.ip().is_loopback())
    }

    /// Refuses an address that other machines can reach, unless that is `allowed`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`].
    pub fn check_reach(&self, allowed: bool) -> io::Result<()> {
        if let Address::Tcp(addr) = self { check_reach(*addr, allowed) } else { Ok(()) }
    }

    /// Refuses an address that can never be used, before anything is created.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a path over 107 bytes.
    pub fn check(&self) -> io::Result<()> {
        self.to_kernel().map(drop)
    }

    /// The address as the kernel wants it.
    pub(crate) fn to_kernel(&self) -> io::Result<(AddressFamily, Box<dyn SockaddrLike>)> {
        match self {
            Address::Unix(channel) | Address::Seqpacket(channel) => {
                let path = channel.path();
                let unix = UnixAddr::new(&path).map_err(|_| {
                    let len = path.as_os_str().len();
                    invalid(format!(
                        "{}: {len} bytes, and a socket's path may have 107 (sockaddr_un); take a shorter --name or XDG_RUNTIME_DIR",
                        path.display()
                    ))
                })?;
                Ok((AddressFamily::Unix, Box::new(unix)))
            }
            Address::Abstract(name) => {
                Ok((AddressFamily::Unix, Box::new(UnixAddr::new_abstract(name.as_bytes())?)))
            }
            Address::Tcp(SocketAddr::V4(addr)) => {
                Ok((AddressFamily::Inet, Box::new(SockaddrIn::from(*addr))))
            }
            Address::Tcp(SocketAddr::V6(addr)) => {
                Ok((AddressFamily::Inet6, Box::new(SockaddrIn6::from(*addr))))
            }
        }
    }
}

/// The address that `HOST:PORT` stands for; of several the first.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if it is not of that form or the port is 0; what the resolver fails with.
pub fn inet(text: &str) -> io::Result<SocketAddr> {
    let found = text.to_socket_addrs().map_err(|e| {
        let why = format!("{text}: {e}; write it as HOST:PORT, such as 127.0.0.1:7411");
        io::Error::new(e.kind(), why)
    })?;
    match found.into_iter().next() {
        Some(addr) if addr.port() != 0 => Ok(addr),
        _ => Err(invalid(format!("{text} names no port at which two processes could meet"))),
    }
}

/// Refuses an address that other machines can reach, unless that is `allowed`.
///
/// # Errors
/// [`ErrorKind::InvalidInput`].
pub fn check_reach(addr: SocketAddr, allowed: bool) -> io::Result<()> {
    if allowed || addr.ip().is_loopback() {
        return Ok(());
    }
    Err(invalid(format!(
        "{addr} can be reached from other machines, by everybody: there is no authentication; add --allow-remote if you mean it"
    )))
}

/// The channel's name in the abstract namespace, which all users share: so the user is part of it.
fn abstract_name(channel: &Channel) -> String {
    let path = channel.path();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("ipc-lab-{}-{name}", geteuid())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(channel) | Address::Seqpacket(channel) => {
                write!(f, "{}", channel.path().display())
            }
            // As ss(8) and /proc/net/unix show the zero byte.
            Address::Abstract(name) => write!(f, "@{name}"),
            Address::Tcp(addr) => write!(f, "{addr}"),
        }
    }
}

fn invalid(why: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, why)
}

/// A connection, and who is at its other end.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    /// `pid 4711` or `127.0.0.1:50812`: to be shown.
    pub peer: String,
    /// It carries packets: what was sent by one call is received by one. Else it is a stream of bytes.
    pub(crate) packets: bool,
}

impl Connection {
    /// Asks the kernel who is there; on a Unix socket only the same user is let through.
    pub(crate) fn new(socket: OwnedFd, peer: Option<SocketAddr>) -> io::Result<Connection> {
        let Some(addr) = peer else {
            let who = getsockopt(&socket, sockopt::PeerCredentials)?;
            if who.uid() != geteuid().as_raw() {
                let why =
                    format!("pid {} belongs to another user (uid {}): SO_PEERCRED", who.pid(), who.uid());
                return Err(io::Error::new(ErrorKind::PermissionDenied, why));
            }
            let packets = getsockopt(&socket, sockopt::SockType)? == SockType::SeqPacket;
            if !packets {
                // As many of them as the kernel allows (net.core.wmem_max); more is no error.
                setsockopt(&socket, sockopt::SndBuf, &ROOM)?;
            }
            return Ok(Connection { socket, peer: format!("pid {}", who.pid()), packets });
        };
        // What is written is to travel at once: we write whole frames, so there is nothing to wait for.
        let stream = TcpStream::from(socket);
        if stream.local_addr()? == addr {
            // Nobody listens at a port that the kernel also gives to clients: then TCP can connect a socket
            // to itself ("simultaneous open").
            return Err(ErrorKind::ConnectionRefused.into());
        }
        stream.set_nodelay(true)?;
        Ok(Connection { socket: stream.into(), peer: addr.to_string(), packets: false })
    }

    /// Sleeps until the connection can be read (`POLLIN`) or written (`POLLOUT`), or is broken.
    ///
    /// # Errors
    /// `Interrupted`.
    pub fn wait(&self, until: PollFlags) -> io::Result<()> {
        poll(&mut [PollFd::new(self.as_fd(), until)], PollTimeout::NONE)?;
        Ok(())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A connection on its way.
#[derive(Debug)]
pub struct Connecting {
    socket: OwnedFd,
    to: Address,
}

impl Connecting {
    /// Starts to connect.
    ///
    /// # Errors
    /// What connect(2) fails with; `ECONNREFUSED` and `ENOENT` mean that nobody listens (yet), `EPROTOTYPE` that
    /// the socket there is of another type.
    pub fn start(to: &Address) -> io::Result<Connecting> {
        let (family, kernel) = to.to_kernel()?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(family, to.socket_type(), flags, None)?;
        match connect(socket.as_raw_fd(), &*kernel) {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(Connecting { socket, to: to.clone() }),
            Err(Errno::EPROTOTYPE) => {
                let why = format!("{to} is a socket of another type: say the same --transport to both sides");
                Err(io::Error::new(ErrorKind::Unsupported, why))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Whether it has been decided, waiting at most so long.
    ///
    /// # Errors
    /// `Interrupted`.
    pub fn is_decided(&self, patience: PollTimeout) -> io::Result<bool> {
        Ok(poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)], patience)? > 0)
    }

    /// The connection, once it has been decided.
    ///
    /// # Errors
    /// As [`Connecting::start`]; `PermissionDenied` if another user listens there.
    pub fn finish(self) -> io::Result<Connection> {
        match getsockopt(&self.socket, sockopt::SocketError)? {
            0 => {}
            errno => return Err(io::Error::from_raw_os_error(errno)),
        }
        let peer = if let Address::Tcp(addr) = self.to { Some(addr) } else { None };
        Connection::new(self.socket, peer)
    }
}

/// Sleeps, unless a signal interrupts.
///
/// # Errors
/// `Interrupted`.
pub fn pause(time: Duration) -> io::Result<()> {
    poll(&mut [], PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::socketpair;

    /// A packet's size depends on it, and stays what `packet` says before there is a connection.
    #[test]
    fn a_stream_has_the_room_that_the_kernel_allows_and_packets_what_they_had() {
        let most = std::fs::read_to_string("/proc/sys/net/core/wmem_max").expect("it is there");
        let most: usize = most.trim().parse().expect("a number");
        let room = |kind| {
            let (a, _b) =
                socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).expect("a pair");
            let before = getsockopt(&a, sockopt::SndBuf).expect("a size");
            let connection = Connection::new(a, None).expect("our own");
            (before, getsockopt(&connection, sockopt::SndBuf).expect("a size"))
        };
        // The kernel doubles what it is told, for what it has to note itself: socket(7).
        assert_eq!(room(SockType::Stream).1, 2 * most.min(ROOM));
        let (before, after) = room(SockType::SeqPacket);
        assert_eq!(before, after);
    }
}
