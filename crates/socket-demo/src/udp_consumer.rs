//! The consumer's side over UDP: one socket for all producers, and no connection to any of them.
//!
//! *Guarantees.* Each item comes whole. A stream's goodbye says how many items it had, so that losses are known also
//! at the end; it is answered when all before it has been taken *and the next item is asked for*. What is not ours,
//! or from a stream that never said HELLO, is no item.
//!
//! *The end.* The stream has ended when there has been a producer, all have said goodbye, and nothing is left in the
//! socket. If fewer items came than a goodbye says, late ones are waited for, `LATE` long. The answer to a goodbye
//! is sent three times, because after the last one nobody is here to send it again.
//!
//! *Limits.* A producer that was killed says nothing and is waited for, for ever: only a time limit ends that. While an
//! item is being worked on nothing is read, and what does not fit into the buffer meanwhile is lost.
//!
//! *System calls.* socket, bind, recvfrom, sendto, poll.
//!
//! See also: udp(7), recvfrom(2).

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use crate::datagram::{DATA, GONE, GOODBYE, HEADER, HELLO, drops, header, number, parse, wait};

/// How long is waited for what a goodbye has overtaken.
const LATE: Duration = Duration::from_millis(200);
/// So many streams are remembered, and more than that are not let in at once.
const STREAMS: usize = 4096;

/// What [`UdpConsumer::receive`] returns.
#[derive(Debug)]
pub enum Arrival {
    /// An item: [`UdpConsumer::item`].
    Item,
    /// A stream has ended, which had so many items.
    Goodbye {
        /// The random number of the stream.
        stream: u64,
        /// How many items its producer sent.
        sent: u64,
    },
    /// Something worth a line.
    Notice(String),
    /// All streams have ended; `ConnectionAborted` if a producer went without a goodbye.
    End(io::Result<()>),
}

/// Receives datagrams from any number of producers.
#[derive(Debug)]
pub struct UdpConsumer {
    socket: UdpSocket,
    datagram: Box<[u8]>,
    len: usize,
    streams: BTreeMap<u64, Stream>,
    met: bool,
    lost: Option<io::Error>,
    /// Until then late items are waited for.
    late: Instant,
}

#[derive(Debug)]
struct Stream {
    from: SocketAddr,
    came: u64,
    ended: bool,
}

impl UdpConsumer {
    /// Takes the port.
    ///
    /// # Errors
    /// [`ErrorKind::AddrInUse`] if somebody has it.
    pub fn bind(addr: SocketAddr) -> io::Result<UdpConsumer> {
        let socket = UdpSocket::bind(addr).map_err(|e| {
            let hint = if e.kind() == ErrorKind::AddrInUse { "; take another --addr" } else { "" };
            io::Error::new(e.kind(), format!("bind {addr}: {e}{hint}"))
        })?;
        socket.set_nonblocking(true)?;
        Ok(UdpConsumer {
            socket,
            // No datagram is longer, so none is cut.
            datagram: vec![0; 1 << 16].into(),
            len: HEADER,
            streams: BTreeMap::new(),
            met: false,
            lost: None,
            late: Instant::now(),
        })
    }

    /// Where it can be found.
    ///
    /// # Errors
    /// What getsockname(2) fails with.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// How many producers have said HELLO and not goodbye.
    pub fn producers(&self) -> usize {
        self.streams.values().filter(|s| !s.ended).count()
    }

    /// How many datagrams the kernel has dropped because the socket's buffer was full.
    pub fn drops(&self) -> u64 {
        drops(&self.socket).unwrap_or(0)
    }

    /// The item that was received last.
    pub fn item(&self) -> &[u8] {
        self.datagram.get(HEADER..self.len).unwrap_or_default()
    }

    /// Waits for the first producer; something worth a line may come before it.
    ///
    /// # Errors
    /// `WouldBlock`, or, if `block`, `Interrupted`.
    pub fn meet(&mut self, block: bool) -> io::Result<Option<String>> {
        while !self.met {
            match self.next(block)? {
                Some(Arrival::Notice(notice)) => return Ok(Some(notice)),
                Some(Arrival::Item) => return Ok(Some("an item came after its stream's end".into())),
                _ => {}
            }
        }
        Ok(None)
    }

    /// What comes next.
    ///
    /// # Errors
    /// `WouldBlock`, or, if `block`, `Interrupted`.
    pub fn receive(&mut self, block: bool) -> io::Result<Arrival> {
        loop {
            let ended = self.met && self.producers() == 0;
            match self.next(block && !ended) {
                Ok(Some(arrival)) => return Ok(arrival),
                Ok(None) => {}
                Err(e) if ended && e.kind() == ErrorKind::WouldBlock => {
                    let late = self.late.saturating_duration_since(Instant::now());
                    if late.is_zero() {
                        self.met = false;
                        return Ok(Arrival::End(self.lost.take().map_or(Ok(()), Err)));
                    }
                    if !block {
                        return Err(e);
                    }
                    wait(&self.socket, PollFlags::POLLIN, Some(late))?;
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Leaves: tells every producer how many of its items have come.
    pub fn leave(&mut self) {
        for (stream, s) in self.streams.iter().filter(|(_, s)| !s.ended) {
            self.say(GONE, *stream, &s.came.to_le_bytes(), s.from);
        }
    }

    /// Receives one datagram and does what it asks for.
    fn next(&mut self, block: bool) -> io::Result<Option<Arrival>> {
        let (len, from) = loop {
            match self.socket.recv_from(&mut self.datagram) {
                Err(e) if e.kind() == ErrorKind::WouldBlock && block => {
                    wait(&self.socket, PollFlags::POLLIN, None)?
                }
                received => break received?,
            }
        };
        self.len = len;
        let Some((kind, stream)) = parse(&self.datagram[..len]) else {
            return Ok(Some(Arrival::Notice(format!(
                "a foreign datagram of {len} B from {from} is no item"
            ))));
        };
        if self.streams.len() >= STREAMS {
            // Those who might still ask whether their goodbye was heard.
            self.streams.retain(|_, s| !s.ended);
        }
        let full = self.streams.len() >= STREAMS;
        let known = match self.streams.get_mut(&stream) {
            Some(known) if known.from == from => known,
            Some(_) => {
                let why = format!("{from} sends in the name of another: that is no item");
                return Ok(Some(Arrival::Notice(why)));
            }
            None if kind == HELLO && !full => {
                self.streams.insert(stream, Stream { from, came: 0, ended: false });
                self.met = true;
                self.say(HELLO, stream, &[], from);
                return Ok(None);
            }
            None if kind == HELLO => {
                return Ok(Some(Arrival::Notice(format!("{from} has to wait: there are {STREAMS} streams"))));
            }
            None => {
                // It has met another consumer, which was killed: ours is the answer of one who has left.
                self.say(GONE, stream, &0u64.to_le_bytes(), from);
                return Ok(Some(Arrival::Notice(format!(
                    "{from} goes on with a stream that did not begin here"
                ))));
            }
        };
        match kind {
            HELLO => self.say(HELLO, stream, &[], from),
            DATA => {
                known.came += 1;
                return Ok(Some(Arrival::Item));
            }
            GOODBYE => {
                let (sent, came) = (number(&self.datagram[..len]), known.came);
                let again = std::mem::replace(&mut known.ended, true);
                for _ in 0..3 {
                    self.say(GOODBYE, stream, &came.to_le_bytes(), from);
                }
                if !again {
                    self.late = Instant::now() + if came < sent { LATE } else { Duration::ZERO };
                    return Ok(Some(Arrival::Goodbye { stream, sent }));
                }
            }
            GONE if !std::mem::replace(&mut known.ended, true) => {
                let why = format!("the producer ({from}) was lost: gone without a goodbye");
                self.lost = Some(io::Error::new(ErrorKind::ConnectionAborted, why.clone()));
                return Ok(Some(Arrival::Notice(why)));
            }
            _ => {}
        }
        Ok(None)
    }

    /// An answer, which may be lost: then the question comes again.
    fn say(&self, kind: u32, stream: u64, body: &[u8], to: SocketAddr) {
        let _ = self.socket.send_to(&[&header(kind, stream)[..], body].concat(), to);
    }
}
