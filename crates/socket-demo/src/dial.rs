//! How a client reaches its server: connect, then introduce oneself.
//!
//! ```text
//!  client                          server
//!  connect ----------------------> (in the backlog: nobody need have noticed)
//!  HELLO item 1 16777216 4711 ---> is that a protocol and version that I speak?
//!          <---------------------- HELLO item 1 16777216 4712
//! ```
//!
//! A connection that was accepted by the kernel has not been accepted by a program, and the program that
//! accepts it may be any. So nothing of value is sent before the server's HELLO: if the connection is lost
//! until then (the server was just leaving), the client waits for the next one and has lost nothing.
//!
//! See also: listen(2) on the backlog.

use std::io::{self, ErrorKind};
use std::time::Duration;

use nix::poll::{PollFlags, PollTimeout};

use crate::endpoint::{Address, Connecting, Connection, pause};
use crate::frame::{self, Rules};
use crate::framing::{Reader, Writer};
use crate::protocol::FLAGS;

/// The pause between two attempts where no news would come.
const AGAIN: Duration = Duration::from_millis(100);

/// What each side says first.
///
/// ```text
///  0          4         8           12      16       20
/// +----------+---------+-----------+-------+--------+
/// | protocol | version | max_frame | pid   | window |      integers 32 bits, little-endian
/// +----------+---------+-----------+-------+--------+
///                                            left out where it is 0
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Four letters that tell one use of these frames from another.
    pub protocol: [u8; 4],
    /// The version of the protocol. Both sides must have the same.
    pub version: u32,
    /// The longest body that the sender of this HELLO takes, in bytes.
    pub max_frame: u32,
    /// The sender's process id, to be shown.
    pub pid: u32,
    /// How many frames may be on their way without an acknowledgement ([`window`](crate::window)): what a client
    /// asks for, and what a server grants at most. 0: nothing is acknowledged.
    pub window: u32,
}

impl Hello {
    /// The bytes that the body of every HELLO has.
    pub const LEN: usize = 16;

    /// This process's HELLO.
    pub fn new(protocol: [u8; 4], version: u32, max_frame: usize) -> Hello {
        Hello { protocol, version, max_frame: max_frame as u32, pid: std::process::id(), window: 0 }
    }

    /// Only a HELLO may come. A later version may say more in it, and is to be told apart by its number.
    pub fn rules() -> Rules {
        Rules::new([(frame::HELLO, Hello::LEN..=256)])
    }

    /// The frame's body.
    pub fn encode(&self) -> Vec<u8> {
        // Who wants no window sounds as everybody did before there were any.
        let window = (self.window > 0).then_some(self.window);
        let words = [self.version, self.max_frame, self.pid].into_iter().chain(window);
        self.protocol.into_iter().chain(words.flat_map(u32::to_le_bytes)).collect()
    }

    /// What the other side said, if it speaks the same protocol.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`], naming both protocols or versions; `Unsupported` if only one side was told
    /// one of the [`FLAGS`].
    pub fn check(&self, body: &[u8]) -> io::Result<Hello> {
        let (letters, _) = body.as_chunks::<4>();
        let [protocol, version, max_frame, pid, rest @ ..] = letters else {
            return Err(io::Error::new(ErrorKind::InvalidData, "a HELLO that is too short"));
        };
        let window = rest.first().copied().unwrap_or_default();
        let [version, max_frame, pid, window] = [*version, *max_frame, *pid, window].map(u32::from_le_bytes);
        let other = Hello { protocol: *protocol, version, max_frame, pid, window };
        if (other.protocol, other.version) == (self.protocol, self.version) {
            return Ok(other);
        }
        let name = |h: &Hello| format!("\"{}\" version {}", h.protocol.escape_ascii(), h.version);
        let why = format!("the other side speaks {}, this program {}", name(&other), name(self));
        let said = |protocol: &[u8; 4]| [other.protocol, self.protocol].contains(protocol);
        let flag = FLAGS.iter().find(|(protocol, _)| said(protocol) && other.version == self.version);
        if let Some((_, flag)) = flag {
            let why = format!("{why}: say {flag} to both sides, or to neither");
            return Err(io::Error::new(ErrorKind::Unsupported, why));
        }
        Err(io::Error::new(ErrorKind::InvalidData, why))
    }
}

/// A connection on which both sides have said HELLO.
#[derive(Debug)]
pub struct Link {
    /// The connection itself.
    pub connection: Connection,
    /// Takes the server's frames out of it.
    pub reader: Reader,
    /// Puts the client's frames into it.
    pub writer: Writer,
    /// What the server said of itself.
    pub server: Hello,
}

impl Link {
    /// Reads the next frame without blocking; `None` when the server has closed the connection.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn try_read(&mut self) -> io::Result<Option<u32>> {
        self.reader.read(&self.connection)
    }

    /// Writes a frame without blocking; see [`Writer::write`].
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn try_write(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        self.writer.write(&self.connection, kind, body)
    }

    /// How many frames the server took before it left, if it has said goodbye: its last word, to be looked
    /// for when writing has failed.
    pub fn last_word(&mut self) -> Option<u64> {
        let mut was_reset = false;
        // Not for ever: who takes nothing more may still send, without an end.
        for _ in 0..1 << 16 {
            match self.try_read() {
                Ok(Some(frame::GOODBYE)) => {
                    return self.reader.body().first_chunk().copied().map(u64::from_le_bytes);
                }
                Ok(Some(_)) => {}
                // A socket of packets says once that its peer went without having read everything, and says it
                // before it hands out what that peer had sent.
                Err(e) if e.kind() == ErrorKind::ConnectionReset && !was_reset => was_reset = true,
                _ => return None,
            }
        }
        None
    }
}

/// Somebody who wants to be connected.
#[derive(Debug)]
pub struct Dial {
    to: Address,
    hello: Hello,
    rules: Rules,
    state: State,
    /// The last attempt failed in a way of which no news will come: try again after a while.
    again: bool,
}

#[derive(Debug)]
enum State {
    Idle,
    Connecting(Connecting),
    Greeting(Greeting),
}

#[derive(Debug)]
struct Greeting {
    connection: Connection,
    reader: Reader,
    writer: Writer,
    said: bool,
}

impl Dial {
    /// Will connect to `to`, say `hello`, and then take frames that keep to `rules`.
    pub fn new(to: Address, hello: Hello, rules: Rules) -> Dial {
        Dial { to, hello, rules, state: State::Idle, again: false }
    }

    /// Connects; if `block`, waits for what is under way.
    ///
    /// # Errors
    /// `WouldBlock` if nobody listens; with `block` this is said of a socket file alone, and only a
    /// [`Watch`](common::place::Watch) can tell when somebody does. Of an abstract name and of TCP there are no
    /// such news: it is to be tried again after `Interrupted`, and paces itself to ten times a second.
    /// `PermissionDenied` if another user listens there; `Unsupported` if the socket there is of another type.
    pub fn connect(&mut self, block: bool) -> io::Result<()> {
        if block && std::mem::take(&mut self.again) {
            pause(AGAIN)?;
        }
        let connected = self.step(block);
        let Err(e) = connected else { return Ok(()) };
        match e.kind() {
            kind if is_nobody(kind) => {
                self.again |= !self.to.has_news();
                Err(self.nobody(block))
            }
            // A Unix socket's backlog is full, of which there will be no news either.
            ErrorKind::WouldBlock if matches!(self.state, State::Idle) => {
                self.again = true;
                Err(self.nobody(block))
            }
            ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::Unsupported => Err(e),
            kind => Err(io::Error::new(kind, format!("connect to {}: {e}", self.to))),
        }
    }

    fn step(&mut self, block: bool) -> io::Result<()> {
        if let State::Idle = self.state {
            self.state = State::Connecting(Connecting::start(&self.to)?);
        }
        if let State::Connecting(connecting) = &self.state {
            if !connecting.is_decided(if block { PollTimeout::NONE } else { PollTimeout::ZERO })? {
                return Err(ErrorKind::WouldBlock.into());
            }
            if let State::Connecting(connecting) = std::mem::replace(&mut self.state, State::Idle) {
                let connection = connecting.finish()?;
                let (reader, writer) = (Reader::new(&connection, Hello::rules()), Writer::default());
                self.state = State::Greeting(Greeting { connection, reader, writer, said: false });
            }
        }
        Ok(())
    }

    fn nobody(&self, block: bool) -> io::Error {
        let kind = if block && self.again { ErrorKind::Interrupted } else { ErrorKind::WouldBlock };
        io::Error::new(kind, format!("nobody listens at {}", self.to))
    }

    /// Says HELLO and hears the server's; if `block`, waits for it. `None` if the server left instead: then
    /// connect again.
    ///
    /// # Errors
    /// `WouldBlock`, or with `block` `Interrupted`; `InvalidData` if it is no server of this protocol;
    /// `NotConnected` before [`Dial::connect`] has succeeded.
    pub fn greet(&mut self, block: bool) -> io::Result<Option<Link>> {
        let State::Greeting(greeting) = &mut self.state else { return Err(ErrorKind::NotConnected.into()) };
        let heard = loop {
            let until = if greeting.said { PollFlags::POLLIN } else { PollFlags::POLLOUT };
            match greeting.greet(&self.hello) {
                Err(e) if e.kind() == ErrorKind::WouldBlock && block => greeting.connection.wait(until)?,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    return Err(e);
                }
                heard => break heard,
            }
        };
        let State::Greeting(Greeting { connection, mut reader, writer, .. }) =
            std::mem::replace(&mut self.state, State::Idle)
        else {
            unreachable!("looked at above")
        };
        match heard {
            Ok(server) => {
                reader.expect(self.rules.clone());
                Ok(Some(Link { connection, reader, writer, server }))
            }
            Err(e) if is_nobody(e.kind()) => {
                self.again = true; // it was about to leave, or takes nobody; either way, not at once again
                Ok(None)
            }
            Err(e) => Err(io::Error::new(e.kind(), format!("{}: {e}", self.to))),
        }
    }
}

impl Greeting {
    fn greet(&mut self, hello: &Hello) -> io::Result<Hello> {
        if !self.said {
            self.writer.write(&self.connection, frame::HELLO, &hello.encode())?;
            self.said = true;
        }
        match self.reader.read(&self.connection)? {
            Some(_) => hello.check(self.reader.body()),
            None => Err(ErrorKind::ConnectionReset.into()),
        }
    }
}

/// Whether an error means that nobody is there, or was just leaving: somebody may come.
fn is_nobody(kind: ErrorKind) -> bool {
    use ErrorKind::*;
    matches!(
        kind,
        NotFound
            | ConnectionRefused
            | ConnectionReset
            | BrokenPipe
            | UnexpectedEof
            | TimedOut
            | HostUnreachable
            | NetworkUnreachable
    )
}
