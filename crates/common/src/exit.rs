//! How a process ends: one rule from errors to exit status, for all twelve binaries.

use std::fmt;
use std::io::{self, ErrorKind};

use nix::sys::signal::Signal;

/// Ended because a signal asked for it.
#[derive(Clone, Copy, Debug)]
pub struct Stopped(pub Signal);

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ended by {}", self.0)
    }
}

impl std::error::Error for Stopped {}

/// An end with a status that no [`io::Error`] stands for, such as the other process's.
#[derive(Clone, Debug)]
pub struct Exit {
    /// The exit status.
    pub status: u8,
    /// The reason, to be printed.
    pub message: String,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Exit {}

/// The other side was lost, or did not come in time.
pub const LOST: u8 = 3;
/// Bad data: lost, duplicated, reordered, corrupted or cut items, a foreign or damaged object.
pub const BAD_DATA: u8 = 4;

/// The exit status that an error stands for.
pub fn status(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(Stopped(signal)) = cause.downcast_ref() {
            return 128 + *signal as u8;
        }
        if let Some(exit) = cause.downcast_ref::<Exit>() {
            return exit.status;
        }
        if let Some(e) = cause.downcast_ref::<io::Error>() {
            return match e.kind() {
                ErrorKind::InvalidInput => 2,
                ErrorKind::BrokenPipe
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::NotConnected
                | ErrorKind::TimedOut => LOST,
                ErrorKind::InvalidData | ErrorKind::UnexpectedEof => BAD_DATA,
                _ => 1,
            };
        }
    }
    1
}

/// The one that wins of two: a signal's, then 4, then 3, then 1.
pub fn worse(a: u8, b: u8) -> u8 {
    // 2 (wrong usage) is found before anything else can be.
    let rank = |status: u8| match status {
        129.. => 5,
        BAD_DATA => 4,
        LOST => 3,
        0 => 0,
        _ => 1,
    };
    if rank(b) > rank(a) { b } else { a }
}
