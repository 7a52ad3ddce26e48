//! Message queue: the kernel keeps whole messages, sorted by type or priority, for any number of processes.
//!
//! | file | idea |
//! |---|---|
//! | [`sysv`] | System V queue: a receiver selects by message type |
//! | [`posix`] | POSIX queue: the message of highest priority comes first |
//! | [`registry`] | the small file that leads to a queue, and keeps the stream's goodbye |
//! | [`mailbox`] | what two ends share: who is attached, and who removes what is left |
//! | [`sender`] | a producer's end: makes the queue, sends, says goodbye |
//! | [`receiver`] | a consumer's end: waits for the queue, receives, finds the end |
//! | `card` | what an attached process says of itself: what it takes, where its receipts go |
//! | [`direct`] | partners name each other: a message's type is an address |
//! | [`rendezvous`] | the sender is held until the receiver has the message |
//! | [`structs`] | the message's type says which struct it is |
//! | [`limits`] | how much of its memory the kernel gives, and what happens beyond |
//!
//! The first two stand alone: each needs nothing but its system calls. A queue has no end of its own: it
//! outlives every process, and nobody who waits at it is told that the others have gone. That is what the
//! others add.

#![deny(unsafe_code)]

mod card;
pub mod direct;
pub mod limits;
pub mod mailbox;
pub mod posix;
pub mod receiver;
pub mod registry;
pub mod rendezvous;
pub mod sender;
pub mod structs;
pub mod sysv;
