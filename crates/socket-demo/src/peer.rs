//! One connection of a [`Server`](crate::server::Server): what has come, what waits to be sent, what was said.
//!
//! *Guarantees.* It is read once in a round of epoll(7), and not at all while the other side does not take what it
//! was sent. A goodbye is answered when every frame before it has been handed out and the next one is asked for.
//!
//! *System calls.* read or recv, write.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;

use crate::dial::Hello;
use crate::endpoint::Connection;
use crate::frame::{self, Rules};
use crate::framing::{self, Reader};
use crate::window::Debt;

/// When so much time has passed since the last write, the other side may be waiting: see `batch.rs`.
const SILENCE: Duration = Duration::from_micros(50);
/// So many bytes are gathered, and no more.
const ENOUGH: usize = 64 << 10;

/// The server's end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub connection: Connection,
    pub reader: Reader,
    /// It was found ready, and has not been read since.
    pub readable: bool,
    /// What epoll is to tell of it: that it can be read, or, while there is something in the outbox, written.
    pub wish: EpollFlags,
    /// Frames of which the other side has not yet taken all.
    pub outbox: VecDeque<Vec<u8>>,
    /// Frames that wait to be written with others.
    gathered: Vec<u8>,
    /// When it was written to last.
    wrote: Option<Instant>,
    /// It has said HELLO.
    pub greeted: bool,
    /// Frames handed out, but for HELLO and GOODBYE.
    pub taken: u64,
    /// Which of them it is to be told of, if it wants to be.
    pub debt: Debt,
    /// Since when a frame has been coming of which there is only a part. The HELLO has been coming since it connected.
    pub begun: Option<Instant>,
}

impl Peer {
    /// Nothing has been said yet.
    pub(crate) fn new(connection: Connection) -> Peer {
        Peer {
            reader: Reader::new(&connection, Hello::rules()),
            connection,
            readable: false,
            wish: EpollFlags::EPOLLIN,
            outbox: VecDeque::new(),
            gathered: Vec::new(),
            wrote: None,
            greeted: false,
            taken: 0,
            debt: Debt::default(),
            begun: Some(Instant::now()),
        }
    }

    /// Since when we wait for a HELLO or the rest of a frame; not while it is us who wait for it to take an answer.
    pub(crate) fn waited_for(&self) -> Option<Instant> {
        self.begun.filter(|_| self.outbox.is_empty())
    }

    /// Fails if a HELLO or the rest of a frame has been waited for longer than `deadline`.
    pub(crate) fn check_deadline(&mut self, deadline: Duration) -> io::Result<()> {
        let missing = match self.reader.partial() {
            Some(partial) => format!("frame truncated after {partial}: the rest has"),
            None if !self.greeted => "its HELLO has".into(),
            // Between frames everybody may be silent.
            None => return Ok(()),
        };
        self.begun.get_or_insert_with(Instant::now);
        match self.waited_for() {
            Some(since) if since.elapsed() >= deadline => {
                let why = format!("{missing} not come within {deadline:.1?}");
                Err(io::Error::new(ErrorKind::UnexpectedEof, why))
            }
            _ => Ok(()),
        }
    }

    /// The kind of the next frame; GOODBYE also at the end of a connection that never said HELLO. Handles
    /// HELLO and GOODBYE, and reads at most once.
    pub(crate) fn next(&mut self, hello: &Hello, rules: &Rules) -> io::Result<Option<u32>> {
        if !self.outbox.is_empty() {
            return Ok(None);
        }
        let kind = loop {
            match self.reader.next_frame()? {
                Some(kind) => {
                    self.begun = None;
                    break kind;
                }
                // Nothing is at hand that could be answered together with what has been.
                None if !self.write_gathered() || !std::mem::take(&mut self.readable) => return Ok(None),
                None => match self.fill() {
                    Ok(0) => return self.ended(),
                    Ok(_) => {}
                    Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                        return Ok(None);
                    }
                    Err(e) => return Err(e),
                },
            }
        };
        match kind {
            frame::HELLO => {
                let client = hello.check(self.reader.body());
                let window = client.as_ref().map_or(0, |client| client.window.min(hello.window));
                // Answered in any case: that tells the other side which version is spoken here.
                self.send(frame::HELLO, &Hello { window, ..*hello }.encode());
                client?;
                self.debt = Debt::new(window);
                self.reader.expect(rules.clone());
                self.greeted = true;
            }
            frame::GOODBYE => {
                let sent = self.reader.body().first_chunk().copied().map(u64::from_le_bytes);
                if sent != Some(self.taken) {
                    let sent = sent.map_or("an unknown number of".into(), |n| n.to_string());
                    let why = format!("goodbye after {sent} frames, but {} have come", self.taken);
                    return Err(io::Error::new(ErrorKind::InvalidData, why));
                }
                self.send(frame::GOODBYE, &self.taken.to_le_bytes());
            }
            _ => self.taken += 1,
        }
        Ok(Some(kind))
    }

    /// Reads once. Reset means that the other side went without having read all that it was sent, which is no worse
    /// than an end; and a socket of packets says it once, before it hands out what that side had sent.
    fn fill(&mut self) -> io::Result<usize> {
        let mut read = self.reader.fill(&self.connection);
        if read.as_ref().is_err_and(|e| e.kind() == ErrorKind::ConnectionReset) {
            read = self.reader.fill(&self.connection);
        }
        match read {
            Err(e) if e.kind() == ErrorKind::ConnectionReset => Ok(0),
            read => read,
        }
    }

    /// The stream's end, which is clean only for a stranger who said nothing.
    fn ended(&self) -> io::Result<Option<u32>> {
        match self.reader.cut() {
            Some(cut) => Err(cut),
            None if !self.greeted => Ok(Some(frame::GOODBYE)),
            None => Err(io::Error::new(ErrorKind::ConnectionAborted, "gone without a goodbye")),
        }
    }

    /// Tells it that all that was handed out has been dealt with, if it wants to know.
    pub(crate) fn acknowledge(&mut self) {
        if self.debt.is_open(self.taken) {
            let body = self.debt.pay(self.taken);
            self.send(frame::ACK, &body);
        }
    }

    /// Sends a frame, now or when there is room for it.
    pub(crate) fn send(&mut self, kind: u32, body: &[u8]) {
        // Our own frames are never too long for the header to say.
        if let Ok(frame) = framing::encode(&self.connection, kind, body) {
            self.post(frame);
        }
    }

    /// Sends the frame that was handed out last back as it came.
    pub(crate) fn send_back(&mut self, kind: u32) {
        if let Ok(frame) = framing::encode(&self.connection, kind, self.reader.body()) {
            self.post(frame);
        }
    }

    fn post(&mut self, frame: Vec<u8>) {
        self.outbox.extend([std::mem::take(&mut self.gathered), frame].into_iter().filter(|f| !f.is_empty()));
        self.flush();
    }

    /// Sends a frame together with others, if it follows another closely. A packet goes by itself.
    pub(crate) fn send_soon(&mut self, kind: u32, body: &[u8]) {
        let silence = self.wrote.is_none_or(|wrote| wrote.elapsed() >= SILENCE);
        if silence || self.connection.packets || self.gathered.len() + body.len() > ENOUGH {
            return self.send(kind, body);
        }
        let Ok(header) = frame::header(kind, body.len()) else { return };
        self.gathered.extend_from_slice(&header);
        self.gathered.extend_from_slice(body);
    }

    /// Writes what was gathered: whether the other side has taken all there was for it.
    pub(crate) fn write_gathered(&mut self) -> bool {
        if !self.gathered.is_empty() {
            self.outbox.push_back(std::mem::take(&mut self.gathered));
            self.flush();
        }
        self.outbox.is_empty()
    }

    /// Writes what the other side takes now. An error comes to light at the next read.
    pub(crate) fn flush(&mut self) {
        while let Some(frame) = self.outbox.front_mut() {
            match nix::unistd::write(&self.connection, frame) {
                Ok(n) if n < frame.len() => drop(frame.drain(..n)),
                Ok(_) => {
                    self.outbox.pop_front();
                    self.wrote = Some(Instant::now());
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => self.outbox.clear(),
            }
        }
    }
}
