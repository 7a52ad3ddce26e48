//! Remote procedure call: the function lives in another process, and calling it here runs it there.
//!
//! ```text
//!  client process                                     server process
//!
//!  caller:  let n = client.sum(&[1, 2, 3])?;          impl Service { fn sum(…) -> … { here it runs } }
//!              │                        ▲                          │                  ▲
//!  client stub │ marshal      unmarshal │             server stub  ▼ marshal          │ unmarshal,
//!  client.rs   ▼                        │             server.rs    │                  │ dispatch
//!              REQUEST id 7, procedure 2, 1 2 3 ──────────────────────────────────────┘
//!                                       └── REPLY id 7, pid 4712, ok, 6 ◄─────────────┘
//! ```
//!
//! Over a Unix socket this is a *local* procedure call (LPC), over TCP a remote one (RPC): the stubs are the
//! same. Framing, meeting and serving many connections are `socket-demo`'s, upon which this is a layer.
//!
//! Read in this order: [`service`] (what both sides agree upon), [`marshal`] (values as bytes), [`client`],
//! [`server`].
//!
//! See also: A. D. Birrell, B. J. Nelson, *Implementing Remote Procedure Calls* (1984); RFC 5531 (ONC RPC).

#![forbid(unsafe_code)]

pub mod call;
pub mod client;
pub mod marshal;
pub mod server;
pub mod service;

/// What this pair's HELLO says: that calls are to follow.
pub const PROTOCOL: [u8; 4] = *b"call";
/// The version of service and messages.
pub const VERSION: u32 = 1;
/// Where the server listens for TCP when it is not told otherwise.
pub const TCP_ADDRESS: &str = "127.0.0.1:7412";
/// Bytes of a request before its arguments: call id and procedure.
pub const REQUEST_HEADER: usize = 12;
/// Bytes of a reply before its result: call id, pid and status.
pub const REPLY_HEADER: usize = 16;
/// The longest reply body that a client takes, in bytes. All results are short.
pub const MAX_REPLY: usize = 1024;
