//! What every pair of this workspace needs and a copier would delete: arguments, items, waiting, reports.
//!
//! Nothing in here crosses the border between two processes: that is the mechanisms' affair, and they never
//! name this crate. The one exception is [`place`], which can be copied along with them.

#![deny(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "these programs use Linux's IPC (futex, inotify, System V queues): see README.md for running them in WSL 2, a virtual machine or a container"
);

pub mod args;
pub mod audit;
pub mod exit;
pub mod item;
pub mod place;
pub mod report;
pub mod session;
mod sink;
pub mod source;
pub mod testkit;
mod watcher;
