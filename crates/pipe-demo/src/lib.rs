//! Pipe: a byte stream in the kernel. One process writes, another reads, and a full or empty pipe makes them
//! wait for each other.
//!
//! | file | idea |
//! |---|---|
//! | [`frame`] | messages in a byte stream: where one ends and the next begins |
//! | [`fifo`] | a pipe with a name, for processes that do not know each other |
//! | [`anonymous`] | a pipe without a name, between parent and child |

#![forbid(unsafe_code)]

pub mod anonymous;
pub mod fifo;
pub mod frame;
