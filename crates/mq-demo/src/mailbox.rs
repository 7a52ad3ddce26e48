//! Mailbox: a queue that processes meet at by a name, with the beginning and the end that a queue lacks.
//!
//! ```text
//!   Sender ──┐                          ┌── Receiver       demo.mq                the registry file
//!   Sender ──┼──> queue in the kernel ──┼── Receiver       demo.mq.producer.4711  one name for each who
//!   Sender ──┘                          └── Receiver       demo.mq.consumer.4712  is attached, locked
//! ```
//!
//! - The first producer makes the queue, and one that finds it empty with no other producer makes it anew, in
//!   its own shape. Consumers wait for it, and take it as it is.
//! - The stream ends when the last producer leaves: it writes the goodbye into the registry. A consumer that
//!   finds nothing to take *after* it has seen the goodbye is at the end. A new producer takes it back.
//! - A producer that died (its name is there, its lock is not) or failed is noticed by the consumers that were
//!   attached then: they take what is left, and fail. Later ones find a queue like any other.
//! - The last to leave removes the queue if it is empty. A queue with messages stays for those who come, and
//!   so does one whose stream has ended without a message, until a consumer has heard of it.
//!
//! The two ends are [`Sender`](crate::sender::Sender) and [`Receiver`](crate::receiver::Receiver); what they have
//! in common is here. Nobody polls: their `watch`es tell when names or the registry have changed, and
//! then `look` is to be called. A call that sends or receives a message makes one system call and no more.

use std::ffi::c_long;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;

use common::place::{Attached, Attachment, Channel, Guard, Role};

use crate::posix::PosixQueue;
use crate::registry::{self, Api, Record};
use crate::rendezvous;
use crate::sysv::{Select, SysvQueue};

/// How a process leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// A producer that has sent all: a goodbye.
    Finished,
    /// A producer that was stopped: a goodbye too. All that it sent is in the queue.
    Stopped,
    /// A producer whose stream is not whole: to consumers as if it had died.
    Failed,
    /// A consumer.
    Consumer,
}

/// What outlives the last process.
#[derive(Clone, Debug)]
pub struct Left {
    /// How many messages; 0 where it is the end of a stream that had none.
    pub messages: u64,
    /// What the kernel calls the queue: `message queue 17`, `message queue /ipc-lab-1000-demo`.
    pub queue: String,
    /// The command that removes the queue with all that is in it, and the registry that leads to it.
    pub remove: String,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.messages {
            0 => write!(f, "{} keeps the end of a stream without messages", self.queue),
            1 => write!(f, "{} keeps 1 message", self.queue),
            n => write!(f, "{} keeps {n} messages", self.queue),
        }
    }
}

/// An open queue of either kind.
#[derive(Debug)]
pub(crate) enum Queue {
    Sysv(SysvQueue),
    Posix(PosixQueue),
}

impl Queue {
    /// A System V queue is found by its key, a POSIX queue by its name.
    pub(crate) fn create(api: Api, key: i32, name: &str, capacity: usize, size: usize) -> io::Result<Queue> {
        match api {
            Api::Sysv => SysvQueue::create(key, capacity.saturating_mul(size), size).map(Queue::Sysv),
            Api::Posix => PosixQueue::create(name, capacity, size).map(Queue::Posix),
        }
    }

    /// The queue, if it is there.
    pub(crate) fn open(api: Api, key: i32, name: &str, size: usize) -> io::Result<Option<Queue>> {
        let queue = match api {
            Api::Sysv => SysvQueue::open(key, size).map(Queue::Sysv),
            Api::Posix => PosixQueue::open(name).map(Queue::Posix),
        };
        match queue {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionAborted) => Ok(None),
            queue => queue.map(Some),
        }
    }

    /// The queue that a registry leads to, if it is still there.
    pub(crate) fn of(channel: &Channel, record: &Record) -> io::Result<Option<Queue>> {
        Queue::open(record.api, record.key, &posix_name(channel), record.size)
    }

    /// Adds a message. `kind` is its type (positive) or its priority (from 0 to 32767).
    pub(crate) fn send(&mut self, kind: c_long, message: &[u8], block: bool) -> io::Result<()> {
        // What does not fit is too high for the kernel too, which says so.
        let priority = u32::try_from(kind).unwrap_or(u32::MAX);
        match (self, block) {
            (Queue::Sysv(queue), true) => queue.send(kind, message),
            (Queue::Sysv(queue), false) => queue.try_send(kind, message),
            (Queue::Posix(queue), true) => queue.send(priority, message),
            (Queue::Posix(queue), false) => queue.try_send(priority, message),
        }
    }

    /// Takes a message out; a POSIX queue's next, whatever is selected. Its type or priority.
    pub(crate) fn receive(&mut self, select: Select, block: bool) -> io::Result<c_long> {
        match (self, block) {
            (Queue::Sysv(queue), true) => queue.receive(select),
            (Queue::Sysv(queue), false) => queue.try_receive(select),
            (Queue::Posix(queue), true) => queue.receive().map(c_long::from),
            (Queue::Posix(queue), false) => queue.try_receive().map(c_long::from),
        }
    }

    /// The message that was received last.
    pub(crate) fn message(&self) -> &[u8] {
        match self {
            Queue::Sysv(queue) => queue.message(),
            Queue::Posix(queue) => queue.message(),
        }
    }

    pub(crate) fn messages(&self) -> io::Result<u64> {
        match self {
            Queue::Sysv(queue) => Ok(queue.level()?.messages),
            Queue::Posix(queue) => Ok(queue.level()?.messages),
        }
    }

    pub(crate) fn remove(&self) -> io::Result<()> {
        match self {
            Queue::Sysv(queue) => queue.remove(),
            Queue::Posix(queue) => queue.remove(),
        }
    }

    fn left(&self, channel: &Channel, messages: u64) -> Left {
        let registry = channel.path();
        let registry = registry.display();
        let (name, remove) = match self {
            Queue::Sysv(queue) => (queue.id().to_string(), format!("ipcrm -q {}; rm {registry}", queue.id())),
            Queue::Posix(queue) => {
                let (name, file) = (queue.name(), format!("/dev/mqueue{}", queue.name()));
                let mount = if Path::new(&file).exists() { "" } else { "mount -t mqueue none /dev/mqueue; " };
                (name.to_owned(), format!("{mount}rm {file} {registry}"))
            }
        };
        Left { messages, queue: format!("message queue {name}"), remove }
    }
}

/// POSIX queues of all run-time directories share one name space: `/ipc-lab-UID-NAME`.
pub(crate) fn posix_name(channel: &Channel) -> String {
    let path = channel.path();
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    format!("/ipc-lab-{}-{name}", nix::unistd::geteuid())
}

pub(crate) fn in_use(channel: &Channel, why: &str) -> io::Error {
    io::Error::new(ErrorKind::AddrInUse, format!("{} is in use: {why}", channel.path().display()))
}

pub(crate) fn living(attached: &[Attached], role: Role) -> usize {
    attached.iter().filter(|a| a.alive && a.role == role).count()
}

/// A dead process of this role, if its name is still there.
pub(crate) fn dead(attached: &[Attached], role: Role) -> Option<&Attached> {
    attached.iter().find(|a| !a.alive && a.role == role)
}

/// Counts the dead producers into the registry, for consumers that have not looked yet, and forgets them.
pub(crate) fn bury(
    guard: &Guard<'_>,
    channel: &Channel,
    attached: &[Attached],
    record: Option<&mut Record>,
) -> io::Result<()> {
    let died = attached.iter().filter(|a| !a.alive && a.role == Role::Producer).count();
    if let Some(record) = record
        && died > 0
    {
        record.died = record.died.saturating_add(died as u64);
        registry::write(channel, record)?;
    }
    forget_dead(guard, channel, attached)
}

/// Removes the names of the dead, and the queues of their own.
pub(crate) fn forget_dead(guard: &Guard<'_>, channel: &Channel, attached: &[Attached]) -> io::Result<()> {
    rendezvous::clear(channel, attached);
    guard.forget(attached).map(drop)
}

/// Leaves a channel. The last producer says goodbye, and the last process removes the queue, unless there is
/// something in it for those who come. What the registry said, and what stays.
pub(crate) fn leave(
    channel: &Channel,
    attachment: Attachment,
    how: Leaving,
) -> io::Result<(Option<Record>, Option<Left>)> {
    let guard = channel.lock()?;
    let mut record = registry::read(channel)?;
    if let Some(record) = &mut record {
        match how {
            Leaving::Failed => record.died = record.died.saturating_add(1),
            Leaving::Finished | Leaving::Stopped => record.goodbye = guard.living(Role::Producer)? == 1,
            Leaving::Consumer => {}
        }
        if how != Leaving::Consumer {
            registry::write(channel, record)?;
        }
    }
    guard.detach(attachment);
    let attached = guard.attached()?;
    if attached.iter().any(|a| a.alive) {
        return Ok((record, None));
    }
    forget_dead(&guard, channel, &attached)?;
    if let Some(record) = &record
        && let Some(queue) = Queue::of(channel, record)?
    {
        let messages = queue.messages()?;
        // Without a consumer nobody would ever know that this stream has been.
        let unheard = how == Leaving::Finished && record.consumers == 0;
        if messages > 0 || unheard {
            let left = queue.left(channel, messages);
            return Ok((Some(record.clone()), Some(left)));
        }
        queue.remove()?;
    }
    registry::remove(channel)?;
    Ok((record, None))
}
