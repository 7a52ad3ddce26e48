//! A consumer's end of a [`mailbox`](crate::mailbox): waits for the queue, receives, finds the end.

use std::ffi::c_long;
use std::io::{self, ErrorKind};

use common::place::{Attached, Attachment, Channel, Role, Watch};

use crate::card;
use crate::direct;
use crate::mailbox::{Leaving, Left, Queue, bury, dead, in_use, leave, living};
use crate::registry::{self, Api, Record};
use crate::rendezvous::Receipts;
pub use crate::sysv::Select;

/// Why there is nothing more to come.
#[derive(Clone, Copy, Debug)]
enum End {
    Goodbye,
    Died(Option<u32>),
}

/// A consumer's end of a mailbox. Dropping it leaves the mailbox.
#[derive(Debug)]
pub struct Receiver {
    channel: Channel,
    attachment: Option<Attachment>,
    api: Api,
    select: Select,
    open: Option<(Record, Queue)>,
    /// The queue's key and its dead producers when this consumer came: these are not its concern.
    past: (i32, u64),
    producers: usize,
    end: Option<End>,
}

impl Receiver {
    /// Attaches to a channel, where there need not be a queue yet. POSIX queues know only [`Select::Any`].
    ///
    /// # Errors
    /// When something else is in the registry's place.
    pub fn attach(channel: Channel, api: Api, select: Select) -> io::Result<Receiver> {
        let guard = channel.lock()?;
        let mut record = registry::read(&channel)?;
        bury(&guard, &channel, &guard.attached()?, record.as_mut())?;
        let past = record.map_or((0, 0), |r| (r.key, r.died));
        let attachment = Some(guard.attach(Role::Consumer)?);
        card::write_takes(&channel, select)?;
        drop(guard);
        Ok(Receiver { channel, attachment, api, select, open: None, past, producers: 0, end: None })
    }

    /// Tells when somebody comes or goes: a reason to [`Receiver::open`] or [`Receiver::look`].
    ///
    /// # Errors
    /// When there is no inotify instance left.
    pub fn watch(&self) -> io::Result<Watch> {
        self.channel.watch()
    }

    /// Opens the queue. After the end of a stream: goes on with the next.
    ///
    /// # Errors
    /// `WouldBlock` while no producer has made one; `AddrInUse` if it is of the other kind.
    pub fn open(&mut self) -> io::Result<()> {
        let channel = self.channel.clone();
        let guard = channel.lock()?;
        let record = registry::read(&channel)?.ok_or(ErrorKind::WouldBlock)?;
        let known = self.open.as_ref().map(|(r, _)| (r.key, r.producers));
        if record.goodbye && known == Some((record.key, record.producers)) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let attached = guard.attached()?;
        self.find_out(record, &attached)?;
        if self.open.is_none() { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }

    /// Takes a message, which [`Receiver::message`] then shows, and waits until there is one. Its type or
    /// priority; `None` at the end of the stream.
    ///
    /// # Errors
    /// `Interrupted` by a signal: nothing was taken. `ConnectionAborted` if the queue was removed, or if a
    /// producer died and nothing is left. `NotConnected` before [`Receiver::open`].
    pub fn receive(&mut self) -> io::Result<Option<c_long>> {
        self.take(self.end.is_none())
    }

    /// The same, but fails with `WouldBlock` when there is no message and the end has not come.
    ///
    /// # Errors
    /// As [`Receiver::receive`].
    pub fn try_receive(&mut self) -> io::Result<Option<c_long>> {
        self.take(false)
    }

    fn take(&mut self, block: bool) -> io::Result<Option<c_long>> {
        let Some((_, queue)) = &mut self.open else { return Err(ErrorKind::NotConnected.into()) };
        match queue.receive(self.select, block) {
            Ok(kind) => Ok(Some(kind)),
            Err(e) if e.kind() == ErrorKind::WouldBlock => match self.end {
                None => Err(e),
                Some(End::Goodbye) => Ok(None),
                Some(End::Died(pid)) => {
                    let who = pid.map_or("a producer".into(), |pid| format!("producer {pid}"));
                    let why = format!("{who} died without a goodbye");
                    Err(io::Error::new(ErrorKind::ConnectionAborted, why))
                }
            },
            Err(e) if e.kind() == ErrorKind::ConnectionAborted => {
                // Removed by a producer that has made a new one, or by somebody else?
                let old = self.key();
                self.look()?;
                if self.key() == old { Err(e) } else { Err(ErrorKind::Interrupted.into()) }
            }
            Err(e) => Err(e),
        }
    }

    /// The message that was received last.
    pub fn message(&self) -> &[u8] {
        self.open.as_ref().map_or(&[], |(_, queue)| queue.message())
    }

    /// Whether the types say which [struct](crate::structs) each message is.
    pub fn structs(&self) -> bool {
        self.open.as_ref().is_some_and(|(record, _)| record.structs)
    }

    /// Receipts for producers that want them.
    pub fn receipts(&self) -> Receipts {
        Receipts::new(self.channel.clone(), self.api)
    }

    /// Looks who is attached, and whether the stream has ended.
    ///
    /// # Errors
    /// `ConnectionAborted` if the registry was removed.
    pub fn look(&mut self) -> io::Result<()> {
        let channel = self.channel.clone();
        let guard = channel.lock()?;
        let record = registry::read(&channel)?.ok_or_else(|| {
            let why = format!("{} was removed", channel.path().display());
            io::Error::new(ErrorKind::ConnectionAborted, why)
        })?;
        let attached = guard.attached()?;
        self.find_out(record, &attached)
    }

    /// Draws the conclusions from a registry and the names: the caller holds the lock.
    fn find_out(&mut self, mut record: Record, attached: &[Attached]) -> io::Result<()> {
        if record.api != self.api {
            return Err(in_use(&self.channel, &format!("it is a {} queue (--api {0})", record.api.name())));
        }
        if self.key() != Some(record.key) {
            // The first look at this queue.
            if let Some(queue) = Queue::of(&self.channel, &record)? {
                // Whoever goes on from an old queue to a new one was counted there.
                record.consumers = record.consumers.saturating_add(u64::from(self.open.is_none()));
                registry::write(&self.channel, &record)?;
                self.open = Some((record.clone(), queue));
            }
        } else if let Some((known, _)) = &mut self.open {
            known.clone_from(&record);
        }
        self.producers = living(attached, Role::Producer);
        let past = if self.past.0 == record.key { self.past.1 } else { 0 };
        let dead = dead(attached, Role::Producer);
        self.end = match (self.producers, dead) {
            // Nobody else can send what this one selects.
            (_, Some(name)) if direct::partner(self.select) == Some(name.pid) => {
                Some(End::Died(Some(name.pid)))
            }
            (1.., _) => None,
            (0, Some(name)) => Some(End::Died(Some(name.pid))),
            (0, None) if record.died > past => Some(End::Died(None)),
            (0, None) => record.goodbye.then_some(End::Goodbye),
        };
        Ok(())
    }

    fn key(&self) -> Option<i32> {
        self.open.as_ref().map(|(record, _)| record.key)
    }

    /// Why there is nothing to take: `queue empty`, or that the messages in it are of other types.
    pub fn gauge(&self) -> String {
        match self.open.as_ref().and_then(|(_, queue)| queue.messages().ok()) {
            None | Some(0) => "queue empty".into(),
            Some(n) => match direct::partner(self.select) {
                Some(pid) => format!("none of the {n} messages in the queue says that it is from {pid}"),
                None => format!("none of the {n} messages in the queue is of a selected type"),
            },
        }
    }

    /// How many producers were attached at the last look.
    pub fn producers(&self) -> usize {
        self.producers
    }

    /// Whether others may have received what this consumer has not: because it selects, or because it was not
    /// the only one. Certain after [`Receiver::leave`].
    pub fn is_shared(&self) -> bool {
        self.select != Select::Any || self.open.as_ref().is_some_and(|(record, _)| record.consumers > 1)
    }

    /// Leaves. What stays behind if nobody is left.
    ///
    /// # Errors
    /// When the queue cannot be removed.
    pub fn leave(&mut self) -> io::Result<Option<Left>> {
        let Some(attachment) = self.attachment.take() else { return Ok(None) };
        let (record, left) = leave(&self.channel, attachment, Leaving::Consumer)?;
        if let (Some(record), Some((known, _))) = (record, &mut self.open)
            && record.key == known.key
        {
            *known = record;
        }
        Ok(left)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.leave();
    }
}
