//! What happens with every item that was sent or received.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Result;

use super::Session;
use super::speech::own_output;
use crate::item;

impl Session {
    /// Reports an item that was handed to the channel.
    pub fn sent(&mut self, item: &[u8]) -> Result<()> {
        self.sent_in_place(item.first_chunk().expect("an encoded item"), item.len())
    }

    /// The same for an item that was built in place, of which only the head is at hand.
    pub fn sent_in_place(&mut self, head: &[u8; item::HEADER], len: usize) -> Result<()> {
        self.report.sent(&item::Header::parse(head), len);
        self.after_item()
    }

    /// Reports an item that was given to a writer that gathers: `waiting` of the items that it was given are still
    /// with it, and are reported when they have been handed to the channel, too.
    ///
    /// # Errors
    /// As [`Session::sent`].
    pub fn gathered(&mut self, item: &[u8], waiting: usize) -> Result<()> {
        self.gathered_in_place(*item.first_chunk().expect("an encoded item"), item.len(), waiting)
    }

    /// The same for an item that was built in place.
    ///
    /// # Errors
    /// As [`Session::sent`].
    pub fn gathered_in_place(&mut self, head: [u8; item::HEADER], len: usize, waiting: usize) -> Result<()> {
        self.gathered.push_back((head, len));
        self.handed_over(waiting)
    }

    /// Reports the gathered items that have been handed to the channel meanwhile: all but the last `waiting`.
    ///
    /// # Errors
    /// As [`Session::sent`].
    pub fn handed_over(&mut self, waiting: usize) -> Result<()> {
        while self.gathered.len() > waiting
            && let Some((head, len)) = self.gathered.pop_front()
        {
            self.sent_in_place(&head, len)?;
        }
        Ok(())
    }

    /// Checks and reports an item that was taken from the channel, writes its payload to `--output`, and
    /// spends `--delay` on it: whether more are wanted (`--count`). `lane` is the message type or priority
    /// that it came by, 0 where there is none.
    ///
    /// # Errors
    /// [`Stopped`](crate::exit::Stopped), or when `--output` takes no more. A damaged item is counted, and is
    /// no error here.
    pub fn received(&mut self, lane: u64, item: &[u8]) -> Result<bool> {
        let intact = item::open(item);
        self.report.received(lane, item.len(), intact.as_ref().map(|(header, _)| header));
        match intact {
            Some((_, payload)) if self.output.gather(payload) => {}
            Some((_, payload)) => {
                self.flush()?;
                self.output_all(payload)?;
            }
            None => self.warn_corrupted(item.len()),
        }
        self.processed()
    }

    /// The same for an item of `len` encoded bytes that was checked in pieces, in place. Its payload has
    /// been written by [`Session::write_output`] already, if that was wanted.
    ///
    /// # Errors
    /// As [`Session::received`].
    pub fn received_in_place(
        &mut self,
        lane: u64,
        len: usize,
        header: Option<&item::Header>,
    ) -> Result<bool> {
        self.report.received(lane, len, header);
        if header.is_none() {
            self.warn_corrupted(len);
        }
        self.processed()
    }

    /// Whether there is an `--output`, for a mechanism that writes payloads straight from its own memory.
    pub fn has_output(&self) -> bool {
        self.output.fd.is_some()
    }

    /// One write(2) to `--output`, which may block for as long as it likes: how much was taken.
    ///
    /// # Errors
    /// [`Stopped`](crate::exit::Stopped); `InvalidData` if `write` found its own memory damaged; status 1 for all else.
    ///
    /// # Panics
    /// If there is no `--output`.
    pub fn write_output(
        &mut self,
        mut write: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Result<usize> {
        let fd = self.output.fd.take().expect("--output");
        let written = self.transfer(|| write(fd.as_fd()));
        self.output.fd = Some(fd);
        written.map_err(|e| match e.downcast::<io::Error>() {
            Ok(e) if e.kind() != ErrorKind::InvalidData => own_output(e, &self.output.what).into(),
            Ok(e) => e.into(),
            Err(e) => e,
        })
    }

    fn warn_corrupted(&mut self, len: usize) {
        self.warn("corrupted item", || format!("{len} bytes whose checksum does not fit"));
    }

    /// What follows every received item.
    fn processed(&mut self) -> Result<bool> {
        self.after_item()?;
        let Some(args) = &self.consumer else { return Ok(true) };
        let (count, delay) = (args.count, args.delay);
        if !delay.is_zero() {
            self.sleep(delay)?;
        }
        Ok(count == 0 || self.report.items() < count)
    }
}
