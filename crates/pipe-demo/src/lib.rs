//! Pipe: a byte stream in the kernel. One process writes, another reads, and a full or empty pipe makes them
//! wait for each other.
//!
//! | file | idea |
//! |---|---|
//! | [`frame`], [`frame_reader`] | messages in a byte stream: where one ends and the next begins |
//! | [`batch`] | the same for one call instead of many: frames that nobody waits for travel together |
//! | [`zero_copy`] | the same without the copy into the pipe, for long messages |
//! | [`fifo`] | a pipe with a name, for processes that do not know each other |
//! | [`anonymous`] | a pipe without a name, between parent and child |
//! | [`duplex`] | two-way takes two pipes |
//! | [`independent`] | why any of this is needed: processes share no memory |
//! | [`leak`], [`torn`], [`reuse`] | what goes wrong: no end-of-file, frames mixed with others, pages given and not let alone |

#![deny(unsafe_code)]

pub mod anonymous;
pub mod batch;
pub mod duplex;
pub mod fifo;
pub mod frame;
pub mod frame_reader;
#[allow(unsafe_code)] // fork(2)
pub mod independent;
pub mod leak;
pub mod reuse;
pub mod torn;
pub mod zero_copy;
