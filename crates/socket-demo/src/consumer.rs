//! The consumer's side: takes the items of any number of producers, until the last has said goodbye.
//!
//! *Guarantees.* The items of one producer come in order. A producer's goodbye is answered when the item
//! before it has been taken *and the next one is asked for*, so that it knows that all were dealt with.
//!
//! *The end.* The stream has ended when there has been a producer, none is connected any more, and nobody
//! waits to be accepted. If one of them went without a goodbye the end is an error instead: the rest of
//! its items is missing. Whoever connects and leaves without HELLO is no producer.

use std::io::{self, ErrorKind};
use std::time::Duration;

use crate::dial::Hello;
use crate::endpoint::Address;
use crate::frame;
use crate::listener::Listener;
use crate::protocol::{PROTOCOL, VERSION, rules};
use crate::server::{Event, Id, Server};

/// What [`Consumer::receive`] returns.
#[derive(Debug)]
pub enum Received {
    /// An item: [`Consumer::item`].
    Item,
    /// The next call acknowledges all items handed out until now ([`window`](crate::window)): what of them is in a
    /// buffer of the caller's, and would be lost with this process, is to be written before it.
    Acknowledging,
    /// Something worth a line: a stranger, a producer that was lost while there are others.
    Notice(String),
    /// The stream has ended; how a producer was lost, if one was: `ConnectionAborted`, or `UnexpectedEof` if
    /// a frame was cut, or `InvalidData` if it sent what it should not.
    End(io::Result<()>),
}

/// Receives items from any number of producers.
#[derive(Debug)]
pub struct Consumer {
    server: Server,
    /// Whose item was handed out last.
    from: Id,
    /// There has been a producer in this stream.
    met: bool,
    /// How a producer was lost; the worst of them.
    lost: Option<io::Error>,
}

impl Consumer {
    /// Listens at `address` and takes items of up to `max_frame` bytes.
    ///
    /// # Errors
    /// As [`Listener::open`].
    pub fn listen(address: &Address, max_frame: usize) -> io::Result<Consumer> {
        let listener = Listener::open(address)?;
        // Whoever wants acknowledgements gets them.
        let hello = Hello { window: u32::MAX, ..Hello::new(PROTOCOL, VERSION, max_frame) };
        Ok(Consumer::new(Server::new(listener, hello, rules(max_frame))?))
    }

    /// Receives from the clients of `server`, whatever kind of frames its rules allow.
    pub fn new(server: Server) -> Consumer {
        Consumer { server, from: 0, met: false, lost: None }
    }

    /// Sets within what time a frame that has begun must be there as a whole.
    pub fn frame_deadline(&mut self, deadline: Duration) {
        self.server.frame_deadline(deadline);
    }

    /// How many producers are connected.
    pub fn producers(&self) -> usize {
        self.server.clients()
    }

    /// Waits for the first producer; something worth a line may come before it.
    ///
    /// # Errors
    /// `WouldBlock`, or, if `block`, `Interrupted`.
    pub fn meet(&mut self, block: bool) -> io::Result<Option<String>> {
        while !self.met {
            let event = self.server.next_event(block)?;
            if let Some(Received::Notice(notice)) = self.react(event) {
                return Ok(Some(notice));
            }
        }
        Ok(None)
    }

    /// The next item, waiting for it.
    ///
    /// # Errors
    /// `Interrupted`.
    pub fn receive(&mut self) -> io::Result<Received> {
        self.next(true)
    }

    /// The next item, if it has come.
    ///
    /// # Errors
    /// `WouldBlock`.
    pub fn try_receive(&mut self) -> io::Result<Received> {
        self.next(false)
    }

    fn next(&mut self, block: bool) -> io::Result<Received> {
        loop {
            // When the last producer has gone only those are asked who have already knocked.
            let ended = self.met && self.server.clients() == 0;
            match self.server.next_event(block && !ended) {
                Err(e) if ended && e.kind() == ErrorKind::WouldBlock => {
                    self.met = false;
                    return Ok(Received::End(self.lost.take().map_or(Ok(()), Err)));
                }
                event => {
                    if let Some(received) = self.react(event?) {
                        return Ok(received);
                    }
                }
            }
        }
    }

    fn react(&mut self, event: Event) -> Option<Received> {
        match event {
            Event::Came(_) => self.met = true,
            Event::Frame { from, .. } => {
                self.from = from;
                return Some(Received::Item);
            }
            Event::Gone(_, Ok(())) => {}
            Event::Gone(who, Err(e)) => {
                let notice = format!("the producer ({who}) was lost: {e}");
                // A cut frame outweighs a missing goodbye.
                if self.lost.as_ref().is_none_or(|l| l.kind() == ErrorKind::ConnectionAborted) {
                    self.lost = Some(io::Error::new(kind_of_loss(&e), notice.clone()));
                }
                return Some(Received::Notice(notice));
            }
            Event::Acknowledging => return Some(Received::Acknowledging),
            Event::Notice(notice) => return Some(Received::Notice(notice)),
        }
        None
    }

    /// The item that was received last.
    pub fn item(&self) -> &[u8] {
        self.server.body(self.from)
    }

    /// What has come of an item that is not whole, if there is one: `50 of 108 bytes`.
    pub fn partial(&self) -> Option<String> {
        self.server.partial()
    }

    /// Answers the item that was received last, with a frame to its producer.
    pub fn answer(&mut self, kind: u32, body: &[u8]) {
        self.server.send(self.from, kind, body);
    }

    /// The same, but the frame may wait for others: see [`Server::send_soon`].
    pub fn answer_soon(&mut self, kind: u32, body: &[u8]) {
        self.server.send_soon(self.from, kind, body);
    }

    /// Answers it by the item itself, as it came: see [`duplex`](crate::duplex).
    pub fn send_back(&mut self) {
        self.server.send_back(self.from, frame::DATA);
    }

    /// Leaves: tells every producer, if it can be told at once, how many of its items were taken.
    pub fn leave(&mut self) {
        self.server.leave();
    }
}

/// Bad data stays bad data; whatever else broke the connection is a loss.
fn kind_of_loss(e: &io::Error) -> ErrorKind {
    match e.kind() {
        kind @ (ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => kind,
        _ => ErrorKind::ConnectionAborted,
    }
}
