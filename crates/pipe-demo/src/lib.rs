//! Pipe: a byte stream in the kernel. One process writes, another reads, and a full or empty pipe makes them
//! wait for each other.
//!
//! | file | idea |
//! |---|---|
//! | [`frame`] | messages in a byte stream: where one ends and the next begins |
//! | [`batch`] | the same for one call instead of many: frames that nobody waits for travel together |
//! | [`fifo`] | a pipe with a name, for processes that do not know each other |
//! | [`anonymous`] | a pipe without a name, between parent and child |
//! | [`duplex`] | two-way takes two pipes |
//! | [`independent`] | why any of this is needed: processes share no memory |
//! | [`leak`], [`torn`] | what goes wrong: no end-of-file, and frames mixed with others |

#![deny(unsafe_code)]

pub mod anonymous;
pub mod batch;
pub mod duplex;
pub mod fifo;
pub mod frame;
#[allow(unsafe_code)] // fork(2)
pub mod independent;
pub mod leak;
pub mod torn;
