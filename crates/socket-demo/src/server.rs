//! Many connections in one thread: poll(2) tells which of them have something to read.
//!
//! ```text
//!  listener ──┐                       ┌─ connection 1  reader, outbox
//!             ├── poll ── ready: 1,3 ─┤  connection 2
//!  1, 2, 3 ───┘                       └─ connection 3
//!                                         │ one whole frame at a time
//!                                         ▼
//!                                  Event::Frame { from: 3, kind }
//! ```
//!
//! *Guarantees.* Frames of one connection come in order. Each ready connection is read once in a round, so
//! that one who always has something to say does not keep the others waiting. Whoever sends what it should
//! not is closed, and the others go on. Whoever does not read its answers is not read from, so that the
//! memory for a connection is bounded by its longest frame and one answer. No descriptors left: no spinning,
//! but another look after 100 ms or when a connection has gone.
//!
//! *Limits.* What is done with a frame is done by this thread: a slow service is slow for all.
//!
//! *System calls.* poll, accept4, read, writev, close.
//!
//! See also: poll(2); W. R. Stevens, *UNIX Network Programming*, vol. 1, ch. 6.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::dial::Hello;
use crate::endpoint::Connection;
use crate::frame::{self, Rules};
use crate::listener::{Listener, is_exhausted};
use crate::peer::Peer;

/// How long accepting is left alone when there are no descriptors left.
const RECOVER: Duration = Duration::from_millis(100);

/// A number for each connection; none is used twice.
pub type Id = u64;

/// What has happened.
#[derive(Debug)]
pub enum Event {
    /// A client has said HELLO, and has been answered.
    Came(Id),
    /// A whole frame: [`Server::body`] until the next event.
    Frame {
        /// Whose.
        from: Id,
        /// Which.
        kind: u32,
    },
    /// A client that had said HELLO (its name, to be shown) has gone, with a goodbye (`Ok`) or without.
    Gone(String, io::Result<()>),
    /// Nothing to act upon, but worth a line: a stranger, or no descriptors left.
    Notice(String),
}

/// Serves any number of connections.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    hello: Hello,
    rules: Rules,
    peers: BTreeMap<Id, Peer>,
    next_id: Id,
    /// Who may have a frame for us in this round, in turn.
    ready: VecDeque<Id>,
    /// Accepting is left alone until then.
    exhausted: Option<Instant>,
}

impl Server {
    /// Serves those who come to `listener`, say the same `hello`, and then keep to `rules`.
    pub fn new(listener: Listener, hello: Hello, rules: Rules) -> Server {
        Server {
            listener,
            hello,
            rules,
            peers: BTreeMap::new(),
            next_id: 0,
            ready: VecDeque::new(),
            exhausted: None,
        }
    }

    /// The next event; if `block`, waits for it.
    ///
    /// # Errors
    /// `WouldBlock` if there is none: then nobody waits to be accepted either. `Interrupted`.
    pub fn next_event(&mut self, block: bool) -> io::Result<Event> {
        loop {
            while let Some(&id) = self.ready.front() {
                match self.turn(id) {
                    Some(event) => return Ok(event),
                    None => self.ready.pop_front(),
                };
            }
            if let Some(event) = self.poll(block)? {
                return Ok(event);
            }
        }
    }

    /// The body of the frame in the last [`Event::Frame`], which came from `id`.
    pub fn body(&self, id: Id) -> &[u8] {
        self.peers.get(&id).map_or(&[], |peer| peer.reader.body())
    }

    /// How many clients there are that have said HELLO.
    pub fn clients(&self) -> usize {
        self.peers.values().filter(|peer| peer.greeted).count()
    }

    /// Sends a frame, now or when its receiver makes room; until then nothing more is read from it. If it
    /// has gone, that comes to light as an event.
    pub fn send(&mut self, to: Id, kind: u32, body: &[u8]) {
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.send(kind, body);
        }
    }

    /// What has come of a frame that is not whole, if a connection has one: `50 of 108 bytes`.
    pub fn partial(&self) -> Option<String> {
        self.peers.values().find_map(|peer| peer.reader.partial())
    }

    /// Gives up a connection: what comes from it now is the caller's.
    pub fn release(&mut self, id: Id) -> Option<Connection> {
        self.peers.remove(&id).map(|peer| peer.connection)
    }

    fn close(&mut self, id: Id) {
        self.peers.remove(&id);
        self.exhausted = None;
    }

    /// Says goodbye to all clients, as far as they take it at once: how many frames of each were taken.
    pub fn leave(&mut self) {
        for peer in self.peers.values_mut().filter(|peer| peer.greeted) {
            peer.send(frame::GOODBYE, &peer.taken.to_le_bytes());
        }
    }

    /// What one connection has for us, or `None` if it must wait for the next round.
    fn turn(&mut self, id: Id) -> Option<Event> {
        let peer = self.peers.get_mut(&id)?;
        let (greeted, name) = (peer.greeted, peer.connection.peer.clone());
        let end = match peer.next(&self.hello, &self.rules) {
            Ok(None) => return None,
            Ok(Some(frame::HELLO)) => return Some(Event::Came(id)),
            Ok(Some(frame::GOODBYE)) => Ok(()),
            Ok(Some(kind)) => return Some(Event::Frame { from: id, kind }),
            Err(e) => Err(e),
        };
        self.close(id);
        Some(match end {
            end if greeted => Event::Gone(name, end),
            Ok(()) => Event::Notice(format!("{name} left without a word")),
            Err(e) => Event::Notice(format!("refused {name}: {e}")),
        })
    }

    /// Sees who is ready: accepts one connection, and notes who is to be read.
    fn poll(&mut self, block: bool) -> io::Result<Option<Event>> {
        let accepting = self.exhausted.is_none_or(|until| until <= Instant::now());
        let patience = match (block, self.exhausted) {
            (false, _) => PollTimeout::ZERO,
            (true, Some(_)) if !accepting => PollTimeout::try_from(RECOVER).expect("short"),
            (true, _) => PollTimeout::NONE,
        };
        let wish = if accepting { PollFlags::POLLIN } else { PollFlags::empty() };
        let mut fds = vec![PollFd::new(self.listener.as_fd(), wish)];
        fds.extend(self.peers.values().map(|peer| {
            let wish = if peer.outbox.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLOUT };
            PollFd::new(peer.connection.as_fd(), wish)
        }));
        let found = poll(&mut fds, patience)?;
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
        if found == 0 && (!block || accepting) {
            return Err(ErrorKind::WouldBlock.into());
        }
        for ((id, peer), _) in self.peers.iter_mut().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            peer.flush();
            peer.readable = true;
            self.ready.push_back(*id);
        }
        if ready[0] && accepting { Ok(self.accept()) } else { Ok(None) }
    }

    fn accept(&mut self) -> Option<Event> {
        match self.listener.accept() {
            Ok(connection) => {
                self.exhausted = None;
                self.peers.insert(self.next_id, Peer::new(connection));
                self.next_id += 1;
                None
            }
            Err(e) if is_exhausted(&e) => {
                let known = self.exhausted.replace(Instant::now() + RECOVER).is_some();
                (!known).then(|| Event::Notice(format!("a connection has to wait: {e}")))
            }
            Err(e) if e.kind() == ErrorKind::PermissionDenied => Some(Event::Notice(format!("refused: {e}"))),
            // It has gone already, or somebody else's trouble: see accept(2), "Error handling".
            Err(_) => None,
        }
    }
}
