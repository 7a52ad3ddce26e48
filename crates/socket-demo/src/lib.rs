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
//! Read in this order: [`unframed`] (a stream has no messages), [`frame`] (where a message ends), [`packet`] and
//! [`framing`] (where the kernel knows it), [`endpoint`] and [`listener`] (how two processes meet), [`dial`] (how a
//! client introduces itself), [`server`] (many connections in one thread), and then what this pair makes of them:
//! [`protocol`], [`producer`] and [`consumer`], and [`batch`] (one call for many items); with [`window`] and
//! [`window_producer`] a producer knows on the way how far the consumer has come, and with [`duplex`] each item comes
//! back. `rpc-demo` builds upon the frames, the meeting and the server.
//!
//! Without connections: [`datagram`], [`udp_producer`] and [`udp_consumer`].

#![forbid(unsafe_code)]

pub mod batch;
pub mod consumer;
pub mod datagram;
pub mod dial;
pub mod drip;
pub mod duplex;
pub mod endpoint;
pub mod frame;
pub mod framing;
pub mod listener;
pub mod packet;
mod peer;
pub mod producer;
pub mod protocol;
mod round;
pub mod server;
pub mod udp_consumer;
pub mod udp_producer;
pub mod unframed;
pub mod window;
pub mod window_producer;
