//! POSIX shared memory: two processes, one buffer, and four ways to keep out of each other's way.
//!
//! Read them in this order; each repeats the whole buffer and says what is new.
//!
//! | file | how | what it is good for |
//! |---|---|---|
//! | [`unsynchronized`] | not at all | seeing why the others exist |
//! | [`semaphore`] | three semaphores | the textbook; any number of processes |
//! | [`mutex`] | robust mutex, futex | the same, and it survives what a semaphore does not: a killed process |
//! | [`ring`] | atomic counters, futex | one producer and one consumer, an order of magnitude faster |
//!
//! A ring goes in one direction; [`duplex`] is two of them. What all stand on: [`memory`] (bytes that others change),
//! [`futex`] (sleeping), [`waiting`] (and when not to), [`seat`] (who is there) and [`object`] (the name, the header, the end). [`buffer`] only chooses one of the four; [`inspect`]
//! looks at a buffer from outside.
//!
//! A buffer's life, on either side:
//!
//! ```text
//! producer:  create → push, push, … → finish          (the goodbye)
//! consumer:  wait → open → pop, done, pop, done, … → finish
//! ```
//!
//! `push` and `pop` wait and return `Interrupted` when a signal arrives; `try_push` and `try_pop` return
//! `WouldBlock`. `look` is called when somebody came, left or died.

#![deny(unsafe_code)]

pub mod buffer;
pub mod duplex;
pub mod event;
pub mod futex;
pub mod gauge;
pub mod header;
pub mod inspect;
pub mod memory;
pub mod mutex;
pub mod object;
pub mod posix_semaphore;
pub mod post_mortem;
pub mod ring;
pub mod robust;
pub mod seat;
pub mod semaphore;
pub mod side;
pub mod sigbus;
pub mod slots;
pub mod tally;
pub mod unsynchronized;
pub mod waiting;
