//! An acknowledgement window: a sender that is never more than so many messages ahead of what it knows to have arrived.
//!
//! ```text
//!  sent    0 … 967 │ 968 … 983 … 999 │          window 32
//!                  │                 │
//!       known to have been           never further than this before
//!       dealt with: ACK 968          the next acknowledgement
//! ```
//!
//! write(2) says that the kernel has the bytes. That a *program* has dealt with them only that program can say, and it
//! says so in frames of its own on the way back: ACK n, "n of them, from the first on". When it dies, what
//! became of the messages in the window is unknown, and of no others. Without a window nobody can even tell how many.
//!
//! *Guarantees.* At most `size` messages are handed over and not acknowledged. What is acknowledged has been dealt
//! with: the receiver took it, asked for the next one, and was told to write what it still had in buffers.
//!
//! *Limits.* What is unknown may have arrived or not; to send it again can double it. "Written" means given to the
//! kernel: it survives the process, not the power.
//!
//! *Cost.* One small frame for every half of the window, or when the receiver has nothing more to do; and a sender that
//! waits when the window is full. A window of 1 is lock-step: one message for each journey there and back. Over TCP
//! an acknowledgement must not be delayed (`TCP_NODELAY`, see [`endpoint`](crate::endpoint)): Nagle's algorithm keeps a
//! small segment back until the one before is acknowledged by the other *kernel*, which for its part puts
//! that off for up to 40 ms, in the hope of data to send it with. But a sender whose window is full has none.
//!
//! See also: W. R. Stevens, *TCP/IP Illustrated*, vol. 1 (sliding windows); J. H. Saltzer, D. P. Reed, D. D. Clark,
//! "End-to-End Arguments in System Design".

use std::io::{self, ErrorKind};
use std::ops::Range;

/// The sender's end.
#[derive(Debug)]
pub struct Window {
    size: u64,
    acknowledged: u64,
}

impl Window {
    /// Lets `size` messages be on their way at once.
    pub fn new(size: u32) -> Window {
        Window { size: size.into(), acknowledged: 0 }
    }

    /// How many messages may be unacknowledged.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many messages are known to have been dealt with.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Of `sent` messages, those whose fate is not known.
    pub fn unknown(&self, sent: u64) -> Range<u64> {
        self.acknowledged..sent
    }

    /// Whether no other message may be sent now.
    pub fn is_full(&self, sent: u64) -> bool {
        sent - self.acknowledged >= self.size
    }

    /// Takes an acknowledgement of `n` messages. Each says more than the one before; so there are no more of them than
    /// messages, whatever the receiver is up to.
    ///
    /// # Errors
    /// `InvalidData` if it does not, or says more than was `sent`.
    pub fn acknowledge(&mut self, n: u64, sent: u64) -> io::Result<()> {
        if n <= self.acknowledged {
            let before = self.acknowledged;
            let why = format!("an acknowledgement of {n} items, after one of {before}");
            return Err(io::Error::new(ErrorKind::InvalidData, why));
        }
        self.close(n, sent)
    }

    /// The receiver leaves, having taken `n` messages: that may be no news.
    ///
    /// # Errors
    /// As [`Window::acknowledge`].
    pub fn close(&mut self, n: u64, sent: u64) -> io::Result<()> {
        if !(self.acknowledged..=sent).contains(&n) {
            let before = self.acknowledged;
            let why =
                format!("{n} items are said to have been taken: {sent} were sent, {before} acknowledged");
            return Err(io::Error::new(ErrorKind::InvalidData, why));
        }
        self.acknowledged = n;
        Ok(())
    }
}

/// The receiver's end: what it has dealt with and not acknowledged yet. By default nobody wants to know.
#[derive(Debug, Default)]
pub(crate) struct Debt {
    window: u64,
    acknowledged: u64,
}

impl Debt {
    /// Towards a sender with a window of that size; 0: one that wants no acknowledgements.
    pub(crate) fn new(window: u32) -> Debt {
        Debt { window: window.into(), acknowledged: 0 }
    }

    /// Whether something of the `taken` messages is not acknowledged.
    pub(crate) fn is_open(&self, taken: u64) -> bool {
        self.window > 0 && taken > self.acknowledged
    }

    /// Whether that is so much that it cannot wait: the sender still has the other half of its window.
    pub(crate) fn is_due(&self, taken: u64) -> bool {
        self.window > 0 && taken - self.acknowledged >= (self.window / 2).max(1)
    }

    /// The body of the frame that acknowledges all `taken` messages.
    pub(crate) fn pay(&mut self, taken: u64) -> [u8; 8] {
        self.acknowledged = taken;
        taken.to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_full_until_something_is_acknowledged() {
        let mut window = Window::new(3);
        assert!(!window.is_full(2) && window.is_full(3));
        window.acknowledge(1, 3).expect("one of them");
        assert!(!window.is_full(3) && window.is_full(4));
        assert_eq!(window.unknown(4), 1..4);
    }

    #[test]
    fn only_what_was_sent_and_is_news_can_be_acknowledged() {
        let mut window = Window::new(8);
        window.acknowledge(5, 7).expect("news");
        for wrong in [0, 4, 5, 8, u64::MAX] {
            let e = window.acknowledge(wrong, 7).expect_err("no news");
            assert_eq!((e.kind(), window.acknowledged()), (ErrorKind::InvalidData, 5), "{wrong}");
        }
        for wrong in [4, 8] {
            assert_eq!(window.close(wrong, 7).expect_err("wrong").kind(), ErrorKind::InvalidData, "{wrong}");
        }
        window.close(5, 7).expect("it had taken no more");
        window.acknowledge(7, 7).expect("all");
        assert!(window.unknown(7).is_empty());
    }

    #[test]
    fn a_debt_is_due_at_half_a_window() {
        for (window, due) in [(1, 1), (2, 1), (3, 1), (32, 16), (33, 16)] {
            let mut debt = Debt::new(window);
            assert!(!debt.is_open(0) && !debt.is_due(0));
            let first = (1..).find(|&taken| debt.is_due(taken));
            assert_eq!(first, Some(due), "{window}");
            assert_eq!(debt.pay(due), due.to_le_bytes());
            assert!(!debt.is_open(due) && debt.is_open(due + 1) && debt.is_due(2 * due), "{window}");
        }
        assert!(!Debt::default().is_open(9) && !Debt::default().is_due(9));
    }
}
