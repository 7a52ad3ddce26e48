//! The producer's side over UDP: asks until it is answered, sends each item once, and learns how many came.
//!
//! *Guarantees.* [`UdpProducer::finish`] says how many items have come, in the consumer's words. A question (HELLO,
//! GOODBYE) that may have been lost is asked again, and so is one whose answer may have been lost: that is all the
//! same from here.
//!
//! *Limits.* An item is sent once. Nothing ever waits for the consumer, so nothing tells a sender that it is too
//! fast. A consumer that was killed shows as `ECONNREFUSED` at the next send but one, if its machine says so. That
//! *both* sides know of the end cannot be had with any number of messages of which each may be lost (the
//! two generals' problem): the producer gives up after [`PATIENCE`] goodbyes.
//!
//! *System calls.* socket, bind, connect (which on UDP only notes the address), writev, recv, poll.
//!
//! See also: udp(7), connect(2).

use std::io::{self, ErrorKind, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;

use crate::datagram::{DATA, GONE, GOODBYE, HELLO, header, longest, number, parse, wait};

/// The first pause before a question is asked again; for a goodbye it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// So many goodbyes are said to a consumer that does not answer: some five minutes.
pub const PATIENCE: u32 = 300;

/// Sends items to a consumer, as datagrams.
#[derive(Debug)]
pub struct UdpProducer {
    socket: UdpSocket,
    to: SocketAddr,
    stream: u64,
    met: bool,
    sent: u64,
    /// The goodbye was answered, or is not to be said any more.
    over: bool,
    /// When the question is to be asked (again), how long after that once more, and how often it was.
    next: Instant,
    pause: Duration,
    asked: u32,
    patience: u32,
}

impl UdpProducer {
    /// Will send to `to`; `stream` is a random number that no other run of a producer has.
    ///
    /// # Errors
    /// What socket(2) and connect(2) fail with.
    pub fn new(to: SocketAddr, stream: u64) -> io::Result<UdpProducer> {
        let any: SocketAddr = match to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        // From now on only what comes from there is received, and its ICMP errors reach us.
        socket.connect(to)?;
        socket.set_nonblocking(true)?;
        let (next, pause) = (Instant::now(), PAUSE);
        Ok(UdpProducer {
            socket,
            to,
            stream,
            met: false,
            sent: 0,
            over: false,
            next,
            pause,
            asked: 0,
            patience: PATIENCE,
        })
    }

    /// Refuses an item that fits into no datagram.
    ///
    /// # Errors
    /// `InvalidInput`, naming both lengths.
    pub fn check(&self, len: usize) -> io::Result<()> {
        let max = longest(&self.to);
        if len <= max {
            return Ok(());
        }
        let why = format!(
            "an item of {len} bytes (with its header) is one datagram, and that holds up to {max}: take a smaller --size, or --transport tcp"
        );
        Err(io::Error::new(ErrorKind::InvalidInput, why))
    }

    /// Says HELLO until a consumer answers.
    ///
    /// # Errors
    /// `WouldBlock` while there is none, or if `block`, `Interrupted` from time to time.
    pub fn meet(&mut self, block: bool) -> io::Result<()> {
        if self.met {
            return Ok(());
        }
        while self.ask(HELLO, &[], PAUSE, block)?.0 != HELLO {}
        self.met = true;
        (self.next, self.pause, self.asked) = (Instant::now(), PAUSE, 0);
        Ok(())
    }

    /// Sends an item: one datagram, which may arrive.
    ///
    /// # Errors
    /// `WouldBlock`, or if `block`, `Interrupted`, if our own buffer is full; `ConnectionAborted` if the consumer
    /// has gone, and that is known.
    pub fn send(&mut self, item: &[u8], block: bool) -> io::Result<()> {
        self.check(item.len())?;
        // A consumer that leaves says so, once; else it says nothing in between.
        match self.hear() {
            Ok(Some((GONE, came))) => return Err(self.gone(Some(came))),
            Ok(_) => {}
            Err(e) => return Err(self.explain(e)),
        }
        let header = header(DATA, self.stream);
        loop {
            match nix::sys::uio::writev(&self.socket, &[IoSlice::new(&header), IoSlice::new(item)]) {
                Ok(_) => break,
                Err(nix::errno::Errno::EAGAIN) if block => wait(&self.socket, PollFlags::POLLOUT, None)?,
                Err(e) => return Err(self.explain(e.into())),
            }
        }
        self.sent += 1;
        Ok(())
    }

    /// Says goodbye until the consumer has told how many items came.
    ///
    /// # Errors
    /// `InvalidData` if some did not; `WouldBlock`, or if `block`, `Interrupted`, while there is no answer;
    /// `ConnectionAborted` if the consumer has gone; `TimedOut` after [`PATIENCE`] goodbyes.
    pub fn finish(&mut self, block: bool) -> io::Result<()> {
        let (kind, came) = match self.ask(GOODBYE, &self.sent.to_le_bytes(), LONGEST_PAUSE, block) {
            // It has left meanwhile; its answer may be here all the same.
            Err(e) if is_nobody(&e) => self.last_word().ok_or_else(|| self.gone(None))?,
            answer => answer?,
        };
        self.over = true;
        match kind {
            _ if came >= self.sent => Ok(()),
            GONE => Err(self.gone(Some(came))),
            _ => {
                let (sent, lost) = (self.sent, self.sent - came);
                let why = format!(
                    "{lost} of {sent} datagrams have not come: UDP repeats nothing and waits for nobody (--transport tcp does)"
                );
                Err(io::Error::new(ErrorKind::InvalidData, why))
            }
        }
    }

    /// Leaves early: says goodbye, and waits a moment for the answer.
    pub fn leave(&mut self) {
        let until = Instant::now() + 3 * PAUSE;
        (self.next, self.pause) = (Instant::now(), PAUSE);
        loop {
            match self.ask(GOODBYE, &self.sent.to_le_bytes(), PAUSE, true) {
                Err(e) if e.kind() == ErrorKind::Interrupted && Instant::now() < until && self.met => {}
                _ => break,
            }
        }
        self.over = true;
    }

    /// How many items were sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Asks `kind` again and again, with pauses that double up to `longest`, until an answer of the same kind
    /// comes, or GONE: its kind and number. `Interrupted` after each pause, so that the caller can look around.
    fn ask(&mut self, kind: u32, body: &[u8], longest: Duration, block: bool) -> io::Result<(u32, u64)> {
        loop {
            match self.hear() {
                Ok(Some(answer)) if [kind, GONE].contains(&answer.0) => return Ok(answer),
                Ok(Some(_)) => continue,
                Ok(None) => {}
                // Nobody is there yet.
                Err(e) if kind == HELLO && is_nobody(&e) => {}
                Err(e) => return Err(e),
            }
            if self.next <= Instant::now() {
                if kind == GOODBYE && self.asked == self.patience {
                    let why = format!(
                        "nobody has answered {} goodbyes; how many items came is not known",
                        self.asked
                    );
                    return Err(io::Error::new(ErrorKind::TimedOut, why));
                }
                match nix::sys::uio::writev(
                    &self.socket,
                    &[IoSlice::new(&header(kind, self.stream)), IoSlice::new(body)],
                ) {
                    Err(e) if kind == HELLO && is_nobody(&e.into()) => {}
                    Err(e) => return Err(e.into()),
                    Ok(_) => self.asked += 1,
                }
                self.next = Instant::now() + self.pause;
                self.pause = (2 * self.pause).min(longest);
                continue;
            }
            if !block {
                return Err(ErrorKind::WouldBlock.into());
            }
            wait(&self.socket, PollFlags::POLLIN, Some(self.next.saturating_duration_since(Instant::now())))?;
            if self.next <= Instant::now() {
                return Err(ErrorKind::Interrupted.into());
            }
        }
    }

    /// What has come from the consumer: a kind and its number.
    fn hear(&self) -> io::Result<Option<(u32, u64)>> {
        let mut datagram = [0; 64];
        loop {
            match self.socket.recv(&mut datagram) {
                Ok(n) => match parse(&datagram[..n]) {
                    Some((kind, stream)) if stream == self.stream => {
                        return Ok(Some((kind, number(&datagram[..n]))));
                    }
                    _ => {}
                },
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// `ECONNREFUSED`: its machine says that nobody has the port. Its last word may be here already.
    fn explain(&mut self, e: io::Error) -> io::Error {
        if is_nobody(&e) {
            self.last_word().map_or_else(|| self.gone(None), |word| self.gone(Some(word.1)))
        } else {
            e
        }
    }

    fn last_word(&mut self) -> Option<(u32, u64)> {
        let mut last = None;
        while let Ok(Some(word)) = self.hear() {
            last = [GOODBYE, GONE].contains(&word.0).then_some(word).or(last);
        }
        last
    }

    fn gone(&self, came: Option<u64>) -> io::Error {
        let came = match came {
            Some(n) => format!("{n} of them have come"),
            None => "how many of them came is not known".into(),
        };
        let why = format!("the consumer at {} has gone; {} items were sent, {came}", self.to, self.sent);
        io::Error::new(ErrorKind::ConnectionAborted, why)
    }
}

impl Drop for UdpProducer {
    fn drop(&mut self) {
        if !self.over && self.met {
            // No connection breaks when a socket is closed: whoever can say that it goes has to say so.
            let _ = self.socket.send(&[&header(GONE, self.stream)[..], &self.sent.to_le_bytes()].concat());
        }
    }
}

fn is_nobody(e: &io::Error) -> bool {
    use ErrorKind::*;
    matches!(e.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goodbye_that_nobody_answers_is_not_said_for_ever() {
        let silent = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let mut producer = UdpProducer::new(silent.local_addr().expect("an address"), 7).expect("a socket");
        (producer.met, producer.patience) = (true, 2);
        let e = loop {
            match producer.finish(true) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                ended => break ended.unwrap_err(),
            }
        };
        assert_eq!(e.kind(), ErrorKind::TimedOut);
        assert!(e.to_string().starts_with("nobody has answered 2 goodbyes"), "{e}");
        producer.over = true;
        silent.set_nonblocking(true).expect("set");
        let said = (0..9).take_while(|_| silent.recv(&mut [0; 64]).is_ok()).count();
        assert_eq!(said, 2);
    }
}
