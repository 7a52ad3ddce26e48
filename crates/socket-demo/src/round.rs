//! A round of a [`Server`]: who has something to say, who knocks, and who is late.
//!
//! ```text
//!  look   epoll_wait ── connection 3 can be read ──► ready      the listener too ──► accept one
//!         who has begun a frame long ago         ──► ready
//!  rest   connection 3 has nothing more: is a frame of it coming? does it take what it was sent?
//! ```
//!
//! *Guarantees.* A round costs as much as there are connections that have something to say, or owe us the rest of a
//! frame, however many others there are: the kernel keeps a list of those that are ready, and we of those that have
//! begun. Level-triggered, so that what is not read now is told of again; of more than [`ROUND`] who are ready the others
//! come next.
//!
//! *System calls.* epoll_wait, epoll_ctl, accept4.
//!
//! See also: epoll(7), epoll_wait(2).

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use nix::sys::epoll::{EpollEvent, EpollFlags, EpollTimeout};

use crate::listener::is_exhausted;
use crate::peer::Peer;
use crate::server::{Event, Id, Server};

/// What epoll knows the listener by.
pub(crate) const LISTENER: Id = Id::MAX;
/// So many who are ready are asked for at once.
pub(crate) const ROUND: usize = 64;
/// How long accepting is left alone when there are no descriptors left.
const RECOVER: Duration = Duration::from_millis(100);
/// When we come back to look later than this, it was not the senders who kept us waiting.
const LATE: Duration = Duration::from_millis(100);

impl Server {
    /// Sees who is ready: accepts one connection, and notes who is to be read.
    pub(crate) fn look(&mut self, block: bool) -> io::Result<Option<Event>> {
        self.excuse(Some(self.looked));
        let accepting = self.exhausted.is_none_or(|until| until <= Instant::now());
        if accepting != self.accepting {
            let wish = if accepting { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
            self.epoll.modify(&self.listener, &mut EpollEvent::new(wish, LISTENER))?;
            self.accepting = accepting;
        }
        let begun = self.begun.iter().filter_map(|id| self.peers.get(id)?.waited_for()).min();
        let deadline = begun.map(|since| self.deadline.saturating_sub(since.elapsed()));
        let patience = match deadline.into_iter().chain((!accepting).then_some(RECOVER)).min() {
            _ if !block || !self.owed.is_empty() => Some(Duration::ZERO),
            // Rounded up, so that it has passed when epoll_wait returns.
            Some(time) => Some(time.saturating_add(Duration::from_millis(1))),
            None => None,
        };
        let due = patience.and_then(|patience| Instant::now().checked_add(patience));
        let timeout = patience.map_or(EpollTimeout::NONE, |p| p.try_into().unwrap_or(EpollTimeout::MAX));
        let found = self.epoll.wait(&mut self.events, timeout);
        self.excuse(due);
        let mut knocks = false;
        for id in self.events[..found?].iter().map(EpollEvent::data) {
            knocks |= id == LISTENER;
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.flush();
                peer.readable = true;
                self.ready.push_back(id);
            }
        }
        let overdue = |id: &&Id| {
            let since = self.peers.get(*id).and_then(Peer::waited_for);
            since.is_some_and(|since| since.elapsed() >= self.deadline)
        };
        self.ready.extend(self.begun.iter().filter(overdue));
        // Who has nothing for us may be waiting for our word, and we are about to wait for it, or are with others.
        if self.owed.iter().any(|id| !self.ready.contains(id)) {
            return Ok(Some(self.acknowledge_next()));
        }
        if !block && self.ready.is_empty() && !knocks {
            return Err(ErrorKind::WouldBlock.into());
        }
        if knocks { Ok(self.accept()) } else { Ok(None) }
    }

    /// We look now, and should have looked when it was `due`: gives the time between to those from whom a frame is
    /// coming.
    fn excuse(&mut self, due: Option<Instant>) {
        self.looked = Instant::now();
        let late = due.map_or(Duration::ZERO, |due| self.looked.saturating_duration_since(due));
        if late > LATE {
            for id in &self.begun {
                let begun = self.peers.get_mut(id).and_then(|peer| peer.begun.as_mut());
                begun.into_iter().for_each(|since| *since += late);
            }
        }
    }

    fn accept(&mut self) -> Option<Event> {
        match self.listener.accept() {
            Ok(connection) => {
                self.exhausted = None;
                let (id, peer) = (self.next_id, Peer::new(connection));
                if let Err(e) = self.epoll.add(&peer.connection, EpollEvent::new(peer.wish, id)) {
                    return Some(Event::Notice(format!("refused {}: {e}", peer.connection.peer)));
                }
                self.next_id += 1;
                self.begun.insert(id);
                self.peers.insert(id, peer);
                None
            }
            Err(e) if is_exhausted(&e) => {
                let known = self.exhausted.replace(Instant::now() + RECOVER).is_some();
                (!known).then(|| Event::Notice(format!("a connection has to wait: {e}; see ulimit -n")))
            }
            Err(e) if e.kind() == ErrorKind::PermissionDenied => Some(Event::Notice(format!("refused: {e}"))),
            // It has gone already, or somebody else's trouble: see accept(2), "Error handling".
            Err(_) => None,
        }
    }

    /// A connection has nothing more for us in this round: notes what is waited for from it now.
    pub(crate) fn rest(&mut self, id: Id) -> io::Result<()> {
        self.excuse(Some(self.looked));
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        peer.check_deadline(self.deadline)?;
        match peer.begun {
            Some(_) => self.begun.insert(id),
            None => self.begun.remove(&id),
        };
        let wish = if peer.outbox.is_empty() { EpollFlags::EPOLLIN } else { EpollFlags::EPOLLOUT };
        if wish != peer.wish {
            self.epoll.modify(&peer.connection, &mut EpollEvent::new(wish, id))?;
            peer.wish = wish;
        }
        Ok(())
    }
}
