//! `--unframed`: what a stream does to messages when nothing in it says where one ends.
//!
//! ```text
//!  sender     write(96) write(96) write(96) write(96) write(96) …
//!  stream     ────────────────────────────────────────────────────
//!  receiver   read = 96 | read = 4096: 42 messages and 64 bytes of the next | read = …
//! ```
//!
//! Who sends slowly and reads quickly sees one message in each read, and takes that for a promise. It is none: a
//! read returns what has come, up to the room in the buffer. How many messages that is depends on who ran when, on
//! buffers, and over a network on segments.
//!
//! Guarantees: those of a stream, which are about bytes. After the two HELLOs there is not one byte here that is
//! not a message's. Without a goodbye in the stream its end is the end of the connection (the sender shuts down its
//! half and waits until the receiver has closed), and a sender that was killed looks the same.
//! [`frame`](crate::frame) is the step further.
//!
//! System calls: write, shutdown, read, poll. See tcp(7), shutdown(2).

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd};

use nix::poll::PollFlags;
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::{read, write};

use crate::dial::{Dial, Hello, Link};
use crate::endpoint::{Address, Connection};
use crate::frame::Rules;
use crate::listener::Listener;
use crate::protocol::{UNFRAMED, VERSION};
use crate::server::{Event, Server};

/// What one read takes at most, in bytes: as much as most programs of this kind have.
pub const BUFFER: usize = 4096;

/// Writes messages into a stream, as they are.
#[derive(Debug)]
pub struct Sender {
    link: Link,
    /// How much of the current message has been written.
    written: usize,
    /// How often write(2) took something.
    writes: u64,
    shut_down: bool,
}

impl Sender {
    /// Will connect to the receiver at `to`, which must do without frames too.
    pub fn dial(to: Address) -> Dial {
        Dial::new(to, Hello::new(UNFRAMED, VERSION, 0), Rules::new([]))
    }

    /// On a connection that has been made.
    pub fn new(link: Link) -> Sender {
        Sender { link, written: 0, writes: 0, shut_down: false }
    }

    /// How often write(2) took something.
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// Writes a message and nothing else.
    ///
    /// # Errors
    /// `WouldBlock`, or if `block`, `Interrupted`: call it again with the same message. `BrokenPipe` or
    /// `ConnectionReset` if the receiver has gone.
    pub fn send(&mut self, message: &[u8], block: bool) -> io::Result<()> {
        while self.written < message.len() {
            match write(&self.link.connection, &message[self.written..]).map_err(io::Error::from) {
                Ok(n) => (self.written, self.writes) = (self.written + n, self.writes + 1),
                Err(e) if e.kind() == ErrorKind::WouldBlock && block => {
                    self.link.connection.wait(PollFlags::POLLOUT)?
                }
                Err(e) => return Err(e),
            }
        }
        self.written = 0;
        Ok(())
    }

    /// Ends the stream, and waits until the receiver has read all of it.
    ///
    /// # Errors
    /// `WouldBlock`, or if `block`, `Interrupted`, until then; `ConnectionReset` if it closed with something unread.
    pub fn finish(&mut self, block: bool) -> io::Result<()> {
        if !self.shut_down {
            shutdown(self.link.connection.as_fd().as_raw_fd(), Shutdown::Write)?;
            self.shut_down = true;
        }
        loop {
            match read(&self.link.connection, &mut [0; 64]).map_err(io::Error::from) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock && block => {
                    self.link.connection.wait(PollFlags::POLLIN)?
                }
                Err(e) => return Err(e),
            }
        }
    }
}

/// Reads what comes.
#[derive(Debug)]
pub struct Receiver {
    server: Server,
    connection: Option<Connection>,
    buffer: [u8; BUFFER],
    len: usize,
}

impl Receiver {
    /// Listens at `address`.
    ///
    /// # Errors
    /// As [`Listener::open`].
    pub fn listen(address: &Address) -> io::Result<Receiver> {
        let hello = Hello::new(UNFRAMED, VERSION, 0);
        let server = Server::new(Listener::open(address)?, hello, Rules::new([]))?;
        Ok(Receiver { server, connection: None, buffer: [0; BUFFER], len: 0 })
    }

    /// Waits for a sender, of which there is one at a time; something worth a line may come before it.
    ///
    /// # Errors
    /// `WouldBlock`, or, if `block`, `Interrupted`.
    pub fn meet(&mut self, block: bool) -> io::Result<Option<String>> {
        while self.connection.is_none() {
            match self.server.next_event(block)? {
                Event::Came(id) => self.connection = self.server.release(id),
                Event::Notice(notice) => return Ok(Some(notice)),
                _ => {}
            }
        }
        Ok(None)
    }

    /// One read(2): how many bytes there were, 0 at the end.
    ///
    /// # Errors
    /// `WouldBlock`, or, if `block`, `Interrupted`; what read(2) fails with.
    pub fn read(&mut self, block: bool) -> io::Result<usize> {
        let Some(connection) = &self.connection else { return Ok(0) };
        loop {
            match read(connection, &mut self.buffer).map_err(io::Error::from) {
                Ok(n) => {
                    self.len = n;
                    if n == 0 {
                        // Closing ours is what tells the sender that all was read.
                        self.connection = None;
                    }
                    return Ok(n);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock && block => connection.wait(PollFlags::POLLIN)?,
                Err(e) => return Err(e),
            }
        }
    }

    /// What the last read has brought.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}
