//! Sockets: a pipe extended over the network, between processes that need not be related.
//!
//! A stream socket carries bytes, not messages: what one `write` sent may come in three reads, and three
//! writes in one. So each message travels in a frame that says its length.
//!
//! ```text
//!  producer                                   consumer
//!  dial::Dial  --- connect, HELLO ---------->  server::Server   (one thread, any number of connections)
//!              <-- HELLO --------------------
//!  producer::  --- DATA, DATA, DATA … ------>  consumer::Consumer
//!  Producer    --- GOODBYE (n sent) -------->
//!              <-- GOODBYE (n taken) --------
//! ```
//!
//! Read in this order: [`frame`] (where a message ends), [`endpoint`] and [`listener`] (how two processes
//! meet), [`dial`] (how a client introduces itself), [`server`] (many connections in one thread), and then the two sides of
//! this pair, [`producer`] and [`consumer`]. `rpc-demo` builds upon the first five.

#![forbid(unsafe_code)]

pub mod consumer;
pub mod dial;
pub mod endpoint;
pub mod frame;
pub mod listener;
pub mod producer;
pub mod server;

use frame::Rules;

/// What this pair's HELLO says: that items are to follow.
pub const PROTOCOL: [u8; 4] = *b"item";
/// The version of what follows it.
pub const VERSION: u32 = 1;
/// Where the consumer listens for TCP when it is not told otherwise.
pub const TCP_ADDRESS: &str = "127.0.0.1:7411";
/// The largest payload of a frame when nothing else is said: 16 MiB.
pub const MAX_FRAME: usize = 16 << 20;

/// The frames of this pair, after HELLO: items of 1 to `max_frame` bytes, and the goodbye.
pub fn rules(max_frame: usize) -> Rules {
    Rules::new([(frame::DATA, 1..=max_frame), (frame::GOODBYE, 8..=8)])
}
