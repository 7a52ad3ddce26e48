//! What every pair of this workspace needs and a copier would delete: arguments, items, waiting, reports.
//!
//! Nothing in here crosses the border between two processes: that is the mechanisms' affair, and they never
//! name this crate. The one exception is [`place`], which can be copied along with them.

#![deny(unsafe_code)]

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
