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
//! not is closed, and so is whoever begins a frame and does not end it within [`FRAME_DEADLINE`], or connects and
//! does not say HELLO by then; the others go on. Whoever does not read its answers is not read from, so that the
//! memory for a connection is bounded by its longest frame and the answers to what was read at once. No descriptors
//! left: no spinning, but another look after 100 ms or when a connection has gone.
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

/// Within what time a frame that has begun, and a connection's HELLO, must be there; see [`Server::frame_deadline`].
pub const FRAME_DEADLINE: Duration = Duration::from_secs(30);
/// When we come back to poll later than this, it was not the senders who kept us waiting.
const LATE: Duration = Duration::from_millis(100);

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
    /// The next call tells the clients that asked for it that every frame handed out until now has been dealt
    /// with: what of that is in a buffer, and would be lost with this process, is to be written now.
    Acknowledging,
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
    /// We have said that acknowledgements come next.
    acknowledging: bool,
    /// Accepting is left alone until then.
    exhausted: Option<Instant>,
    deadline: Duration,
    /// When we last knew who has something to say.
    looked: Instant,
    /// A frame was just sent back.
    answered: bool,
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
            acknowledging: false,
            exhausted: None,
            deadline: FRAME_DEADLINE,
            looked: Instant::now(),
            answered: false,
        }
    }

    /// Sets within what time a frame that has begun must be there as a whole, and the HELLO that every connection
    /// owes from its first moment. Time in which we were busy with others, or stopped, does not count. 0: never.
    pub fn frame_deadline(&mut self, deadline: Duration) {
        self.deadline = if deadline.is_zero() { Duration::MAX } else { deadline };
    }

    /// The next event; if `block`, waits for it.
    ///
    /// # Errors
    /// `WouldBlock` if there is none: then nobody waits to be accepted either, but see [`Server::send_back`].
    /// `Interrupted`.
    pub fn next_event(&mut self, block: bool) -> io::Result<Event> {
        self.excuse(self.looked.elapsed());
        let answered = std::mem::take(&mut self.answered);
        if std::mem::take(&mut self.acknowledging) {
            self.peers.values_mut().for_each(Peer::acknowledge);
        }
        loop {
            while let Some(&id) = self.ready.front() {
                match self.turn(id) {
                    Some(event) => return Ok(event),
                    None => self.ready.pop_front(),
                };
            }
            if answered && !block {
                return Err(ErrorKind::WouldBlock.into());
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

    /// The same, but what follows another frame closely is gathered, and written with the next ones by one call: at
    /// the latest when all that has been read from this connection was handed out and the next event is asked for.
    pub fn send_soon(&mut self, to: Id, kind: u32, body: &[u8]) {
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.send_soon(kind, body);
        }
    }

    /// Sends the last frame that came from `id` back to it, as it came. It waits for that, as a rule, and has said
    /// nothing more: so the next call, unless it may block, looks at nothing but what has been read.
    pub fn send_back(&mut self, id: Id, kind: u32) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.send_back(kind);
            self.answered = true;
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
        if let Some(mut peer) = self.peers.remove(&id) {
            peer.write_gathered();
        }
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
        if peer.debt.is_due(peer.taken) {
            return Some(self.acknowledge_next());
        }
        let greeted = peer.greeted;
        let end = match peer.next(&self.hello, &self.rules) {
            Ok(None) => match peer.check_deadline(self.deadline) {
                Ok(()) => return None,
                Err(e) => Err(e),
            },
            Ok(Some(frame::HELLO)) => return Some(Event::Came(id)),
            Ok(Some(frame::GOODBYE)) => Ok(()),
            Ok(Some(kind)) => return Some(Event::Frame { from: id, kind }),
            Err(e) => Err(e),
        };
        let name = peer.connection.peer.clone();
        self.close(id);
        Some(match end {
            end if greeted => Event::Gone(name, end),
            Ok(()) => Event::Notice(format!("{name} left without a word")),
            Err(e) => Event::Notice(format!("refused {name}: {e}")),
        })
    }

    fn acknowledge_next(&mut self) -> Event {
        self.acknowledging = true;
        Event::Acknowledging
    }

    /// Sees who is ready: accepts one connection, and notes who is to be read.
    fn poll(&mut self, block: bool) -> io::Result<Option<Event>> {
        let accepting = self.exhausted.is_none_or(|until| until <= Instant::now());
        let deadline = self.peers.values_mut().filter_map(Peer::waited_for).map(|since| *since).min();
        let deadline = deadline.map(|since| self.deadline.saturating_sub(since.elapsed()));
        let owing = self.peers.values().any(|peer| peer.debt.is_open(peer.taken));
        let patience = match deadline.into_iter().chain((!accepting).then_some(RECOVER)).min() {
            _ if !block || owing => Some(Duration::ZERO),
            // Rounded up, so that it has passed when poll returns.
            Some(time) => Some(time.saturating_add(Duration::from_millis(1))),
            None => None,
        };
        let wish = if accepting { PollFlags::POLLIN } else { PollFlags::empty() };
        let mut fds = vec![PollFd::new(self.listener.as_fd(), wish)];
        fds.extend(self.peers.values().map(|peer| {
            let wish = if peer.outbox.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLOUT };
            PollFd::new(peer.connection.as_fd(), wish)
        }));
        let since = Instant::now();
        let timeout = patience.map_or(PollTimeout::NONE, |p| p.try_into().unwrap_or(PollTimeout::MAX));
        let found = poll(&mut fds, timeout);
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
        self.excuse(patience.map_or(Duration::ZERO, |p| since.elapsed().saturating_sub(p)));
        found?;
        for ((id, peer), ready) in self.peers.iter_mut().zip(&ready[1..]) {
            if *ready {
                peer.flush();
                peer.readable = true;
            }
            if *ready || peer.waited_for().is_some_and(|since| since.elapsed() >= self.deadline) {
                self.ready.push_back(*id);
            }
        }
        // Who has nothing for us may be waiting for our word, and we are about to wait for it, or are with others.
        if self.peers.values().zip(&ready[1..]).any(|(peer, ready)| !ready && peer.debt.is_open(peer.taken)) {
            return Ok(Some(self.acknowledge_next()));
        }
        if !block && self.ready.is_empty() && !(ready[0] && accepting) {
            return Err(ErrorKind::WouldBlock.into());
        }
        if ready[0] && accepting { Ok(self.accept()) } else { Ok(None) }
    }

    /// Gives the time to those from whom a frame is coming that we were `late` to look.
    fn excuse(&mut self, late: Duration) {
        self.looked = Instant::now();
        if late > LATE {
            self.peers.values_mut().filter_map(|peer| peer.begun.as_mut()).for_each(|since| *since += late);
        }
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
