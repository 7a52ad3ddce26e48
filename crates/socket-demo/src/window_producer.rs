//! The producer's side with a window of acknowledgements: if it loses its consumer, it can say which items are unknown.
//!
//! ```text
//!  producer                                   consumer
//!  HELLO … window 4 ----------------------->
//!              <----------------------- HELLO … window 4     granted; 16 bytes of HELLO would mean: no
//!  DATA #0 #1 #2 #3 ----------------------->
//!  (window full)                              takes #0, #1, asks for #2, …
//!              <----------------------- ACK 2
//!  DATA #4 #5 ----------------------------->  is killed
//!  "6 were handed over, 2 acknowledged; unknown: #2 to #5"
//! ```
//!
//! *Guarantees.* As [`Producer`], and [`window`](crate::window)'s: at most so many items are handed over and not known
//! to have been dealt with. When everything is acknowledged a consumer that dies takes nothing along: the goodbye is
//! said after the last acknowledgement, and its answer is no news then.
//!
//! *Limits.* It listens when it cannot go on, and when the consumer is lost: what has been acknowledged in between is
//! in the socket, and not lost with the consumer.
//!
//! *System calls.* Those of [`Producer`]; poll for both directions at once.

use std::io::{self, ErrorKind};
use std::ops::Range;

use nix::poll::PollFlags;

use crate::dial::{Dial, Hello, Link};
use crate::endpoint::Address;
use crate::frame::{self, Rules};
use crate::producer::Producer;
use crate::protocol::{PROTOCOL, VERSION};
use crate::window::Window;

/// Sends items to a consumer that acknowledges them.
#[derive(Debug)]
pub struct WindowProducer {
    producer: Producer,
    window: Window,
    /// The consumer has said goodbye, so that nothing is unknown any more.
    left: bool,
    /// How many items found the window full; and whether the next one is among them.
    times_full: u64,
    counted: bool,
}

impl WindowProducer {
    /// Will connect to the consumer at `to` and ask for acknowledgements.
    pub fn dial(to: Address, window: u32) -> Dial {
        let rules = Rules::new([(frame::GOODBYE, 8..=8), (frame::ACK, 8..=8)]);
        Dial::new(to, Hello { window, ..Hello::new(PROTOCOL, VERSION, 8) }, rules)
    }

    /// On a connection that has been made so.
    pub fn new(link: Link, window: u32) -> WindowProducer {
        let window = Window::new(window.min(link.server.window));
        WindowProducer { producer: Producer::new(link), window, left: false, times_full: 0, counted: false }
    }

    /// Who the consumer is.
    pub fn peer(&self) -> &str {
        self.producer.peer()
    }

    /// How many items were handed over.
    pub fn sent(&self) -> u64 {
        self.producer.sent
    }

    /// How far the consumer has come, as far as is known.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// How many items had to wait because the window was full.
    pub fn times_full(&self) -> u64 {
        self.times_full
    }

    /// The items, counted from 0, of which nobody knows whether the consumer has dealt with them.
    pub fn unknown(&self) -> Range<u64> {
        if self.left { self.sent()..self.sent() } else { self.window.unknown(self.sent()) }
    }

    /// Refuses a consumer that acknowledges nothing, and an item that is longer than it takes.
    ///
    /// # Errors
    /// `Unsupported`; as [`Producer::check`].
    pub fn check(&self, len: usize) -> io::Result<()> {
        if self.window.size() == 0 {
            let why = "this consumer acknowledges nothing: drop --ack-window";
            return Err(io::Error::new(ErrorKind::Unsupported, why));
        }
        self.producer.check(len)
    }

    /// Sends an item if the window and the socket have room for it, without blocking.
    ///
    /// # Errors
    /// As [`Producer::try_send`]; `InvalidData` if the consumer acknowledges what cannot be.
    pub fn try_send(&mut self, item: &[u8]) -> io::Result<()> {
        self.producer.check(item.len())?;
        if self.is_full() {
            self.listen()?;
        }
        if self.is_full() {
            self.times_full += u64::from(!std::mem::replace(&mut self.counted, true));
            return Err(ErrorKind::WouldBlock.into());
        }
        match self.producer.link.try_write(frame::DATA, item) {
            Ok(()) => {
                self.producer.sent += 1;
                self.counted = false;
                Ok(())
            }
            Err(e) => Err(self.explain(e)),
        }
    }

    /// Sends an item, waiting until there is room for it.
    ///
    /// # Errors
    /// As [`WindowProducer::try_send`], but `Interrupted` in place of `WouldBlock`.
    pub fn send(&mut self, item: &[u8]) -> io::Result<()> {
        loop {
            match self.try_send(item) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.wait(!self.is_full())?,
                done => return done,
            }
        }
    }

    /// Waits for the last acknowledgement, says goodbye, and hears the consumer's; does not block.
    ///
    /// # Errors
    /// `WouldBlock` until then; `ConnectionAborted` if the consumer has gone and something is unknown or missing.
    pub fn try_finish(&mut self) -> io::Result<()> {
        match self.part() {
            // What it dealt with stays dealt with, however it ended.
            Err(e) if e.kind() == ErrorKind::ConnectionAborted && self.has_all() => Ok(()),
            parted => parted,
        }
    }

    /// The same, waiting as long as it takes.
    ///
    /// # Errors
    /// As [`WindowProducer::try_finish`], but `Interrupted` in place of `WouldBlock`.
    pub fn finish(&mut self) -> io::Result<()> {
        loop {
            match self.try_finish() {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.wait(self.has_all() && !self.producer.said_goodbye)?
                }
                done => return done,
            }
        }
    }

    /// Leaves early, as [`Producer::leave`]; what has been acknowledged until now is known.
    pub fn leave(&mut self) -> bool {
        let _ = self.listen();
        self.producer.leave()
    }

    /// What the next item waits for.
    pub fn full(&self) -> String {
        if !self.is_full() {
            return "socket full".into();
        }
        let on_their_way = self.sent() - self.window.acknowledged();
        format!("window full {on_their_way}/{}: {}", self.window.size(), self.unanswered())
    }

    /// What the end waits for.
    pub fn unanswered(&self) -> String {
        match self.unknown() {
            none if none.is_empty() => format!("{} has not answered the goodbye yet", self.peer()),
            some => format!("{} has not acknowledged {} yet", self.peer(), list(&some)),
        }
    }

    fn part(&mut self) -> io::Result<()> {
        self.listen()?;
        if self.has_all() && !self.producer.said_goodbye {
            let sent = self.sent().to_le_bytes();
            self.producer.link.try_write(frame::GOODBYE, &sent).map_err(|e| self.explain(e))?;
            self.producer.said_goodbye = true;
            self.listen()?;
        }
        Err(ErrorKind::WouldBlock.into())
    }

    fn is_full(&self) -> bool {
        self.window.is_full(self.sent())
    }

    fn has_all(&self) -> bool {
        self.window.acknowledged() == self.sent()
    }

    /// Sleeps until the consumer says something, or, where we have something to say, until that can be written.
    fn wait(&self, to_write: bool) -> io::Result<()> {
        let write = if to_write { PollFlags::POLLOUT } else { PollFlags::empty() };
        self.producer.link.connection.wait(PollFlags::POLLIN | write)
    }

    /// Takes what the consumer has said, as far as it has come. Its goodbye, or the connection's end, is an error.
    fn listen(&mut self) -> io::Result<()> {
        let mut was_reset = false;
        loop {
            match self.producer.link.try_read() {
                Ok(Some(kind)) => {
                    let body = self.producer.link.reader.body().first_chunk();
                    let n = body.copied().map(u64::from_le_bytes).unwrap_or_default();
                    if kind == frame::GOODBYE {
                        self.window.close(n, self.sent())?;
                        self.left = true;
                        return Err(self.gone());
                    }
                    self.window.acknowledge(n, self.producer.sent)?;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::InvalidData) => {
                    return Err(e);
                }
                // What it said before may come behind this: see `Link::last_word`.
                Err(e) if e.kind() == ErrorKind::ConnectionReset && !was_reset => was_reset = true,
                Ok(None) | Err(_) => return Err(self.gone()),
            }
        }
    }

    /// Why writing has failed; what the consumer said before it went is listened to first.
    fn explain(&mut self, e: io::Error) -> io::Error {
        let gone = matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
        // Also when the socket is only full. A consumer whose acknowledgements are not read does not read either: both
        // would wait for the other to make room.
        match self.listen() {
            Err(e) => e,
            Ok(()) if gone => self.gone(),
            Ok(()) => e,
        }
    }

    fn gone(&self) -> io::Error {
        let n = self.window.acknowledged();
        match self.unknown() {
            _ if self.left => self.producer.lost(&format!("it took {n} of them")),
            none if none.is_empty() => self.producer.lost("and all of them are acknowledged"),
            some => self.producer.lost(&format!("{n} acknowledged; unknown: {}", list(&some))),
        }
    }
}

/// Items by their numbers: `#968 to #999`.
fn list(items: &Range<u64>) -> String {
    match items.end - items.start {
        1 => format!("#{}", items.start),
        _ => format!("#{} to #{}", items.start, items.end - 1),
    }
}
