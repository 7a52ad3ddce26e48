//! System V message queue: messages with a type, from which a receiver selects.
//!
//! ```text
//!                                 queue (kernel, found by its key)
//!   msgsnd(type 1) ──┐   ┌──────────────────────────────┐   ┌──> msgrcv( 0)  the oldest
//!   msgsnd(type 2) ──┼──>│ 1:"…"  2:"…"  1:"…"  3:"…"   │───┼──> msgrcv( 2)  the oldest of type 2
//!   msgsnd(type 3) ──┘   └──────────────────────────────┘   └──> msgrcv(-2)  the lowest type up to 2
//! ```
//!
//! Guarantees: one call moves one whole message; each message goes to one receiver; messages of one type
//! stay in order. The queue lives in the kernel until somebody removes it, or the machine is shut down; a
//! process that is killed leaves it intact.
//! Limits: a message has up to `kernel.msgmax` bytes (8192); a queue holds `msg_qbytes` bytes, which an
//! ordinary user can set up to `kernel.msgmnb` (16384), and no more messages than it may hold bytes; there
//! are `kernel.msgmni` queues (32000). All are read from `/proc/sys/kernel`. A queue has no descriptor, so
//! nobody can poll it.
//!
//! System calls: msgget, msgsnd, msgrcv, msgctl; see sysvipc(7), msgop(2). `ipcs -q` lists the queues.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_long};
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;

use libc::{key_t, msqid_ds};

/// Bytes of the type that stands before every message: a C `long`.
const KIND: usize = size_of::<c_long>();

/// Which messages a receiver takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Select {
    /// The oldest, whatever its type.
    #[default]
    Any,
    /// The oldest of this type.
    Only(c_long),
    /// The oldest of the lowest type that is not over this one.
    UpTo(c_long),
    /// The oldest of any other type (Linux only).
    Except(c_long),
}

impl Select {
    /// As msgrcv(2) wants it: `msgtyp`, and a flag.
    fn arguments(self) -> (c_long, c_int) {
        match self {
            Select::Any => (0, 0),
            Select::Only(kind) => (kind, 0),
            Select::UpTo(kind) => (-kind, 0),
            Select::Except(kind) => (kind, libc::MSG_EXCEPT),
        }
    }
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Messages in it.
    pub messages: u64,
    /// Bytes in it; the types do not count.
    pub bytes: u64,
    /// Bytes that fit into it (`msg_qbytes`).
    pub capacity: u64,
}

/// An open queue, with room for one message.
#[derive(Debug)]
pub struct SysvQueue {
    id: c_int,
    /// A type, then a message, as msgsnd(2) and msgrcv(2) want them.
    buffer: Vec<u8>,
    /// How many bytes of the buffer were filled by the last receive.
    received: usize,
}

impl SysvQueue {
    /// Creates the queue `key` for this user alone. It holds `capacity` bytes, in messages of up to
    /// `longest` bytes.
    ///
    /// # Errors
    /// `InvalidInput` if a message could be longer than `kernel.msgmax`; `AlreadyExists` if the key is in
    /// use; otherwise the limit that was reached, and where it is set.
    pub fn create(key: key_t, capacity: usize, longest: usize) -> io::Result<SysvQueue> {
        if longest > limit("msgmax") {
            return Err(over_limit(ErrorKind::InvalidInput, "a message", longest, "msgmax"));
        }
        // The mode is what counts here: msgget ignores the umask.
        let id = match msgget(key, libc::IPC_CREAT | libc::IPC_EXCL | 0o600) {
            Err(e) if e.raw_os_error() == Some(libc::ENOSPC) => {
                let most = limit("msgmni");
                let why =
                    format!("all kernel.msgmni = {most} queues are in use (see ipcs -q; set with sysctl)");
                return Err(io::Error::new(ErrorKind::StorageFull, why));
            }
            id => id?,
        };
        let queue = SysvQueue::with_buffer(id, longest);
        if let Err(e) = queue.set_capacity(capacity) {
            let _ = queue.remove();
            return Err(e);
        }
        Ok(queue)
    }

    /// Opens the queue `key`, whose messages have up to `longest` bytes.
    ///
    /// # Errors
    /// `NotFound` if there is none; `PermissionDenied` if it is not this user's alone.
    pub fn open(key: key_t, longest: usize) -> io::Result<SysvQueue> {
        let why = format!("the message queue with key {key:#010x} is not this user's alone");
        let not_ours = io::Error::new(ErrorKind::PermissionDenied, why);
        let queue = match msgget(key, 0) {
            Err(e) if e.kind() == ErrorKind::PermissionDenied => return Err(not_ours),
            id => SysvQueue::with_buffer(id?, longest),
        };
        let owner = queue.stat()?.msg_perm;
        // SAFETY: it has no arguments and cannot fail.
        let user = unsafe { libc::geteuid() };
        if owner.uid != user || owner.mode & 0o777 != 0o600 {
            return Err(not_ours);
        }
        Ok(queue)
    }

    fn with_buffer(id: c_int, longest: usize) -> SysvQueue {
        SysvQueue { id, buffer: vec![0; KIND + longest], received: KIND }
    }

    /// The kernel's number of this queue, as `ipcs -q` shows it.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// Adds a message of type `kind`, which must be positive, and waits while the queue is full.
    ///
    /// # Errors
    /// `Interrupted` by a signal: nothing was sent. `ConnectionAborted` if the queue was removed.
    /// `InvalidInput` if the type is not positive, or the message longer than `longest`. `QuotaExceeded` if
    /// `kernel.msgmax` was lowered below it meanwhile.
    pub fn send(&mut self, kind: c_long, message: &[u8]) -> io::Result<()> {
        self.msgsnd(kind, message, 0)
    }

    /// The same, but fails with `WouldBlock` too: when the queue is full.
    pub fn try_send(&mut self, kind: c_long, message: &[u8]) -> io::Result<()> {
        self.msgsnd(kind, message, libc::IPC_NOWAIT)
    }

    /// Takes a message out, which [`SysvQueue::message`] then shows, and waits until there is one. Its type.
    ///
    /// # Errors
    /// `Interrupted` by a signal: nothing was taken. `ConnectionAborted` if the queue was removed.
    /// `InvalidData` if the message is longer than `longest`: it stays in the queue, whole.
    pub fn receive(&mut self, select: Select) -> io::Result<c_long> {
        self.msgrcv(select, 0)
    }

    /// The same, but fails with `WouldBlock` too: when nothing is there to be selected.
    pub fn try_receive(&mut self, select: Select) -> io::Result<c_long> {
        self.msgrcv(select, libc::IPC_NOWAIT)
    }

    /// The message that was received last.
    pub fn message(&self) -> &[u8] {
        &self.buffer[KIND..self.received]
    }

    /// How full the queue is at this moment.
    ///
    /// # Errors
    /// `ConnectionAborted` if the queue was removed.
    pub fn level(&self) -> io::Result<Level> {
        let now = self.stat()?;
        Ok(Level { messages: now.msg_qnum, bytes: now.__msg_cbytes, capacity: now.msg_qbytes })
    }

    /// Removes the queue with all that is in it. Whoever waits at it fails with `ConnectionAborted`.
    ///
    /// # Errors
    /// `ConnectionAborted` if it was removed already.
    pub fn remove(&self) -> io::Result<()> {
        // SAFETY: IPC_RMID takes no buffer, and a null one is allowed.
        match unsafe { libc::msgctl(self.id, libc::IPC_RMID, std::ptr::null_mut()) } {
            -1 => Err(self.failure()),
            _ => Ok(()),
        }
    }

    fn msgsnd(&mut self, kind: c_long, message: &[u8], flags: c_int) -> io::Result<()> {
        let end = KIND + message.len();
        if kind <= 0 || end > self.buffer.len() {
            let why = format!(
                "a message of type {kind} with {} bytes: the type must be positive, and {} bytes fit",
                message.len(),
                self.buffer.len() - KIND
            );
            return Err(io::Error::new(ErrorKind::InvalidInput, why));
        }
        self.buffer[..KIND].copy_from_slice(&kind.to_ne_bytes());
        self.buffer[KIND..end].copy_from_slice(message);
        // SAFETY: the kernel reads the type and `message.len()` bytes behind it, which were just written and
        // are within `buffer`; it copies bytes, so their alignment does not matter. Only this process can
        // reach `buffer`, and it does not while the call lasts (`&mut self`).
        if unsafe { libc::msgsnd(self.id, self.buffer.as_ptr().cast(), message.len(), flags) } == 0 {
            return Ok(());
        }
        match self.failure() {
            // EINVAL of a queue that is still there: the limit was lowered after it had been made.
            e if e.kind() == ErrorKind::ConnectionAborted && self.stat().is_ok() => {
                Err(over_limit(ErrorKind::QuotaExceeded, "a message", message.len(), "msgmax"))
            }
            e => Err(e),
        }
    }

    fn msgrcv(&mut self, select: Select, flags: c_int) -> io::Result<c_long> {
        let (kind, except) = select.arguments();
        let room = self.buffer.len() - KIND;
        // Never MSG_NOERROR, which cuts a message that is too long, and says nothing.
        // SAFETY: the kernel writes a type and at most `room` bytes behind it, all within `buffer`, as bytes.
        // It fails with E2BIG rather than write more, whatever the sender sent. Nobody else can reach
        // `buffer` (`&mut self`).
        let len =
            unsafe { libc::msgrcv(self.id, self.buffer.as_mut_ptr().cast(), room, kind, flags | except) };
        let Ok(len) = usize::try_from(len) else { return Err(self.failure()) };
        self.received = KIND + len;
        Ok(c_long::from_ne_bytes(*self.buffer.first_chunk().expect("the buffer begins with a type")))
    }

    fn stat(&self) -> io::Result<msqid_ds> {
        let mut now = MaybeUninit::<msqid_ds>::zeroed();
        // SAFETY: `now` has the size and alignment of the one msqid_ds that IPC_STAT writes.
        if unsafe { libc::msgctl(self.id, libc::IPC_STAT, now.as_mut_ptr()) } == -1 {
            return Err(self.failure());
        }
        // SAFETY: plain integers, which were zero before IPC_STAT filled them.
        Ok(unsafe { now.assume_init() })
    }

    fn set_capacity(&self, bytes: usize) -> io::Result<()> {
        let mut wanted = self.stat()?;
        wanted.msg_qbytes = bytes as libc::msglen_t;
        // SAFETY: IPC_SET only reads the msqid_ds, which lives until the call returns.
        if unsafe { libc::msgctl(self.id, libc::IPC_SET, &raw mut wanted) } == 0 {
            return Ok(());
        }
        match self.failure() {
            e if e.raw_os_error() == Some(libc::EPERM) => {
                Err(over_limit(ErrorKind::PermissionDenied, "a queue", bytes, "msgmnb"))
            }
            e => Err(e),
        }
    }

    /// What errno says about this queue.
    #[cold]
    fn failure(&self) -> io::Error {
        let (id, e) = (self.id, io::Error::last_os_error());
        match e.raw_os_error() {
            // Nothing to select: the counterpart of EAGAIN, which msgsnd gives when the queue is full.
            Some(libc::ENOMSG) => ErrorKind::WouldBlock.into(),
            // Removed while we waited, or before: the kernel does not give an id again for a long time, so
            // it is not another's queue that we hit.
            Some(libc::EIDRM | libc::EINVAL) => {
                io::Error::new(ErrorKind::ConnectionAborted, format!("message queue {id} was removed"))
            }
            Some(libc::E2BIG) => {
                let room = self.buffer.len() - KIND;
                let why =
                    format!("message queue {id} holds a message over {room} bytes; it stays there, whole");
                io::Error::new(ErrorKind::InvalidData, why)
            }
            _ => e,
        }
    }
}

fn msgget(key: key_t, flags: c_int) -> io::Result<c_int> {
    // SAFETY: two integers; no memory is shared with the kernel.
    match unsafe { libc::msgget(key, flags) } {
        -1 => Err(io::Error::last_os_error()),
        id => Ok(id),
    }
}

fn over_limit(kind: ErrorKind, what: &str, bytes: usize, name: &str) -> io::Error {
    let most = limit(name);
    let why = format!("{what} of {bytes} bytes is over the limit kernel.{name} = {most} (set with sysctl)");
    io::Error::new(kind, why)
}

/// A limit of this machine (of its IPC namespace): `msgmax`, `msgmnb` or `msgmni`. Where `/proc` does not
/// tell, the kernel is left to judge.
pub fn limit(name: &str) -> usize {
    let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
    text.ok().and_then(|t| t.trim().parse().ok()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

    use super::*;

    /// A queue of this test's own, removed at its end.
    fn with_queue(test: impl FnOnce(&mut SysvQueue, key_t)) {
        static NEXT: AtomicI32 = AtomicI32::new(0);
        let key = 0x6D71_0000 + (std::process::id() as key_t) * 8 + NEXT.fetch_add(1, Relaxed);
        let mut queue = SysvQueue::create(key, 300, 100).expect("a queue");
        test(&mut queue, key);
        let _ = queue.remove();
    }

    #[test]
    fn a_message_that_is_too_long_stays_whole() {
        with_queue(|queue, key| {
            queue.try_send(1, &[7; 100]).expect("send");
            let mut narrow = SysvQueue::open(key, 99).expect("open");
            assert_eq!(narrow.try_receive(Select::Any).expect_err("too long").kind(), ErrorKind::InvalidData);
            assert_eq!(queue.try_receive(Select::Any).expect("receive"), 1);
            assert_eq!(queue.message(), [7; 100]);
        });
    }

    #[test]
    fn full_empty_and_wrong_types_are_told() {
        with_queue(|queue, _| {
            assert_eq!(queue.try_receive(Select::Any).expect_err("empty").kind(), ErrorKind::WouldBlock);
            for kind in [0, -1, c_long::MIN] {
                assert_eq!(queue.try_send(kind, b"").expect_err("no type").kind(), ErrorKind::InvalidInput);
            }
            assert_eq!(queue.try_send(1, &[0; 101]).expect_err("long").kind(), ErrorKind::InvalidInput);
            for kind in [3, 1, 2] {
                queue.try_send(kind, &[0; 100]).expect("send");
            }
            assert_eq!(queue.try_send(1, b"!").expect_err("full").kind(), ErrorKind::WouldBlock);
            assert_eq!(queue.level().expect("level"), Level { messages: 3, bytes: 300, capacity: 300 });
            for (select, kind) in [(Select::UpTo(2), 1), (Select::Except(3), 2), (Select::Only(3), 3)] {
                assert_eq!(queue.try_receive(select).expect("receive"), kind);
            }
        });
    }

    #[test]
    fn a_removed_queue_is_no_hang() {
        with_queue(|queue, key| {
            assert_eq!(SysvQueue::create(key, 1, 1).expect_err("in use").kind(), ErrorKind::AlreadyExists);
            queue.remove().expect("remove it");
            assert_eq!(queue.receive(Select::Any).expect_err("gone").kind(), ErrorKind::ConnectionAborted);
            assert_eq!(queue.send(1, b"").expect_err("gone").kind(), ErrorKind::ConnectionAborted);
            assert_eq!(SysvQueue::open(key, 1).expect_err("gone").kind(), ErrorKind::NotFound);
        });
    }
}
