//! The buffer, and with `--duplex` the way back, by which every item has a reply.

use std::io::{self, ErrorKind, Write};

use anyhow::Result;
use common::item::{self, HEADER, Header};
use shm_demo::buffer::Buffer;

/// What is popped, and where replies are pushed.
pub struct End {
    pub buffer: Buffer,
    pub replies: Option<Buffer>,
    /// The item in hand has no reply yet.
    owing: bool,
}

impl End {
    pub fn new(buffer: Buffer) -> Result<End> {
        Ok(End { replies: buffer.replies()?, buffer, owing: false })
    }

    /// Pops an item; false at the end of the stream.
    pub fn pop(&mut self, block: bool) -> io::Result<bool> {
        let popped = self.buffer.pop(block)?;
        self.owing = popped && self.replies.is_some();
        Ok(popped)
    }

    /// Replies to the item in hand, if it has no reply yet: how many bytes came. The reply is an item of the same stream
    /// and number, by which the producer knows it.
    pub fn reply(&mut self, block: bool) -> io::Result<()> {
        let (Some(replies), true) = (&mut self.replies, self.owing) else { return Ok(()) };
        let item = self.buffer.item();
        // As it came: a corrupted item has a reply, too.
        let asked = Header::parse(item.first_chunk().unwrap_or(&[0; HEADER]));
        let mut reply = [0; HEADER + 8];
        reply[HEADER..].copy_from_slice(&(item.len() as u64).to_le_bytes());
        item::seal_now(&mut reply, &Header { pid: self.buffer.object().pid, ..asked });
        let mut pushed = replies.push(&reply, false);
        if let Err(e) = &pushed
            && e.kind() == ErrorKind::WouldBlock
        {
            // Full of what nobody has read: there may be nobody left to read it.
            let object = self.buffer.object();
            pushed = match object.end(object.is_closed()) {
                Err(e) if e.kind() == ErrorKind::WouldBlock && block => replies.push(&reply, true),
                over => over,
            }
        }
        self.owing = pushed.is_err();
        pushed
    }

    pub fn why(&self) -> String {
        self.buffer.why()
    }

    pub fn why_no_reply(&self) -> String {
        "nobody has read the replies, and there is no room for one more".into()
    }

    /// Says at once what it finds: the wait, in the middle of which this is called, may never end.
    pub fn look(&mut self) -> io::Result<()> {
        let looked = self.buffer.look();
        if let Some(note) = self.buffer.note() {
            let _ = writeln!(io::stderr(), "{note}");
        }
        looked
    }
}
