//! Both ways: a connection is two pipes in one, so an answer comes back on the way that its item went.
//!
//! ```text
//!  producer                  one connection                  consumer
//!  HELLO both ------------------------------------------>
//!             <------------------------------------------ HELLO both
//!  DATA #0 --------------------------------------------->    deals with it
//!             <------------------------------------------ DATA #0
//!  DATA #1 --------------------------------------------->    …
//! ```
//!
//! The answer is the item itself, byte by byte: the same frame can go either way. The producer compares.
//!
//! *Guarantees.* Those of [`Producer`] and [`Consumer`]. What has come back has been dealt with, so that one item at most
//! is unknown when the consumer dies. A consumer has any number of producers, and each hears of its own items.
//!
//! *Limits.* One item for each journey there and back, in which nobody has anything to do but wait.
//!
//! *System calls.* Two on either side to say and to hear something, and one to wait (poll, epoll_wait): who has just spoken does not
//! try to read, because nothing can have come.
//!
//! See also: socket(7); [`window`](crate::window), which does not wait for each.

use std::io::{self, ErrorKind};

use nix::poll::PollFlags;

use crate::consumer::Consumer;
use crate::dial::{Dial, Hello};
use crate::endpoint::Address;
use crate::frame;
use crate::listener::Listener;
use crate::producer::Producer;
use crate::protocol::{DUPLEX, VERSION, rules};
use crate::server::Server;

/// Listens at `address`, takes items of up to `max_frame` bytes, and owes each to its producer:
/// [`Consumer::send_back`].
///
/// # Errors
/// As [`Listener::open`].
pub fn listen(address: &Address, max_frame: usize) -> io::Result<Consumer> {
    let hello = Hello::new(DUPLEX, VERSION, max_frame);
    Ok(Consumer::new(Server::new(Listener::open(address)?, hello, rules(max_frame))?))
}

/// Sends items, each when the one before has come back.
#[derive(Debug)]
pub struct DuplexProducer<'a> {
    producer: &'a mut Producer,
    answered: u64,
    /// An item was just sent, and nobody has waited for it since.
    just_sent: bool,
}

impl<'a> DuplexProducer<'a> {
    /// Will connect to the consumer at `to`. From it items of up to `longest` bytes may come, and its goodbye.
    pub fn dial(to: Address, longest: usize) -> Dial {
        Dial::new(to, Hello::new(DUPLEX, VERSION, longest), rules(longest))
    }

    /// Sends by `producer`, whose connection was made so.
    pub fn new(producer: &'a mut Producer) -> DuplexProducer<'a> {
        DuplexProducer { producer, answered: 0, just_sent: false }
    }

    /// How many items have come back.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Sends an item; if it may `block`, waits while the socket is full.
    ///
    /// # Errors
    /// As [`Producer::send`], or unless it may `block`, as [`Producer::try_send`].
    pub fn send(&mut self, item: &[u8], block: bool) -> io::Result<()> {
        if block {
            self.producer.send(item)?
        } else {
            self.producer.try_send(item)?
        }
        self.just_sent = true;
        Ok(())
    }

    /// Takes `item` back, which was sent last; if it may `block`, waits until it comes.
    ///
    /// # Errors
    /// `WouldBlock`, or if it may `block`, `Interrupted`; `InvalidData` if it is not the same; `ConnectionAborted` if the
    /// consumer has gone.
    pub fn answer(&mut self, item: &[u8], block: bool) -> io::Result<()> {
        loop {
            let link = &mut self.producer.link;
            match link.reader.next_frame()? {
                None => {}
                Some(frame::DATA) if link.reader.body() == item => {
                    self.answered += 1;
                    return Ok(());
                }
                Some(frame::DATA) => {
                    let why = format!("what came back is not item #{} as it was sent", self.answered);
                    return Err(io::Error::new(ErrorKind::InvalidData, why));
                }
                Some(_) => {
                    let taken = link.reader.body().first_chunk().copied().map(u64::from_le_bytes);
                    return Err(self.producer.gone(taken));
                }
            }
            let just_sent = std::mem::take(&mut self.just_sent);
            if block {
                link.connection.wait(PollFlags::POLLIN)?;
            } else if just_sent {
                return Err(ErrorKind::WouldBlock.into());
            }
            match link.reader.fill(&link.connection) {
                Ok(0) => return Err(link.reader.cut().unwrap_or_else(|| self.producer.gone(None))),
                Ok(_) => {}
                Err(e) => return Err(self.producer.explain(e)),
            }
        }
    }
}
