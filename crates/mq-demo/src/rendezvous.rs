//! Rendezvous: the sender is held until the receiver *has* the message.
//!
//! ```text
//!   sender 4711                   the queue                 receiver 4712
//!     msgsnd(#3) ──────────────────> #3 ──────────────────────> msgrcv
//!     msgrcv: held                                               │
//!       :      <── taken #3 by 4712 ──── 4711's own queue ───────┤
//!       :                                                        │  it works on #3
//!     goes on  <── received #3 ───────── 4711's own queue ───────┘
//! ```
//!
//! A queue alone cannot do it: msgsnd(2) returns as soon as the *queue* has the message. So the receiver sends a
//! receipt, on a queue of the sender's own, to which the sender's card leads.
//!
//! Guarantees: when the sender goes on, a receiver was done with the message. A receiver that dies in
//! between is noticed: its first receipt has said who it is. If it dies even before that, no message
//! and no other receiver being left tells it; if there are others, they get 50 ms to say that it was them.
//! Limits: three messages instead of one, and two processes that wake each other up for each.
//!
//! See also: svipc(7), mq_overview(7).

use std::collections::HashMap;
use std::ffi::c_long;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use common::place::{Attached, Channel, Role};

use crate::card;
use crate::mailbox::{Queue, posix_name};
use crate::registry::{self, Api};
use crate::sysv::Select;

/// Bytes of a receipt: the message's number (8), the receiver's pid (4), what it says (4), in the machine's order.
const RECEIPT: usize = 16;
/// Its type, or priority: any would do.
const TYPE: c_long = 1;
/// How many fit into a sender's own queue; two are ever there.
const CAPACITY: usize = 8;
/// How long a living receiver may take from having a message to saying so, while another one has died.
const PATIENCE: Duration = Duration::from_millis(50);
/// How many senders' queues a receiver keeps open.
const KNOWN: usize = 64;

/// What a receipt says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// A receiver has the message in hand.
    Taken = 1,
    /// It is done with it.
    Received = 2,
}

fn encode(number: u64, pid: u32, receipt: Receipt) -> [u8; RECEIPT] {
    let mut bytes = [0; RECEIPT];
    bytes[..8].copy_from_slice(&number.to_ne_bytes());
    bytes[8..12].copy_from_slice(&pid.to_ne_bytes());
    bytes[12..].copy_from_slice(&(receipt as u32).to_ne_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<(u64, u32, Receipt)> {
    let bytes: &[u8; RECEIPT] = bytes.try_into().ok()?;
    let (number, rest) = bytes.split_first_chunk()?;
    let (pid, what) = rest.split_first_chunk()?;
    let receipt = match u32::from_ne_bytes(what.try_into().ok()?) {
        1 => Receipt::Taken,
        2 => Receipt::Received,
        _ => return None,
    };
    Some((u64::from_ne_bytes(*number), u32::from_ne_bytes(*pid), receipt))
}

/// A sender's side: its own queue, and what came there about the message in flight.
#[derive(Debug)]
pub(crate) struct Held {
    queue: Queue,
    /// The message in flight; none is before the first, and after it was received.
    number: Option<u64>,
    taken_by: Option<u32>,
    /// The dead consumers whose names were there at the last look.
    dead: Vec<u32>,
    /// A receiver has died that may have had the message.
    suspicious: bool,
    /// Since when the message is in no queue, and nobody says that it is his.
    gone: Option<Instant>,
}

impl Held {
    /// Makes this process's own queue: the caller holds the channel's lock, and is attached.
    pub(crate) fn create(channel: &Channel, api: Api) -> io::Result<Held> {
        loop {
            let key = registry::random_key()?;
            // The card first: a queue that no card leads to could never be found again.
            card::write_receipts(channel, key)?;
            match Queue::create(api, key, &own_name(channel, std::process::id()), CAPACITY, RECEIPT) {
                Ok(queue) => {
                    let (dead, suspicious, gone) = (Vec::new(), false, None);
                    return Ok(Held { queue, number: None, taken_by: None, dead, suspicious, gone });
                }
                // A System V key that somebody else has.
                Err(e) if e.kind() == ErrorKind::AlreadyExists && api == Api::Sysv => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// A message was sent, and is to be received.
    pub(crate) fn expect(&mut self, number: u64) {
        (self.number, self.taken_by) = (Some(number), None);
        (self.suspicious, self.gone) = (false, None);
    }

    /// Waits for receipts until the message was received.
    pub(crate) fn wait(&mut self, block: bool) -> io::Result<()> {
        while let Some(number) = self.number {
            self.queue.receive(Select::Any, block)?;
            match decode(self.queue.message()) {
                Some((n, _, Receipt::Received)) if n == number => self.number = None,
                Some((n, pid, Receipt::Taken)) if n == number => self.taken_by = Some(pid),
                // Of a message that was given up before, or no receipt at all.
                _ => {}
            }
        }
        Ok(())
    }

    /// Finds out whether a receipt can still come: the caller holds the channel's lock, so nobody attaches
    /// meanwhile. `messages` are in the queue.
    pub(crate) fn look(&mut self, attached: &[Attached], messages: u64) -> io::Result<()> {
        let consumers = || attached.iter().filter(|a| a.role == Role::Consumer);
        let dead: Vec<u32> = consumers().filter(|a| !a.alive).map(|a| a.pid).collect();
        self.suspicious |= dead.iter().any(|pid| !self.dead.contains(pid));
        self.dead = dead;
        // Who has left in good order has sent its receipt before.
        match self.wait(false) {
            Err(e) if e.kind() != ErrorKind::WouldBlock => return Err(e),
            _ if self.number.is_none() => return Ok(()),
            _ => {}
        }
        if let Some(pid) = self.taken_by {
            let alive = consumers().any(|a| a.alive && a.pid == pid);
            return if alive { Ok(()) } else { Err(lost(&format!("consumer {pid}"))) };
        }
        if messages > 0 {
            // Ours may be among them.
            self.gone = None;
            return Ok(());
        }
        if !consumers().any(|a| a.alive) {
            return Err(lost("a consumer"));
        }
        let gone = self.gone.get_or_insert_with(Instant::now).elapsed();
        if self.suspicious && gone >= PATIENCE { Err(lost("a consumer")) } else { Ok(()) }
    }

    /// Why the sender is held: `nobody has taken it yet`.
    pub(crate) fn why(&self) -> String {
        match self.taken_by {
            Some(pid) => format!("consumer {pid} has taken it, and is not done with it"),
            None => "nobody has taken it yet".into(),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.queue.remove();
    }
}

fn lost(who: &str) -> io::Error {
    io::Error::new(ErrorKind::ConnectionAborted, format!("{who} died with the message, before the receipt"))
}

/// A POSIX queue's name says whose it is; a System V queue's key is on the card.
fn own_name(channel: &Channel, pid: u32) -> String {
    format!("{}.{pid}", posix_name(channel))
}

/// Removes the queues of producers that died: the caller holds the channel's lock, and forgets their names then.
pub fn clear(channel: &Channel, attached: &[Attached]) {
    for producer in attached.iter().filter(|a| a.role == Role::Producer && !a.alive) {
        let Some(key) = card::receipts(channel, producer.pid) else { continue };
        // The card does not say of which family it is. What is not this user's alone is not ours.
        for api in [Api::Sysv, Api::Posix] {
            if let Ok(Some(queue)) = Queue::open(api, key, &own_name(channel, producer.pid), RECEIPT) {
                let _ = queue.remove();
            }
        }
    }
}

/// A receiver's side: sends receipts to the senders that want them.
#[derive(Debug)]
pub struct Receipts {
    channel: Channel,
    api: Api,
    /// Senders' own queues, by stream; `None` where a sender does not want receipts.
    queues: HashMap<u64, Option<Queue>>,
    /// The last stream, if its sender does not want receipts: as a rule the next message's too.
    unwanted: Option<u64>,
}

impl Receipts {
    pub(crate) fn new(channel: Channel, api: Api) -> Receipts {
        Receipts { channel, api, queues: HashMap::new(), unwanted: None }
    }

    /// Sends a receipt for message `number`, if its sender wants one: process `pid`, in the run that the random
    /// number `stream` stands for. Never waits. Whoever does not get it has gone.
    pub fn send(&mut self, stream: u64, pid: u32, number: u64, receipt: Receipt) {
        if self.unwanted == Some(stream) {
            return;
        }
        if self.queues.len() >= KNOWN && !self.queues.contains_key(&stream) {
            self.queues.clear();
        }
        let queue = self.queues.entry(stream).or_insert_with(|| {
            // Looked up once: a sender makes its queue before its first message.
            let key = card::receipts(&self.channel, pid)?;
            Queue::open(self.api, key, &own_name(&self.channel, pid), RECEIPT).ok()?
        });
        if let Some(open) = queue
            && open.send(TYPE, &encode(number, std::process::id(), receipt), false).is_err()
        {
            *queue = None;
        }
        self.unwanted = queue.is_none().then_some(stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for receipt in [Receipt::Taken, Receipt::Received] {
            let bytes = encode(u64::MAX - 1, 4711, receipt);
            assert_eq!(decode(&bytes), Some((u64::MAX - 1, 4711, receipt)));
            assert_eq!(decode(&bytes[1..]), None);
        }
        assert_eq!(decode(&[0; RECEIPT]), None);
    }
}
