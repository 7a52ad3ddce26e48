//! The listening side of an [`Address`]: takes the name, accepts, and gives the name back.
//!
//! ```text
//!              unix, seqpacket                           abstract, tcp
//!  left over   the file, after kill -9: it is replaced   nothing: the kernel frees the name, the port
//!  "in use"    somebody living is attached               EADDRINUSE
//! ```
//!
//! Whether a socket file has an owner cannot be asked of the file: connect(2) fails with the same
//! `ECONNREFUSED` for a dead owner's socket, for one that is bound and about to listen, and for a regular
//! file. So owners hold a lock (see [`common::place`]), and all of this happens under the channel's guard.
//!
//! *System calls.* socket, fchmod, bind, listen, accept4, unlink.
//!
//! See also: unix(7), listen(2), accept(2).

use std::fs;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use common::place::{Attachment, Channel, Guard, Role};
use nix::errno::Errno;
use nix::sys::socket::{Backlog, SockFlag, bind, listen, socket};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::geteuid;

use crate::endpoint::{Address, Connection};

/// Accepts connections at an address, which is free again when this is dropped.
#[derive(Debug)]
pub struct Listener {
    socket: Option<Accepting>,
    /// Of a name in a directory: the place of it, and the sign that we live.
    name: Option<(Channel, Attachment)>,
}

#[derive(Debug)]
enum Accepting {
    /// Also for packets: std's listener accepts whatever is accepted from its descriptor.
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// Listens at `address`. A socket file whose owner is dead is replaced.
    ///
    /// # Errors
    /// [`ErrorKind::AddrInUse`] if somebody listens there already; [`ErrorKind::AlreadyExists`] if something
    /// else than a socket has the name; [`ErrorKind::InvalidInput`] if the path is too long.
    pub fn open(address: &Address) -> io::Result<Listener> {
        let channel = match address {
            Address::Unix(channel) | Address::Seqpacket(channel) => channel,
            Address::Abstract(_) => {
                return Ok(Listener { socket: Some(Accepting::Unix(bind_unix(address)?)), name: None });
            }
            Address::Tcp(addr) => {
                let listener = TcpListener::bind(addr).map_err(|e| {
                    let hint = if e.kind() == ErrorKind::AddrInUse { "; take another --addr" } else { "" };
                    io::Error::new(e.kind(), format!("listen at {addr}: {e}{hint}"))
                })?;
                listener.set_nonblocking(true)?;
                return Ok(Listener { socket: Some(Accepting::Tcp(listener)), name: None });
            }
        };
        address.check()?;
        let path = channel.path();
        let guard = channel.lock()?;
        if let Some(owner) = guard.attached()?.iter().find(|a| a.alive) {
            let why = format!("{} is in use by pid {}; take another --name", path.display(), owner.pid);
            return Err(io::Error::new(ErrorKind::AddrInUse, why));
        }
        guard.forget_dead()?;
        remove_stale(&path)?;
        let socket = bind_unix(address)?;
        // Last: this name is what tells those who wait that they can connect.
        let attachment = guard.attach(Role::Consumer)?;
        drop(guard);
        Ok(Listener { socket: Some(Accepting::Unix(socket)), name: Some((channel.clone(), attachment)) })
    }

    /// The next connection that waits to be accepted.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; `PermissionDenied` for another user's, which is closed;
    /// `EMFILE` and its like if the machine can take no more: see [`is_exhausted`].
    pub fn accept(&self) -> io::Result<Connection> {
        let (socket, peer) = match self.socket() {
            Accepting::Unix(listener) => (OwnedFd::from(listener.accept()?.0), None),
            Accepting::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                (OwnedFd::from(stream), Some(peer))
            }
        };
        set_nonblocking(&socket)?;
        Connection::new(socket, peer)
    }

    fn socket(&self) -> &Accepting {
        self.socket.as_ref().expect("taken by drop alone")
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.socket() {
            Accepting::Unix(listener) => listener.as_fd(),
            Accepting::Tcp(listener) => listener.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Some((channel, attachment)) = self.name.take() else { return };
        // Under the guard, so that nobody who comes now sees half of it. If a stopped process holds the
        // guard, the name is still ours alone while we are attached.
        let guard: Option<Guard<'_>> = channel.lock().ok();
        let _ = fs::remove_file(channel.path());
        drop(self.socket.take());
        if let Some(guard) = &guard {
            guard.detach(attachment);
        }
    }
}

/// Removes the socket of a dead process of ours, and nothing but a socket. (A regular file would give connect(2)
/// the same `ECONNREFUSED` as a socket that nobody listens to, so that is not asked.)
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() && meta.uid() == geteuid().as_raw() => fs::remove_file(path),
        Ok(meta) => {
            let what = if meta.file_type().is_socket() { "another user's" } else { "not a socket" };
            let path = path.display();
            let why = format!("{path} exists and is {what}; remove it, or take another --name");
            Err(io::Error::new(ErrorKind::AlreadyExists, why))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

fn bind_unix(address: &Address) -> io::Result<UnixListener> {
    let (family, kernel) = address.to_kernel()?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, address.socket_type(), flags, None)?;
    // The mode of a socket *before* bind is the mode its file is created with (Linux).
    fchmod(&socket, Mode::from_bits_truncate(0o600))?;
    bind(socket.as_raw_fd(), &*kernel).map_err(|e| {
        let why = match e {
            Errno::EADDRINUSE => format!("{address} is in use, by whatever user; take another --name"),
            e => format!("create {address}: {e}"),
        };
        io::Error::new(io::Error::from(e).kind(), why)
    })?;
    listen(&socket, Backlog::MAXCONN)?;
    Ok(socket.into())
}

fn set_nonblocking(socket: &OwnedFd) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Whether an error means that the process or the machine has no descriptors (or memory) left, which will
/// pass, rather than that something is wrong with the call.
pub fn is_exhausted(e: &io::Error) -> bool {
    [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM]
        .iter()
        .any(|errno| e.raw_os_error() == Some(*errno as i32))
}
