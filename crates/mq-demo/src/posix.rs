//! POSIX message queue: the message of highest priority comes first.
//!
//! ```text
//!                            /ipc-lab-1000-demo (kernel)
//!   mq_send(priority 0) ──┐   ┌─────────────────────┐
//!   mq_send(priority 9) ──┴──>│ 9:"…"  0:"…"  0:"…" │──> mq_receive: the highest priority, then the oldest
//!                             └─────────────────────┘
//! ```
//!
//! Guarantees: one call moves one whole message; each message goes to one receiver; messages of one priority
//! stay in order. The queue has a name and is opened like a file: it lives until it is unlinked and closed
//! by all. A receiver cannot select.
//! Limits: `fs.mqueue.msg_max` messages (10) of `fs.mqueue.msgsize_max` bytes (8192), which privileged
//! processes may exceed; all queues of one user together take no more than `RLIMIT_MSGQUEUE` bytes
//! (819200), counted when they are created, for the largest messages that could come: so a queue is created
//! with the size that it needs.
//!
//! System calls: mq_open, mq_timedsend, mq_timedreceive, mq_getsetattr, mq_unlink, flock; see
//! mq_overview(7). Where `/dev/mqueue` is mounted, `ls` lists the queues and `cat` shows how full they are;
//! they work without it.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;

use common::place::check_private;
use nix::errno::Errno;
use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_close, mq_getattr, mq_open, mq_receive, mq_send, mq_unlink};
use nix::sys::stat::Mode;

/// One open description of a queue. nix's own type does not close what it opened.
#[derive(Debug)]
struct Descriptor(Option<MqdT>);

impl Descriptor {
    fn open(name: &str, flags: MQ_OFlag, attributes: &MqAttr) -> nix::Result<Descriptor> {
        let flags = flags | MQ_OFlag::O_RDWR | MQ_OFlag::O_CLOEXEC;
        // Attributes are always given: with O_CREAT alone, C's variable arguments would be read as garbage.
        let mqd = mq_open(name, flags, Mode::from_bits_truncate(0o600), Some(attributes))?;
        Ok(Descriptor(Some(mqd)))
    }

    fn mqd(&self) -> &MqdT {
        self.0.as_ref().expect("open until it is dropped")
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.0.take().map(mq_close);
    }
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Messages in it.
    pub messages: u64,
    /// Messages that fit into it.
    pub capacity: u64,
}

/// An open queue, with room for one message.
#[derive(Debug)]
pub struct PosixQueue {
    name: String,
    /// Whether a call blocks belongs to what was opened, not to the call: so the queue is opened twice.
    blocking: Descriptor,
    nonblocking: Descriptor,
    /// Held shared while anybody has the queue open, so that nobody takes it for a dead one's.
    lock: File,
    buffer: Vec<u8>,
    received: usize,
}

impl PosixQueue {
    /// Creates the queue `name` ("/" and no further slash) for this user alone. It holds `capacity` messages
    /// of up to `longest` bytes. A queue of that name which nobody has open is removed before.
    ///
    /// # Errors
    /// `AddrInUse` if somebody has a queue of that name open; `InvalidInput` if the messages are over
    /// `fs.mqueue.msgsize_max`; otherwise the limit that was reached, and where it is set.
    pub fn create(name: &str, capacity: usize, longest: usize) -> io::Result<PosixQueue> {
        match PosixQueue::open(name) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
            Ok(old) => {
                old.claim()?;
                old.remove()?;
            }
        }
        let attributes = MqAttr::new(0, long(capacity), long(longest), 0);
        match Descriptor::open(name, MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL, &attributes) {
            Ok(blocking) => PosixQueue::with(name, blocking),
            Err(e) => Err(limit_reached(e, capacity, longest)),
        }
    }

    /// Opens the queue `name`.
    ///
    /// # Errors
    /// `NotFound` if there is none; `PermissionDenied` if it is not this user's alone.
    pub fn open(name: &str) -> io::Result<PosixQueue> {
        match Descriptor::open(name, MQ_OFlag::empty(), &MqAttr::new(0, 0, 0, 0)) {
            Ok(blocking) => PosixQueue::with(name, blocking),
            Err(Errno::EACCES) => {
                let why = format!("the message queue {name} is not this user's alone");
                Err(io::Error::new(ErrorKind::PermissionDenied, why))
            }
            Err(e) => Err(e.into()),
        }
    }

    fn with(name: &str, blocking: Descriptor) -> io::Result<PosixQueue> {
        check_private(blocking.mqd(), |t| t.is_file())
            .map_err(|e| io::Error::new(e.kind(), format!("the message queue {name}: {e}")))?;
        let attributes = mq_getattr(blocking.mqd())?;
        let nonblocking = Descriptor::open(name, MQ_OFlag::O_NONBLOCK, &attributes)?;
        // A second descriptor of what was opened first: both are one to flock, which knows open files only.
        let lock = File::from(blocking.mqd().as_fd().try_clone_to_owned()?);
        match lock.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(name)),
            Err(TryLockError::Error(e)) => return Err(e),
        }
        let buffer = vec![0; attributes.msgsize() as usize];
        Ok(PosixQueue { name: name.into(), blocking, nonblocking, lock, buffer, received: 0 })
    }

    /// Fails if anybody else has this queue open.
    ///
    /// # Errors
    /// `AddrInUse`.
    pub fn claim(&self) -> io::Result<()> {
        self.lock.try_lock().map_err(|_| in_use(&self.name))?;
        self.lock.lock_shared()
    }

    /// The name, which begins with a slash.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a message and waits while the queue is full. `priority` is below 32768; higher goes first.
    ///
    /// # Errors
    /// `Interrupted` by a signal: nothing was sent. `InvalidInput` if the priority is too high, or the message
    /// longer than `longest`.
    pub fn send(&mut self, priority: u32, message: &[u8]) -> io::Result<()> {
        mq_send(self.blocking.mqd(), message, priority).map_err(|e| self.failure(e))
    }

    /// The same, but fails with `WouldBlock` when the queue is full.
    ///
    /// # Errors
    /// As [`PosixQueue::send`].
    pub fn try_send(&mut self, priority: u32, message: &[u8]) -> io::Result<()> {
        mq_send(self.nonblocking.mqd(), message, priority).map_err(|e| self.failure(e))
    }

    /// Takes the next message out, which [`PosixQueue::message`] then shows, and waits until there is one. Its
    /// priority.
    ///
    /// # Errors
    /// `Interrupted` by a signal: nothing was taken.
    pub fn receive(&mut self) -> io::Result<u32> {
        let mut priority = 0;
        self.received = mq_receive(self.blocking.mqd(), &mut self.buffer, &mut priority)?;
        Ok(priority)
    }

    /// The same, but fails with `WouldBlock` when the queue is empty.
    ///
    /// # Errors
    /// As [`PosixQueue::receive`].
    pub fn try_receive(&mut self) -> io::Result<u32> {
        let mut priority = 0;
        self.received = mq_receive(self.nonblocking.mqd(), &mut self.buffer, &mut priority)?;
        Ok(priority)
    }

    /// The message that was received last.
    pub fn message(&self) -> &[u8] {
        &self.buffer[..self.received]
    }

    /// How full the queue is at this moment.
    ///
    /// # Errors
    /// None that a queue could cause.
    pub fn level(&self) -> io::Result<Level> {
        let now = mq_getattr(self.blocking.mqd())?;
        Ok(Level { messages: now.curmsgs() as u64, capacity: now.maxmsg() as u64 })
    }

    /// Takes the name away: the queue is gone once all have closed it. Whoever waits at it goes on waiting.
    ///
    /// # Errors
    /// `NotFound` if the name was taken away already.
    pub fn remove(&self) -> io::Result<()> {
        Ok(mq_unlink(self.name.as_str())?)
    }

    #[cold]
    fn failure(&self, e: Errno) -> io::Error {
        match e {
            Errno::EMSGSIZE | Errno::EINVAL => {
                let why = format!(
                    "message queue {}: messages have up to {} bytes, and priorities are below 32768",
                    self.name,
                    self.buffer.len()
                );
                io::Error::new(ErrorKind::InvalidInput, why)
            }
            e => e.into(),
        }
    }
}

fn long(n: usize) -> nix::mqueue::mq_attr_member_t {
    n.try_into().unwrap_or(nix::mqueue::mq_attr_member_t::MAX)
}

fn in_use(name: &str) -> io::Error {
    let why = format!("the message queue {name} is in use by processes with another run-time directory");
    io::Error::new(ErrorKind::AddrInUse, why)
}

/// Why a queue could not be created, and where that is set.
fn limit_reached(e: Errno, capacity: usize, longest: usize) -> io::Error {
    let (kind, why) = match e {
        Errno::EINVAL if longest > limit("msgsize_max") => (
            ErrorKind::InvalidInput,
            format!(
                "a message of {longest} bytes is over the limit fs.mqueue.msgsize_max = {} (set with sysctl)",
                limit("msgsize_max")
            ),
        ),
        Errno::EINVAL => (
            ErrorKind::PermissionDenied,
            format!(
                "a queue of {capacity} messages is over the limit fs.mqueue.msg_max = {} (set with sysctl)",
                limit("msg_max")
            ),
        ),
        // Two limits have the same errno; a file that has nothing to do with queues tells which it was.
        Errno::EMFILE if File::open("/").is_ok() => (
            ErrorKind::QuotaExceeded,
            format!(
                "a queue of {capacity} messages of {longest} bytes is over what this user has left of \
                 RLIMIT_MSGQUEUE (set with ulimit -q)"
            ),
        ),
        Errno::ENOSPC => (
            ErrorKind::StorageFull,
            format!(
                "no message queue is left: all fs.mqueue.queues_max = {} are in use (set with sysctl)",
                limit("queues_max")
            ),
        ),
        e => return e.into(),
    };
    io::Error::new(kind, why)
}

/// A limit of this machine (of its IPC namespace): `msg_max`, `msgsize_max` or `queues_max`. Where `/proc`
/// does not tell, the kernel is left to judge.
pub fn limit(name: &str) -> usize {
    let text = std::fs::read_to_string(format!("/proc/sys/fs/mqueue/{name}"));
    text.ok().and_then(|t| t.trim().parse().ok()).unwrap_or(usize::MAX)
}
