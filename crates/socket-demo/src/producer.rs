//! The producer's side: sends items, says goodbye, and learns how many of them were taken.
//!
//! *Guarantees.* After [`Producer::finish`] the consumer has taken every item. If the consumer leaves or dies
//! before, sending fails, and the error says how many items were handed over and, if the consumer was able to
//! tell, how many of them it took.
//!
//! *Limits.* That [`Producer::send`] has succeeded says only that the kernel has the item: knowing that it
//! arrived takes an answer, and here there is only one, at the end. More of them:
//! [`window_producer`](crate::window_producer).

use std::io::{self, ErrorKind};

use nix::poll::PollFlags;

use crate::dial::{Dial, Hello, Link};
use crate::endpoint::Address;
use crate::frame::{self, Rules};
use crate::protocol::{PROTOCOL, VERSION};

/// Sends items to a consumer.
#[derive(Debug)]
pub struct Producer {
    pub(crate) link: Link,
    pub(crate) sent: u64,
    pub(crate) said_goodbye: bool,
}

impl Producer {
    /// Will connect to the consumer at `to`. From it only its goodbye may come.
    pub fn dial(to: Address) -> Dial {
        let rules = Rules::new([(frame::GOODBYE, 8..=8)]);
        Dial::new(to, Hello::new(PROTOCOL, VERSION, 8), rules)
    }

    /// On a connection that has been made.
    pub fn new(link: Link) -> Producer {
        Producer { link, sent: 0, said_goodbye: false }
    }

    /// Who the consumer is.
    pub fn peer(&self) -> &str {
        &self.link.connection.peer
    }

    /// Refuses an item that is longer than the consumer takes.
    ///
    /// # Errors
    /// `FileTooLarge`, naming both lengths.
    pub fn check(&self, len: usize) -> io::Result<()> {
        let max = self.link.server.max_frame as usize;
        if len <= max {
            return Ok(());
        }
        let why = format!(
            "an item of {len} bytes (with its header); the consumer takes up to {max}, see its --max-frame"
        );
        Err(io::Error::new(ErrorKind::FileTooLarge, why))
    }

    /// Sends an item, without blocking.
    ///
    /// # Errors
    /// `WouldBlock` if the socket is full: call it again with the same item. `FileTooLarge` if the consumer
    /// does not take so long an item; `ConnectionAborted` if the consumer has gone.
    pub fn try_send(&mut self, item: &[u8]) -> io::Result<()> {
        self.check(item.len())?;
        match self.link.try_write(frame::DATA, item) {
            Ok(()) => self.sent += 1,
            Err(e) => return Err(self.explain(e)),
        }
        Ok(())
    }

    /// Sends an item, waiting until the socket has room for it.
    ///
    /// # Errors
    /// As [`Producer::try_send`], but `Interrupted` in place of `WouldBlock`.
    pub fn send(&mut self, item: &[u8]) -> io::Result<()> {
        loop {
            match self.try_send(item) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.link.connection.wait(PollFlags::POLLOUT)?;
                }
                done => return done,
            }
        }
    }

    /// Says goodbye and hears the consumer's, which says that it has taken everything; does not block.
    ///
    /// # Errors
    /// `WouldBlock` until it has come; `ConnectionAborted` if the consumer left without having taken all.
    pub fn try_finish(&mut self) -> io::Result<()> {
        if !self.said_goodbye {
            if let Err(e) = self.link.try_write(frame::GOODBYE, &self.sent.to_le_bytes()) {
                // The consumer may have left after it had taken everything, which is as good.
                return self.explain_unless_all_taken(e);
            }
            self.said_goodbye = true;
        }
        match self.link.try_read() {
            Ok(Some(frame::GOODBYE)) => {
                let taken = self.link.reader.body().first_chunk().copied().map(u64::from_le_bytes);
                if taken == Some(self.sent) { Ok(()) } else { Err(self.gone(taken)) }
            }
            Ok(Some(kind)) => {
                let why = format!("a frame of kind {kind} where a goodbye was to come");
                Err(io::Error::new(ErrorKind::InvalidData, why))
            }
            Ok(None) => Err(self.gone(None)),
            Err(e) if is_for_later(&e) || e.kind() == ErrorKind::InvalidData => Err(e),
            Err(_) => self.unless_all_taken(),
        }
    }

    /// The same, waiting as long as it takes.
    ///
    /// # Errors
    /// As [`Producer::try_finish`], but `Interrupted` in place of `WouldBlock`.
    pub fn finish(&mut self) -> io::Result<()> {
        loop {
            match self.try_finish() {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    let flag = if self.said_goodbye { PollFlags::POLLIN } else { PollFlags::POLLOUT };
                    self.link.connection.wait(flag)?;
                }
                done => return done,
            }
        }
    }

    /// Leaves early: the goodbye is sent if it fits at once, and not in the middle of an item; no answer is
    /// waited for. Whether it was sent.
    pub fn leave(&mut self) -> bool {
        let inside = self.link.writer.is_inside_frame() && !self.said_goodbye;
        !inside && self.link.try_write(frame::GOODBYE, &self.sent.to_le_bytes()).is_ok()
    }

    /// Whether the goodbye has been sent, so that only the consumer's is missing.
    pub fn has_said_goodbye(&self) -> bool {
        self.said_goodbye
    }

    /// How many items were handed over.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    pub(crate) fn explain(&mut self, e: io::Error) -> io::Error {
        match e.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
                let taken = self.link.last_word();
                self.gone(taken)
            }
            _ => e,
        }
    }

    fn explain_unless_all_taken(&mut self, e: io::Error) -> io::Result<()> {
        match e.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => self.unless_all_taken(),
            _ => Err(e),
        }
    }

    fn unless_all_taken(&mut self) -> io::Result<()> {
        match self.link.last_word() {
            Some(taken) if taken == self.sent => Ok(()),
            taken => Err(self.gone(taken)),
        }
    }

    pub(crate) fn gone(&self, taken: Option<u64>) -> io::Error {
        match taken {
            Some(n) => self.lost(&format!("it took {n} of them")),
            None => self.lost("how many of them it took is not known"),
        }
    }

    pub(crate) fn lost(&self, fate: &str) -> io::Error {
        let why =
            format!("the consumer ({}) has gone; {} items were handed over, {fate}", self.peer(), self.sent);
        io::Error::new(ErrorKind::ConnectionAborted, why)
    }
}

fn is_for_later(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
