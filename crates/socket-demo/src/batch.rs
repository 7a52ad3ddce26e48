//! Batches: items that nobody waits for travel together, by one system call.
//!
//! ```text
//!   write #0    after a silence      [#0] ─────────────────────►      at once: somebody may wait for it
//!   write #1 …  right after it       [#1 #2 … #157]
//!   write #158  that is enough       [#1 #2 … #157 #158] ──────►      one call
//!   flush       before a pause       [#159] ───────────────────►
//! ```
//!
//! What is new compared to `producer.rs`: an item that follows another closely is *gathered*. It is written when
//! enough have gathered ([`ENOUGH`]), when the next one comes a while ([`SILENCE`]) after the last write, or by
//! [`BatchProducer::flush`]. In the stream are the same bytes in the same order: a consumer need not know.
//!
//! *Guarantees.* Those of `producer.rs`. A socket may take a part of a batch; which items it has then is known, and
//! no other is counted.
//!
//! *Limits.* Only for streams: a packet holds one item. Nobody writes a batch but this producer's own calls; there is
//! no timer. So flush before anything that takes time: sleep, read, wait for an answer. What was gathered when the
//! producer is killed was never sent.
//!
//! *System calls.* write, poll; writev for an item that goes by itself.
//!
//! See also: tcp(7) on `TCP_NODELAY` and `TCP_CORK`: the kernel's own way of doing this, for TCP alone, without
//! saving a call.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use crate::frame::{DATA, header};
use crate::producer::Producer;

/// When so much time has passed since the last write, the consumer has nothing to do and may wait: about what it takes
/// to wake it.
pub const SILENCE: Duration = Duration::from_micros(50);
/// So many bytes are gathered: a longer batch saves hardly a call more, and keeps the consumer waiting.
pub const ENOUGH: usize = 16 << 10;

/// Sends items, several at once where that delays none that is waited for.
#[derive(Debug)]
pub struct BatchProducer<'a> {
    producer: &'a mut Producer,
    most: usize,
    /// Frames that wait to be written, and how much of them has been.
    batch: Vec<u8>,
    written: usize,
    /// Where each frame ends of which the socket does not have all.
    ends: VecDeque<usize>,
    /// Where the last one ends that it has.
    whole: usize,
    /// When something was written last.
    last: Option<Instant>,
    writes: u64,
}

impl<'a> BatchProducer<'a> {
    /// Sends by `producer`, in batches that are written when they have `most` bytes. With 0 each item goes at once and
    /// by itself; so it does over a connection that keeps the boundaries of messages.
    pub fn new(producer: &'a mut Producer, most: usize) -> BatchProducer<'a> {
        let most = if producer.link.connection.packets { 0 } else { most };
        BatchProducer {
            producer,
            most,
            batch: Vec::new(),
            written: 0,
            ends: VecDeque::new(),
            whole: 0,
            last: None,
            writes: 0,
        }
    }

    /// Takes `item`, and sends it at once or later; if it may `block`, waits while the socket is full.
    ///
    /// # Errors
    /// As [`Producer::send`], or unless it may `block`, as [`Producer::try_send`]. `Interrupted` and `WouldBlock`: it
    /// was not taken, so call again with the same item.
    pub fn send(&mut self, item: &[u8], block: bool) -> io::Result<()> {
        self.producer.check(item.len())?;
        let silence = self.last.is_none_or(|last| last.elapsed() >= SILENCE);
        if (silence && self.ends.is_empty()) || item.len() >= self.most {
            self.flush(block)?;
            let alone = if block { self.producer.send(item) } else { self.producer.try_send(item) };
            alone?;
            self.wrote();
            return Ok(());
        }
        if silence || self.batch.len() >= self.most {
            self.flush(block)?;
        }
        self.batch.extend_from_slice(&header(DATA, item.len())?);
        self.batch.extend_from_slice(item);
        self.ends.push_back(self.batch.len());
        Ok(())
    }

    /// Writes what has been gathered.
    ///
    /// # Errors
    /// As [`BatchProducer::send`]; what the socket did not take still waits.
    pub fn flush(&mut self, block: bool) -> io::Result<()> {
        while !self.ends.is_empty() {
            match nix::unistd::write(&self.producer.link.connection, &self.batch[self.written..]) {
                Ok(n) => {
                    self.written += n;
                    self.wrote();
                }
                Err(e) if e == nix::errno::Errno::EAGAIN && block => {
                    self.producer.link.connection.wait(PollFlags::POLLOUT)?;
                }
                Err(e) => return Err(self.producer.explain(e.into())),
            }
            while let Some(&end) = self.ends.front()
                && end <= self.written
            {
                self.ends.pop_front();
                (self.whole, self.producer.sent) = (end, self.producer.sent + 1);
            }
            // Inside a frame no goodbye can be said.
            self.producer.link.writer.stream.written = self.written - self.whole;
        }
        self.batch.clear();
        (self.written, self.whole) = (0, 0);
        Ok(())
    }

    /// How many items were handed over.
    pub fn sent(&self) -> u64 {
        self.producer.sent()
    }

    /// How many of the items that were taken the socket does not have yet: the last ones.
    pub fn waiting(&self) -> usize {
        self.ends.len()
    }

    /// By how many calls the socket was given all that it has.
    pub fn writes(&self) -> u64 {
        self.writes
    }

    fn wrote(&mut self) {
        self.writes += 1;
        self.last = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::dial::{Hello, Link};
    use crate::endpoint::Connection;
    use crate::frame::{FrameReader, Rules};
    use crate::framing::{Reader, Writer};

    fn producer() -> (UnixStream, Producer) {
        let (here, there) = UnixStream::pair().expect("socketpair");
        here.set_nonblocking(true).expect("fcntl");
        let connection = Connection::new(OwnedFd::from(here), None).expect("a connection");
        let reader = Reader::new(&connection, Hello::rules());
        let server = Hello::new(*b"item", 2, 1 << 20);
        (there, Producer::new(Link { connection, reader, writer: Writer::default(), server }))
    }

    /// As if the last write was just now, however slow this machine is.
    fn in_a_hurry(batch: &mut BatchProducer<'_>) {
        batch.last = Some(Instant::now() + Duration::from_secs(3600));
    }

    #[test]
    fn a_socket_that_takes_a_part_of_a_batch_has_what_is_counted() {
        let (there, mut producer) = producer();
        let mut batch = BatchProducer::new(&mut producer, 1 << 20);
        let item = |n: u64| n.to_le_bytes().repeat(100);
        batch.send(&item(0), true).expect("at once");
        assert_eq!((batch.sent(), batch.waiting()), (1, 0));
        for n in 1..1000 {
            in_a_hurry(&mut batch);
            batch.send(&item(n), true).expect("gathered");
        }
        assert_eq!((batch.sent(), batch.waiting()), (1, 999));
        // More than a socket holds.
        while batch.flush(false).is_ok() {
            for n in 1..1000 {
                in_a_hurry(&mut batch);
                batch.send(&item(n), true).expect("gathered");
            }
        }
        let sent = batch.sent();
        assert!(sent > 1 && batch.waiting() > 0);
        let inside = batch.producer.link.writer.is_inside_frame();
        assert!(!batch.producer.leave(), "no room, or inside a frame");
        drop(producer);
        let mut reader = FrameReader::new(Rules::new([(DATA, 1..=1000)]));
        for n in 0..sent {
            assert_eq!(reader.read(&there).expect("whole"), Some(DATA), "{n}");
            assert_eq!(reader.body(), if n == 0 { item(0) } else { item((n - 1) % 999 + 1) });
        }
        match reader.read(&there) {
            Ok(None) => assert!(!inside),
            Err(e) => assert!(inside && e.kind() == ErrorKind::UnexpectedEof, "{e}"),
            other => panic!("one more than was counted: {other:?}"),
        }
    }
}
