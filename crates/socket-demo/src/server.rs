//! Many connections in one thread: epoll(7) tells which of them have something to read.
//!
//! ```text
//!  listener ──┐                        ┌─ connection 1  reader, outbox
//!             ├── epoll ── ready: 1,3 ─┤  connection 2
//!  1, 2, 3 ───┘                        └─ connection 3
//!                                          │ one whole frame at a time
//!                                          ▼
//!                                   Event::Frame { from: 3, kind }
//! ```
//!
//! A connection costs nothing while it is silent: the kernel has been told of it once, and keeps a list of those that are
//! ready (`round.rs`). With poll(2) it would be told of all of them, and look at all of them, each time that
//! one has something to say.
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
//! *System calls.* epoll_wait, epoll_ctl, accept4, read, write, close.
//!
//! See also: epoll(7); M. Kerrisk, *The Linux Programming Interface*, ch. 63.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use crate::dial::Hello;
use crate::endpoint::Connection;
use crate::frame::{self, Rules};
use crate::listener::Listener;
use crate::peer::Peer;
use crate::round::{LISTENER, ROUND};

/// Within what time a frame that has begun, and a connection's HELLO, must be there; see [`Server::frame_deadline`].
pub const FRAME_DEADLINE: Duration = Duration::from_secs(30);

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
    pub(crate) listener: Listener,
    pub(crate) epoll: Epoll,
    /// What epoll has answered last.
    pub(crate) events: Vec<EpollEvent>,
    pub(crate) hello: Hello,
    pub(crate) rules: Rules,
    pub(crate) peers: BTreeMap<Id, Peer>,
    pub(crate) next_id: Id,
    /// How many have said HELLO.
    pub(crate) greeted: usize,
    /// Of whom a HELLO or a frame is coming: see [`Peer::begun`].
    pub(crate) begun: BTreeSet<Id>,
    /// Who is to be told that frames of theirs have been dealt with.
    pub(crate) owed: BTreeSet<Id>,
    /// Who may have a frame for us in this round, in turn.
    pub(crate) ready: VecDeque<Id>,
    /// We have said that acknowledgements come next.
    pub(crate) acknowledging: bool,
    /// Accepting is left alone until then.
    pub(crate) exhausted: Option<Instant>,
    /// Epoll tells us who knocks.
    pub(crate) accepting: bool,
    pub(crate) deadline: Duration,
    /// When we last knew who has something to say.
    pub(crate) looked: Instant,
    /// A frame was just answered.
    answered: bool,
}

impl Server {
    /// Serves those who come to `listener`, say the same `hello`, and then keep to `rules`.
    ///
    /// # Errors
    /// What epoll_create1(2) and epoll_ctl(2) fail with.
    pub fn new(listener: Listener, hello: Hello, rules: Rules) -> io::Result<Server> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        Ok(Server {
            listener,
            epoll,
            events: vec![EpollEvent::empty(); ROUND],
            hello,
            rules,
            peers: BTreeMap::new(),
            next_id: 0,
            greeted: 0,
            begun: BTreeSet::new(),
            owed: BTreeSet::new(),
            ready: VecDeque::new(),
            acknowledging: false,
            exhausted: None,
            accepting: true,
            deadline: FRAME_DEADLINE,
            looked: Instant::now(),
            answered: false,
        })
    }

    /// Sets within what time a frame that has begun must be there as a whole, and the HELLO that every connection
    /// owes from its first moment. Time in which we were busy with others, or stopped, does not count. 0: never.
    pub fn frame_deadline(&mut self, deadline: Duration) {
        self.deadline = if deadline.is_zero() { Duration::MAX } else { deadline };
    }

    /// The next event; if `block`, waits for it.
    ///
    /// # Errors
    /// `WouldBlock` if there is none: then nobody waits to be accepted either, but see [`Server::send_soon`].
    /// `Interrupted`.
    pub fn next_event(&mut self, block: bool) -> io::Result<Event> {
        let answered = std::mem::take(&mut self.answered);
        if std::mem::take(&mut self.acknowledging) {
            for id in std::mem::take(&mut self.owed) {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.acknowledge();
                    self.ready.push_back(id);
                }
            }
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
            if let Some(event) = self.look(block)? {
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
        self.greeted
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
    ///
    /// Who is answered has waited for that, as a rule, and has said nothing more: so the next call, unless it may
    /// block, looks at nothing but what has been read. Who else has something is told by the one that may.
    pub fn send_soon(&mut self, to: Id, kind: u32, body: &[u8]) {
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.send_soon(kind, body);
            self.answered = true;
        }
    }

    /// Sends the last frame that came from `id` back to it, as it came; of the next call holds the same.
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
        let peer = self.forget(id)?;
        // As long as it is open epoll would go on telling of it.
        let _ = self.epoll.delete(&peer.connection);
        Some(peer.connection)
    }

    fn close(&mut self, id: Id) {
        if let Some(mut peer) = self.forget(id) {
            peer.write_gathered();
        }
        self.exhausted = None;
    }

    fn forget(&mut self, id: Id) -> Option<Peer> {
        self.begun.remove(&id);
        self.owed.remove(&id);
        let peer = self.peers.remove(&id)?;
        self.greeted -= usize::from(peer.greeted);
        Some(peer)
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
            Ok(None) => match self.rest(id) {
                Ok(()) => return None,
                Err(e) => Err(e),
            },
            Ok(Some(frame::HELLO)) => {
                self.greeted += 1;
                return Some(Event::Came(id));
            }
            Ok(Some(frame::GOODBYE)) => Ok(()),
            Ok(Some(kind)) => {
                if peer.debt.is_open(peer.taken) {
                    self.owed.insert(id);
                }
                return Some(Event::Frame { from: id, kind });
            }
            Err(e) => Err(e),
        };
        let name = self.peers[&id].connection.peer.clone();
        self.close(id);
        Some(match end {
            end if greeted => Event::Gone(name, end),
            Ok(()) => Event::Notice(format!("{name} left without a word")),
            Err(e) => Event::Notice(format!("refused {name}: {e}")),
        })
    }

    pub(crate) fn acknowledge_next(&mut self) -> Event {
        self.acknowledging = true;
        Event::Acknowledging
    }
}
