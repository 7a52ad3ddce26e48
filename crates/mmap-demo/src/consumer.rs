//! The consumer: goes on behind the last record that was processed, by whomever.
//!
//! | what it finds | what it does |
//! |---|---|
//! | unread records and a goodbye | reads them and ends |
//! | unread records, no goodbye | reads them and waits for a producer |
//! | nothing unread, and a producer | waits for records |
//! | a goodbye without one record, which no consumer has heard yet | ends |
//! | nothing unread, no producer, or no file | waits for a producer, which makes the file anew |
//!
//! A producer that leaves without a goodbye while this consumer is attached is lost: what it committed is
//! read, and then that is the error.

use std::io::{self, ErrorKind};
use std::path::Path;

use common::place::{Attachment, Role};

use crate::header::at;
use crate::map::Map;
use crate::positions::Positions;
use crate::reader::{Reader, Record};
use crate::ring::unread;
use crate::site::Site;
use crate::waiting::{How, Waiting};

/// The consumer's end.
#[derive(Debug)]
pub struct Consumer {
    site: Site,
    seat: Option<Attachment>,
    reader: Option<Reader>,
    /// The file is read to its end: the next producer brings another.
    ended: bool,
    /// The producer that was attached at the last look.
    producer: Option<u32>,
    /// How many producers of the file had come until then.
    came: u32,
    /// A producer that was there while we were left without a goodbye.
    lost: Option<String>,
    how: How,
}

impl Consumer {
    /// Attaches to the site, whether there is a file yet or not.
    ///
    /// # Errors
    /// `AddrInUse` if there is a consumer; what [`Map::open`] fails with.
    pub fn attach(site: Site) -> io::Result<Consumer> {
        let guard = site.channel.lock()?;
        let seat = site.attach(&guard, Role::Consumer)?;
        drop(guard);
        let seat = Some(seat);
        let (reader, producer, lost, how) = (None, None, None, How::default());
        let mut consumer = Consumer { site, seat, reader, ended: false, producer, came: 0, lost, how };
        consumer.look()?;
        consumer.lost = None; // whoever died before us did not die on us
        if let Some(reader) = &consumer.reader {
            // Kept open also when there is nothing in it for us: to close it would be news for who watches.
            let over = unread(reader.map())? == 0 && !reader.map().positions().is_unheard_empty_stream();
            consumer.ended = consumer.producer.is_none() && over;
        }
        Ok(consumer)
    }

    /// To be called when somebody came, left or died.
    ///
    /// # Errors
    /// `InvalidData` if the file was cut or damaged; what [`Map::open`] fails with.
    pub fn look(&mut self) -> io::Result<()> {
        if let Some(reader) = &self.reader {
            reader.map().check()?;
        }
        let guard = self.site.channel.lock()?;
        let attached = guard.attached()?;
        let of_producer =
            |alive| attached.iter().find(|a| a.alive == alive && a.role == Role::Producer).map(|a| a.pid);
        // Those who were dead when we came are forgotten: this one died since.
        let (producer, died) = (of_producer(true), of_producer(false));
        if let Some(reader) = &self.reader
            && unread(reader.map())? == 0
            && !reader.map().is_named()
        {
            // A new producer has made the file anew.
            (self.reader, self.came) = (None, 0);
        }
        if self.reader.is_none()
            && let Some(map) = Map::open(&self.site.path)?
        {
            map.claim(Role::Consumer)?;
            // Made since we came: even if its producer has gone again, its goodbye is for us.
            self.ended = false;
            let reader = self.reader.insert(Reader::new(map)?);
            reader.waiting = Waiting::new(self.how);
        }
        let positions = self.reader.as_ref().map(|r| r.map().positions());
        // One may have come and gone since the last look: the count tells.
        let came = positions.map_or(0, Positions::producers);
        self.ended &= came == self.came;
        // The goodbye in a file that we have read to its end is an old one.
        let in_good_order = !self.ended && positions.is_some_and(Positions::said_goodbye);
        if producer.is_some() || in_good_order {
            self.lost = None;
        } else if let Some(gone) = self.producer.or(died) {
            self.lost = Some(format!("producer {gone}"));
        } else if came != self.came {
            self.lost = Some("a producer".into());
        }
        (self.producer, self.came) = (producer, came);
        Ok(())
    }

    /// How to wait for records from now on.
    pub fn wait_by(&mut self, how: How) {
        self.how = how;
        if let Some(reader) = &mut self.reader {
            reader.waiting = Waiting::new(how);
        }
    }

    /// Whether there is a file to read from.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; `ConnectionAborted` if a producer died before it had made one; as
    /// [`Consumer::look`].
    pub fn try_meet(&mut self) -> io::Result<()> {
        if self.reader.is_none() || self.ended {
            self.look()?;
        }
        if self.reader.is_some() && !self.ended {
            return Ok(());
        }
        match &self.lost {
            Some(who) => Err(self.gone(&format!("{who} died before it had written anything"))),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    /// Whether others have processed records of this file before: then the first are not for us.
    pub fn joined_later(&self) -> bool {
        self.reader.as_ref().is_some_and(|r| r.position() > 0)
    }

    /// The producer that was attached at the last look.
    pub fn producer(&self) -> Option<u32> {
        self.producer
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.site.path
    }

    /// Whether there is a file into which no producer has ever written that it had come.
    pub fn nobody_arrived(&self) -> bool {
        self.reader.as_ref().is_some_and(|r| r.map().positions().producers() == 0)
    }

    fn gone(&self, why: &str) -> io::Error {
        at(&self.site.path, ErrorKind::ConnectionAborted, why)
    }

    /// Waits for the next record: its length, or `None` after a goodbye, when all are read.
    ///
    /// # Errors
    /// `Interrupted` by a signal; `ConnectionAborted` when all are read that a lost producer committed;
    /// `WouldBlock` if there is no file yet; `InvalidData` if it was cut or damaged.
    pub fn find(&mut self) -> io::Result<Option<usize>> {
        self.find_by(Reader::find)
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// As [`Consumer::find`], and `WouldBlock` if there is none.
    pub fn try_find(&mut self) -> io::Result<Option<usize>> {
        self.find_by(Reader::try_find)
    }

    fn find_by(&mut self, find: fn(&mut Reader) -> io::Result<usize>) -> io::Result<Option<usize>> {
        self.try_meet()?;
        let Some(reader) = &mut self.reader else { return Err(ErrorKind::WouldBlock.into()) };
        match find(reader) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            found => return found.map(Some),
        }
        if reader.map().positions().said_goodbye() {
            // The goodbye came after the last record: look once more, now that it is seen.
            match reader.try_find() {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                found => return found.map(Some),
            }
            reader.map().positions().hear_goodbye();
            (self.ended, self.producer) = (true, None);
            return Ok(None);
        }
        match &self.lost {
            Some(who) if self.nobody_arrived() => Err(self.gone(&format!(
                "{who} is gone, and nothing of it ever was in the file: it died at once, or had mapped it \
                     MAP_PRIVATE (drop --private)"
            ))),
            Some(who) => {
                Err(self.gone(&format!("{who} is gone without a goodbye; all that it committed was read")))
            }
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }

    /// The record that was found; `None` once it is committed.
    pub fn record(&mut self) -> Option<Record<'_>> {
        self.reader.as_mut()?.record()
    }

    /// Leaves. How many bytes are unread in the file; `None` if there is no file.
    ///
    /// # Errors
    /// When the lock cannot be had.
    pub fn finish(mut self) -> io::Result<Option<u64>> {
        self.leave()?;
        self.reader.as_ref().map(|reader| unread(reader.map())).transpose()
    }

    fn leave(&mut self) -> io::Result<()> {
        let Some(seat) = self.seat.take() else { return Ok(()) };
        let guard = self.site.channel.lock()?;
        guard.detach(seat);
        guard.forget_dead()?;
        Ok(())
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.leave();
    }
}
