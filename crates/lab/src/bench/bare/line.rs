//! What the bytes go by: descriptors, or a queue of either kind, or memory.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, ErrorKind, PipeWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, ensure};
use nix::fcntl::OFlag;
use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_open, mq_receive, mq_send, mq_unlink};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::Mode;
use nix::unistd::ftruncate;

use super::Bare;
use super::memory::{Memory, size_of_ring};
use crate::bench::subject::Pattern;
use crate::stop;

/// One end of it.
pub trait Line {
    /// Sends a message.
    fn send(&mut self, message: &[u8]) -> Result<()>;
    /// Receives a message of exactly so many bytes.
    fn receive(&mut self, message: &mut [u8]) -> Result<()>;
    /// What the other end must be told, besides what it inherits.
    fn name(&self) -> String {
        String::new()
    }
}

/// Opens a line: this end of it, and what the other process inherits as its standard input and output.
pub fn open(bare: Bare, pattern: Pattern, size: usize) -> Result<(Box<dyn Line>, OwnedFd, OwnedFd)> {
    let same = |ours: OwnedFd, theirs: OwnedFd| -> Result<(Box<dyn Line>, OwnedFd, OwnedFd)> {
        let back = theirs.try_clone()?;
        Ok((Box::new(Stream { to: File::from(ours.try_clone()?), from: File::from(ours) }), theirs, back))
    };
    match bare {
        Bare::Pipe => {
            let ((there, to), (from, back)) = (io::pipe()?, io::pipe()?);
            let ours = Stream { from: File::from(OwnedFd::from(from)), to: file_of(to) };
            Ok((Box::new(ours), there.into(), back.into()))
        }
        Bare::Unix => {
            let (ours, theirs) = UnixStream::pair()?;
            same(ours.into(), theirs.into())
        }
        Bare::Seqpacket => {
            let (kind, flags) = (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
            let (ours, theirs) = socketpair(AddressFamily::Unix, kind, None, flags)?;
            same(ours, theirs)
        }
        Bare::Tcp => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let ours = TcpStream::connect(listener.local_addr()?)?;
            let (theirs, _) = listener.accept()?;
            // A message that waits for the answer to the one before would wait for ever.
            ours.set_nodelay(true)?;
            theirs.set_nodelay(true)?;
            same(ours.into(), theirs.into())
        }
        Bare::Sysv => {
            let queue = Sysv::create(size)?;
            let null = File::options().read(true).write(true).open("/dev/null")?;
            Ok((Box::new(queue), null.try_clone()?.into(), null.into()))
        }
        Bare::Posix => {
            let [there, back] = [queue("there", size)?, queue("back", size)?];
            let theirs = [there.try_clone()?, back.try_clone()?];
            let [theirs_there, theirs_back] = theirs;
            Ok((Box::new(Posix { to: descriptor(there), from: descriptor(back) }), theirs_there, theirs_back))
        }
        Bare::Memory => {
            let file = memfd_create("bare", MFdFlags::MFD_CLOEXEC)?;
            ftruncate(&file, size_of_ring(size) as i64)?;
            let memory = Memory::map(&file, pattern, size, true)?;
            Ok((Box::new(memory), file.try_clone()?, file))
        }
    }
}

/// The other end, in the process that inherited it.
pub fn join(bare: Bare, pattern: Pattern, size: usize, name: &str) -> Result<Box<dyn Line>> {
    let [there, back] =
        [io::stdin().as_fd().try_clone_to_owned()?, io::stdout().as_fd().try_clone_to_owned()?];
    Ok(match bare {
        Bare::Pipe | Bare::Unix | Bare::Seqpacket | Bare::Tcp => {
            Box::new(Stream { from: File::from(there), to: File::from(back) })
        }
        Bare::Sysv => Box::new(Sysv::join(name.parse().context("a queue's number")?, size)),
        Bare::Posix => Box::new(Posix { from: descriptor(there), to: descriptor(back) }),
        Bare::Memory => Box::new(Memory::map(&there, pattern, size, false)?),
    })
}

fn file_of(pipe: PipeWriter) -> File {
    File::from(OwnedFd::from(pipe))
}

/// One write(2) a message, and one read(2), unless it does not fit in one piece.
struct Stream {
    from: File,
    to: File,
}

impl Line for Stream {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        Ok(self.to.write_all(message)?)
    }

    fn receive(&mut self, message: &mut [u8]) -> Result<()> {
        Ok(self.from.read_exact(message)?)
    }
}

/// A queue without a name, and the message with its type in front.
struct Sysv {
    id: i32,
    ours: bool,
    /// The type, and behind it the bytes: `struct msgbuf`.
    buffer: Vec<i64>,
}

impl Sysv {
    fn create(size: usize) -> Result<Sysv> {
        // SAFETY: it takes two numbers and touches no memory of ours.
        let id = unsafe { libc::msgget(libc::IPC_PRIVATE, libc::IPC_CREAT | 0o600) };
        ensure!(id >= 0, "msgget: {}", io::Error::last_os_error());
        let mut queue = Sysv::join(id, size);
        queue.ours = true;
        Ok(queue)
    }

    fn join(id: i32, size: usize) -> Sysv {
        Sysv { id, ours: false, buffer: vec![0; 1 + size.div_ceil(8)] }
    }

    /// Messages there are of type 1, and back of type 2.
    fn type_of(&self, sending: bool) -> i64 {
        if self.ours == sending { 1 } else { 2 }
    }
}

impl Line for Sysv {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        self.buffer[0] = self.type_of(true);
        let bytes = self.buffer[1..].as_mut_ptr().cast::<u8>();
        // SAFETY: the buffer behind the type has room for a message of the size that all have; both are ours.
        unsafe { bytes.copy_from_nonoverlapping(message.as_ptr(), message.len()) };
        retry("msgsnd", || {
            // SAFETY: the kernel reads the type and `message.len()` bytes behind it, which are in the buffer.
            unsafe { libc::msgsnd(self.id, self.buffer.as_ptr().cast(), message.len(), 0) as isize }
        })
        .map(drop)
    }

    fn receive(&mut self, message: &mut [u8]) -> Result<()> {
        let wanted = self.type_of(false);
        let got = retry("msgrcv", || {
            // SAFETY: the kernel writes the type and at most `message.len()` bytes behind it, which the buffer holds.
            unsafe { libc::msgrcv(self.id, self.buffer.as_mut_ptr().cast(), message.len(), wanted, 0) }
        })?;
        ensure!(got as usize == message.len(), "a message of {got} bytes");
        let bytes = self.buffer[1..].as_ptr().cast::<u8>();
        // SAFETY: as in `send`, the other way round.
        unsafe { bytes.copy_to_nonoverlapping(message.as_mut_ptr(), message.len()) };
        Ok(())
    }

    fn name(&self) -> String {
        self.id.to_string()
    }
}

impl Drop for Sysv {
    fn drop(&mut self) {
        if self.ours {
            // SAFETY: it takes numbers, and no memory of ours. The queue has no name and is nobody else's.
            unsafe { libc::msgctl(self.id, libc::IPC_RMID, std::ptr::null_mut()) };
        }
    }
}

/// Calls until no signal interrupts it; a signal that asks for the end does so.
fn retry(what: &str, mut call: impl FnMut() -> isize) -> Result<isize> {
    loop {
        let result = call();
        if result >= 0 {
            return Ok(result);
        }
        match io::Error::last_os_error() {
            e if e.kind() == ErrorKind::Interrupted => stop::check()?,
            e => return Err(e).with_context(|| what.to_owned()),
        }
    }
}

/// Two queues, whose names are gone already.
struct Posix {
    from: MqdT,
    to: MqdT,
}

impl Line for Posix {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        loop {
            match mq_send(&self.to, message, 0) {
                Err(nix::Error::EINTR) => stop::check()?,
                done => return done.context("mq_send"),
            }
        }
    }

    fn receive(&mut self, message: &mut [u8]) -> Result<()> {
        loop {
            match mq_receive(&self.from, message, &mut 0) {
                Err(nix::Error::EINTR) => stop::check()?,
                got => {
                    ensure!(got? == message.len(), "a message of another size");
                    return Ok(());
                }
            }
        }
    }
}

/// A queue of ten messages, as the kernel allows everybody.
fn queue(direction: &str, size: usize) -> Result<OwnedFd> {
    let name = format!("/ipc-lab-bench-{}-{direction}", std::process::id());
    let flags = MQ_OFlag::O_RDWR | MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL | MQ_OFlag::O_CLOEXEC;
    let attributes = MqAttr::new(0, 10, size as _, 0);
    let queue =
        mq_open(name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR, Some(&attributes)).context("mq_open")?;
    mq_unlink(name.as_str())?;
    // SAFETY: on Linux a queue's descriptor is a file's; nobody else has this one.
    Ok(unsafe { OwnedFd::from_raw_fd(queue.into_raw_fd()) })
}

fn descriptor(queue: OwnedFd) -> MqdT {
    debug_assert!(
        nix::fcntl::fcntl(&queue, nix::fcntl::FcntlArg::F_GETFL)
            .is_ok_and(|flags| flags & OFlag::O_NONBLOCK.bits() == 0)
    );
    // SAFETY: it is a queue's, and ours. (An `MqdT` does not close it: that is left to the end of the process,
    // or of the measurement's few descriptors.)
    unsafe { MqdT::from_raw_fd(queue.into_raw_fd()) }
}
