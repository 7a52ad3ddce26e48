//! A producer's end of a [`mailbox`](crate::mailbox): makes the queue, sends, says goodbye.

use std::ffi::c_long;
use std::io::{self, ErrorKind};

use common::place::{Attached, Attachment, Channel, Role, Watch};

use crate::direct::Link;
use crate::mailbox::{Leaving, Left, Queue, bury, forget_dead, in_use, leave, living, posix_name};
use crate::registry::{self, Api, Record};
use crate::rendezvous::Held;

/// What a producer wants the queue to be like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The family of calls.
    pub api: Api,
    /// How many messages of `size` bytes it shall hold; 10, or fewer if an ordinary user cannot have so many.
    pub capacity: Option<usize>,
    /// Bytes of the largest message.
    pub size: usize,
    /// Whether the types say which [struct](crate::structs) each message is.
    pub structs: bool,
}

/// A producer's end of a mailbox. Dropping it without a goodbye is a failure, and consumers are told so.
#[derive(Debug)]
pub struct Sender {
    channel: Channel,
    attachment: Option<Attachment>,
    record: Record,
    queue: Queue,
    consumers: usize,
    link: Option<Link>,
    held: Option<Held>,
}

impl Sender {
    /// Makes the queue, or joins the one that others use or that still holds messages.
    ///
    /// # Errors
    /// `InvalidInput` if messages of this size cannot be; `AddrInUse` if a queue is in use that is not like
    /// `shape`; otherwise the limit that was reached.
    pub fn create(channel: Channel, shape: &Shape) -> io::Result<Sender> {
        let guard = channel.lock()?;
        let attached = guard.attached()?;
        let consumers = living(&attached, Role::Consumer);
        // A new queue for the consumers of the old one does not make one consumer of several.
        let known = if consumers > 0 { registry::read(&channel)? } else { None };
        let counted = known.map_or(0, |record| record.consumers);
        let attachment = guard.attach(Role::Producer)?;
        let made = (|| {
            let (mut record, queue) = match found(&channel, &attached)? {
                Some((mut record, queue)) => {
                    check_shape(&channel, &record, shape)?;
                    bury(&guard, &channel, &attached, Some(&mut record))?;
                    (record, queue)
                }
                None => {
                    forget_dead(&guard, &channel, &attached)?;
                    make(&channel, shape, counted)?
                }
            };
            record.goodbye = false;
            record.producers = record.producers.saturating_add(1);
            registry::write(&channel, &record)?;
            Ok((record, queue))
        })();
        match made {
            Ok((record, queue)) => {
                drop(guard);
                let attachment = Some(attachment);
                Ok(Sender { channel, attachment, record, queue, consumers, link: None, held: None })
            }
            Err(e) => {
                guard.detach(attachment);
                Err(e)
            }
        }
    }

    /// Tells when somebody comes or goes: a reason to [`Sender::look`].
    ///
    /// # Errors
    /// When there is no inotify instance left.
    pub fn watch(&self) -> io::Result<Watch> {
        self.channel.watch()
    }

    /// Adds a message and waits while the queue is full. `kind` is its type (positive), or its priority (from
    /// 0 to 32767).
    ///
    /// # Errors
    /// `Interrupted` by a signal: nothing was sent. `ConnectionAborted` if the queue was removed.
    pub fn send(&mut self, kind: c_long, message: &[u8]) -> io::Result<()> {
        self.queue.send(kind, message, true)
    }

    /// The same, but fails with `WouldBlock` when the queue is full.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub fn try_send(&mut self, kind: c_long, message: &[u8]) -> io::Result<()> {
        self.queue.send(kind, message, false)
    }

    /// Sends to one process alone from now on, by messages of the type [`direct::to`](crate::direct::to).
    pub fn link(&mut self, link: Link) {
        self.link = Some(link);
    }

    /// The one that this producer sends to, if to one alone.
    pub fn linked(&self) -> Option<&Link> {
        self.link.as_ref()
    }

    /// Wants a [receipt](crate::rendezvous) for each message from now on, on a queue of this process's own.
    ///
    /// # Errors
    /// The limit that was reached.
    pub fn want_receipts(&mut self) -> io::Result<()> {
        let _guard = self.channel.lock()?;
        self.held = Some(Held::create(&self.channel, self.record.api)?);
        Ok(())
    }

    /// To be called once `number` was sent: [`Sender::held`] waits for its receipt.
    pub fn expect(&mut self, number: u64) {
        self.held.iter_mut().for_each(|held| held.expect(number));
    }

    /// Waits, if it may `block`, until the expected message has been received.
    ///
    /// # Errors
    /// `Interrupted` by a signal; `WouldBlock` if it was not received yet.
    pub fn held(&mut self, block: bool) -> io::Result<()> {
        self.held.as_mut().map_or(Ok(()), |held| held.wait(block))
    }

    /// Why the sender is held.
    pub fn held_why(&self) -> String {
        self.held.as_ref().map_or_else(String::new, Held::why)
    }

    /// Looks who is attached.
    ///
    /// # Errors
    /// `ConnectionAborted` if the one has gone that this producer sends to, or that had the expected message in hand.
    pub fn look(&mut self) -> io::Result<()> {
        let guard = self.channel.lock()?;
        let attached = guard.attached()?;
        self.consumers = living(&attached, Role::Consumer);
        if let Some(link) = &mut self.link {
            link.look(&self.channel, &attached)?;
        }
        if let Some(held) = &mut self.held {
            held.look(&attached, self.queue.messages()?)?;
        }
        Ok(())
    }

    /// How many consumers were attached at the last look.
    pub fn consumers(&self) -> usize {
        self.consumers
    }

    /// How many messages of the largest size the queue holds.
    pub fn capacity(&self) -> usize {
        self.record.capacity
    }

    /// How full the queue is: `3/3`; where small messages make a difference, in bytes too.
    pub fn gauge(&self) -> String {
        let capacity = self.record.capacity;
        match &self.queue {
            Queue::Sysv(queue) => queue.level().map_or_else(
                |_| "removed".into(),
                |now| match now.messages.cmp(&(capacity as u64)) {
                    std::cmp::Ordering::Equal => format!("{capacity}/{capacity}"),
                    _ => format!("{}/{capacity}, {} of {} bytes", now.messages, now.bytes, now.capacity),
                },
            ),
            Queue::Posix(queue) => {
                queue.level().map_or_else(|_| "?".into(), |now| format!("{}/{}", now.messages, now.capacity))
            }
        }
    }

    /// Leaves, with all sent. The last producer's leaving ends the stream. What stays behind if nobody is left.
    ///
    /// # Errors
    /// When the registry cannot be written, or the queue not removed.
    pub fn finish(&mut self) -> io::Result<Option<Left>> {
        self.leave(Leaving::Finished)
    }

    /// Leaves before all was sent, because somebody wanted it so: a goodbye as well. Everything that was sent is
    /// in the queue.
    ///
    /// # Errors
    /// As [`Sender::finish`].
    pub fn stop(&mut self) -> io::Result<Option<Left>> {
        self.leave(Leaving::Stopped)
    }

    /// Leaves without a goodbye: consumers take what is in the queue, and then know that it is not all.
    ///
    /// # Errors
    /// As [`Sender::finish`].
    pub fn fail(&mut self) -> io::Result<Option<Left>> {
        self.leave(Leaving::Failed)
    }

    fn leave(&mut self, how: Leaving) -> io::Result<Option<Left>> {
        let Some(attachment) = self.attachment.take() else { return Ok(None) };
        // Before the name, which leads to it.
        self.held = None;
        Ok(leave(&self.channel, attachment, how)?.1)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.fail();
    }
}

/// The queue that is there, if it has to be kept: producers use it, or it holds messages. Any other is removed.
fn found(channel: &Channel, attached: &[Attached]) -> io::Result<Option<(Record, Queue)>> {
    let Some(record) = registry::read(channel)? else { return Ok(None) };
    let Some(queue) = Queue::of(channel, &record)? else { return Ok(None) };
    if let Queue::Posix(queue) = &queue
        && attached.iter().all(|a| !a.alive)
    {
        // A name that all run-time directories share: is it really ours?
        queue.claim()?;
    }
    if living(attached, Role::Producer) > 0 || queue.messages()? > 0 {
        return Ok(Some((record, queue)));
    }
    queue.remove()?;
    Ok(None)
}

fn check_shape(channel: &Channel, record: &Record, shape: &Shape) -> io::Result<()> {
    let Record { api, capacity, size, structs, .. } = record;
    if *api != shape.api {
        return Err(in_use(channel, &format!("it is a {} queue (--api {0})", api.name())));
    }
    if shape.size > *size {
        let why =
            format!("its messages have up to {size} bytes, header included; these would have {}", shape.size);
        return Err(in_use(channel, &why));
    }
    if shape.structs != *structs {
        let no = if *structs { "" } else { "no " };
        return Err(in_use(channel, &format!("its messages are {no}structs (--structs)")));
    }
    if shape.capacity.is_some_and(|n| n != *capacity) {
        return Err(in_use(channel, &format!("its capacity is {capacity}")));
    }
    Ok(())
}

/// Makes a new queue, and the registry that leads to it before: a queue that nothing leads to could never be
/// found again.
fn make(channel: &Channel, shape: &Shape, consumers: u64) -> io::Result<(Record, Queue)> {
    let most = match shape.api {
        Api::Sysv => crate::sysv::limit("msgmnb") / shape.size.max(1),
        Api::Posix => crate::posix::limit("msg_max"),
    };
    let mut capacity = shape.capacity.unwrap_or(most.clamp(1, 10));
    loop {
        let record = Record {
            api: shape.api,
            key: registry::random_key()?,
            capacity,
            size: shape.size,
            structs: shape.structs,
            producers: 0,
            consumers,
            died: 0,
            goodbye: false,
        };
        registry::write(channel, &record)?;
        match Queue::create(record.api, record.key, &posix_name(channel), capacity, record.size) {
            Ok(queue) => return Ok((record, queue)),
            // A System V key that somebody else has: one in two thousand million.
            Err(e) if e.kind() == ErrorKind::AlreadyExists && shape.api == Api::Sysv => {}
            // Too much for RLIMIT_MSGQUEUE, and nobody asked for so much.
            Err(e) if e.kind() == ErrorKind::QuotaExceeded && shape.capacity.is_none() && capacity > 1 => {
                capacity /= 2;
            }
            Err(e) => {
                registry::remove(channel)?;
                return Err(e);
            }
        }
    }
}
