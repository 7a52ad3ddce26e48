//! `--drip`: a frame that leaves its sender byte by byte, so that its receiver can be watched waiting for all of it.
//!
//! ```text
//!  sender     8 · · · · · ·|· · · · …        a write(2) for each byte, with a pause behind it
//!  receiver   "blocked: 17 of 104 bytes of a frame have come"
//! ```
//!
//! A receiver of a stream gets bytes whenever they come. That its caller gets the message only when *all* of it has
//! come is the work of [`frame`](crate::frame), and none of the kernel's.
//!
//! System calls: write, poll.

use std::io::{self, ErrorKind};

use nix::poll::PollFlags;

use crate::frame::{DATA, HEADER, header};
use crate::producer::Producer;

impl Producer {
    /// Writes the next byte of an item's frame: whether it was the last. To be called with the same item until
    /// then; nothing else can be sent meanwhile.
    ///
    /// # Errors
    /// As [`Producer::try_send`], or if `block`, as [`Producer::send`].
    pub fn drip(&mut self, item: &[u8], block: bool) -> io::Result<bool> {
        self.check(item.len())?;
        let header = header(DATA, item.len())?;
        let at = self.link.writer.stream.written;
        let byte = if at < HEADER { header[at] } else { item[at - HEADER] };
        while let Err(e) = nix::unistd::write(&self.link.connection, &[byte]) {
            match io::Error::from(e) {
                e if e.kind() == ErrorKind::WouldBlock && block => {
                    self.link.connection.wait(PollFlags::POLLOUT)?
                }
                e => return Err(self.explain(e)),
            }
        }
        let whole = at + 1 == HEADER + item.len();
        self.link.writer.stream.written = if whole { 0 } else { at + 1 };
        self.sent += u64::from(whole);
        Ok(whole)
    }
}
