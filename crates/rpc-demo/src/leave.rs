//! The end of an exchange, or of a pipeline: the goodbye, and the replies that are still on their way.

use std::io::{self, ErrorKind};

use nix::poll::PollFlags;
use socket_demo::frame::{GOODBYE, REPLY};

use crate::exchange::Exchange;
use crate::pipeline::Pipeline;

impl Exchange {
    /// Says goodbye, if it fits at once and not in the middle of a request: whether it was said.
    pub fn leave(&mut self) -> bool {
        while !self.broken && !self.link.writer.is_inside_frame() {
            match self.link.try_write(GOODBYE, &self.sent.to_le_bytes()) {
                // A goodbye that a signal swallows would look like a death.
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                said => return said.is_ok(),
            }
        }
        false
    }

    /// After the goodbye: takes in what is owed to calls that were sent again. Closed with a reply unread, a TCP
    /// connection is reset, and our goodbye may be lost.
    ///
    /// # Errors
    /// `WouldBlock`, `Interrupted`.
    pub fn drain(&mut self) -> io::Result<()> {
        while !self.broken && self.came < self.sent {
            match self.link.try_read() {
                Ok(Some(REPLY)) => (self.came, self.late) = (self.came + 1, self.late + 1),
                Err(e) if e.kind() == ErrorKind::WouldBlock && !self.nonblocking => {
                    self.link.connection.wait(PollFlags::POLLIN)?;
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    return Err(e);
                }
                _ => self.broken = true,
            }
        }
        Ok(())
    }
}

impl Pipeline {
    /// Says goodbye, if it fits at once and not in the middle of a request: whether it was said. What was only
    /// gathered is never sent.
    pub fn leave(&mut self) -> bool {
        while !self.broken && self.written == self.whole {
            match self.link.try_write(GOODBYE, &self.sent.to_le_bytes()) {
                // A goodbye that a signal swallows would look like a death.
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                said => return said.is_ok(),
            }
        }
        false
    }

    /// After the goodbye: takes in what is owed to calls that were sent, so that no reply is left unread. Closed with
    /// one, a TCP connection is reset, and our goodbye may be lost.
    ///
    /// # Errors
    /// `Interrupted`, or unless it may `block`, `WouldBlock`.
    pub fn drain(&mut self, block: bool) -> io::Result<()> {
        self.flights.clear();
        while !self.broken && self.came < self.sent {
            match self.link.try_read() {
                Ok(Some(REPLY)) => (self.came, self.late) = (self.came + 1, self.late + 1),
                Err(e) if e.kind() == ErrorKind::WouldBlock && block => {
                    self.link.connection.wait(PollFlags::POLLIN)?;
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    return Err(e);
                }
                _ => self.broken = true,
            }
        }
        Ok(())
    }
}
