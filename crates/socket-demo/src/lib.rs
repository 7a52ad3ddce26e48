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
//! meet), [`dial`] (how a client introduces itself), [`server`] (many connections in one thread), and then
//! what this pair makes of them: [`protocol`], [`producer`] and [`consumer`]. `rpc-demo` builds upon the first
//! five.

#![forbid(unsafe_code)]

pub mod consumer;
pub mod dial;
pub mod endpoint;
pub mod frame;
pub mod listener;
pub mod producer;
pub mod protocol;
pub mod server;
