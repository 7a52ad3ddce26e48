//! The producer: makes the file, or goes on with the one it finds, and says goodbye in it.
//!
//! | what it finds | what it does |
//! |---|---|
//! | no file | creates it |
//! | nothing unread in it | makes it anew, so that its capacity can differ |
//! | unread records, the same capacity | goes on behind them; an old goodbye is void |
//! | unread records, another capacity | is refused |
//! | something else | is refused, and leaves it alone |
//!
//! It needs no consumer: what is committed is in the file, for whoever comes.

use std::fs;
use std::io::{self, ErrorKind};
use std::time::Duration;

use common::place::{Attachment, Role};

use crate::durability::Durability;
use crate::header::{MAX_CAPACITY, MIN_CAPACITY, at};
use crate::map::Map;
use crate::ring::{room_for, unread};
use crate::site::Site;
use crate::waiting::{How, Waiting};
use crate::writer::{Reservation, Writer};

/// The producer's end.
#[derive(Debug)]
pub struct Producer {
    site: Site,
    seat: Option<Attachment>,
    writer: Writer,
    consumers: usize,
    found: u64,
}

impl Producer {
    /// Attaches to the site, with a ring of at least `capacity` bytes (the next power of two), into which
    /// records of up to `longest` bytes must fit.
    ///
    /// # Errors
    /// `InvalidInput` if they do not; `AddrInUse` if there is a producer; `AlreadyExists` if another capacity
    /// is in use; what [`Map::open`] and [`Map::create`] fail with.
    pub fn attach(site: Site, capacity: u64, longest: usize) -> io::Result<Producer> {
        Producer::attach_by(site, capacity, longest, Ok)
    }

    /// The same with a `map` that maps the file another way.
    pub(crate) fn attach_by(
        site: Site,
        capacity: u64,
        longest: usize,
        map: impl FnOnce(Map) -> io::Result<Map>,
    ) -> io::Result<Producer> {
        let least = room_for(longest as u64).next_power_of_two();
        let capacity = capacity.clamp(MIN_CAPACITY, MAX_CAPACITY).next_power_of_two();
        if capacity < least {
            let why = format!("an item of {longest} bytes needs a --capacity of {least}, not {capacity}");
            return Err(io::Error::new(ErrorKind::InvalidInput, why));
        }
        // Everybody comes and leaves under this lock, so what is found stays so until we are attached.
        let guard = site.channel.lock()?;
        let seat = site.attach(&guard, Role::Producer)?;
        let made = Producer::open_or_create(&site, capacity).and_then(|(file, found)| {
            let consumers = guard.living(Role::Consumer)?;
            let file = map(file)?;
            file.positions().arrive();
            Ok((Writer::new(file)?, found, consumers))
        });
        match made {
            Ok((writer, found, consumers)) => {
                drop(guard);
                Ok(Producer { site, seat: Some(seat), writer, consumers, found })
            }
            Err(e) => {
                guard.detach(seat);
                Err(e)
            }
        }
    }

    fn open_or_create(site: &Site, capacity: u64) -> io::Result<(Map, u64)> {
        if let Some(old) = Map::open(&site.path)? {
            // The names of the attached exclude a second producer too, but only in one run-time directory.
            old.claim(Role::Producer)?;
            let unread = unread(&old)?;
            if unread > 0 && old.capacity() == capacity {
                return Ok((old, unread));
            }
            if unread > 0 {
                let why = format!(
                    "its capacity is {}, not {capacity}, and {unread} bytes in it are not read yet: read \
                     them with a consumer first, or remove it: rm {}",
                    old.capacity(),
                    site.path.display()
                );
                return Err(at(&site.path, ErrorKind::AlreadyExists, &why));
            }
            // A consumer that has it mapped sees that the name means another file now.
            fs::remove_file(&site.path)?;
        }
        let map = Map::create(&site.path, capacity, 0)?;
        map.claim(Role::Producer)?;
        Ok((map, 0))
    }

    /// How to wait for room from now on.
    pub fn wait_by(&mut self, how: How) {
        self.writer.waiting = Waiting::new(how);
    }

    /// How many unread bytes were in the file when it was attached.
    pub fn found(&self) -> u64 {
        self.found
    }

    /// Bytes not yet processed, and the ring's capacity, as last seen.
    pub fn gauge(&self) -> (u64, u64) {
        (self.writer.unread(), self.writer.map().capacity())
    }

    /// Whether a consumer was attached at the last look.
    pub fn has_consumer(&self) -> bool {
        self.consumers > 0
    }

    /// To be called when somebody came, left or died.
    ///
    /// # Errors
    /// `InvalidData` if the file was cut or damaged.
    pub fn look(&mut self) -> io::Result<()> {
        self.writer.map().check()?;
        self.consumers = self.site.channel.lock()?.living(Role::Consumer)?;
        Ok(())
    }

    /// Promises more, or less, of what is committed from now on.
    ///
    /// # Errors
    /// As [`Writer::keep`].
    pub fn keep(&mut self, durability: Durability) -> io::Result<()> {
        self.writer.keep(durability)
    }

    /// How often msync(2) was called, and how long that took.
    pub fn spent_on_msync(&self) -> (u64, Duration) {
        self.writer.spent_on_msync()
    }

    /// Waits until a record of up to `len` bytes has room.
    ///
    /// # Errors
    /// As [`Writer::reserve`].
    pub fn reserve(&mut self, len: usize) -> io::Result<()> {
        self.writer.reserve(len)
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// As [`Writer::try_reserve`].
    pub fn try_reserve(&mut self, len: usize) -> io::Result<()> {
        self.writer.try_reserve(len)
    }

    /// The record that the last successful reserve made room for.
    pub fn reserved(&mut self) -> Reservation<'_> {
        self.writer.reserved()
    }

    /// Writes a record, waiting while there is no room.
    ///
    /// # Errors
    /// As [`Writer::reserve`].
    pub fn push(&mut self, record: &[u8]) -> io::Result<()> {
        self.writer.push(record)
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// As [`Writer::try_reserve`].
    pub fn try_push(&mut self, record: &[u8]) -> io::Result<()> {
        self.writer.try_push(record)
    }

    /// Leaves in good order: the consumer, now or later, reads what is there and then ends. How many bytes
    /// that is.
    ///
    /// # Errors
    /// When the lock cannot be had; `InvalidData` if the file was cut.
    pub fn finish(&mut self) -> io::Result<u64> {
        self.leave(true)?;
        self.writer.map().intact()?;
        unread(self.writer.map())
    }

    fn leave(&mut self, in_good_order: bool) -> io::Result<()> {
        let Some(seat) = self.seat.take() else { return Ok(()) };
        let guard = self.site.channel.lock()?;
        // Under the guard: a new producer's cancelling comes after it.
        let said = if in_good_order { self.writer.say_goodbye() } else { Ok(()) };
        guard.detach(seat);
        guard.forget_dead()?;
        said
    }
}

impl Drop for Producer {
    /// Leaves without a goodbye: the stream was cut.
    fn drop(&mut self) {
        let _ = self.leave(false);
    }
}
