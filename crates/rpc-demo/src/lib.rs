//! Remote procedure call: the function lives in another process, and calling it here runs it there.
//!
//! ```text
//!  client process                                     server process
//!
//!  caller:  let n = client.sum(&[1, 2, 3])?;          impl Service { fn sum(…) -> … { here it runs } }
//!              │                        ▲                          │                  ▲
//!  client stub │ marshal      unmarshal │             server stub  ▼ marshal          │ unmarshal,
//!  client.rs   ▼                        │             skeleton.rs    │                  │ dispatch
//!              REQUEST call 7, procedure 2, 1 2 3 ────────────────────────────────────┘
//!                                       └── REPLY call 7, pid 4712, ok, 6 ◄───────────┘
//! ```
//!
//! Over a Unix socket this is a *local* procedure call (LPC), over TCP a remote one (RPC): the stubs are the
//! same. Framing, meeting and serving many connections are `socket-demo`'s, upon which this is a layer.
//!
//! Read in this order: [`service`] (what both sides agree upon), [`marshal`] (values as bytes), [`message`] (what
//! stands before them), [`client`], [`skeleton`]. Then what a local call never needed: [`error`], [`retry`],
//! [`again`], [`once`]. And then what makes it fast: [`pipeline`], [`resend`], [`leave`].
//!
//! See also: A. D. Birrell, B. J. Nelson, *Implementing Remote Procedure Calls* (1984); RFC 5531 (ONC RPC).

#![forbid(unsafe_code)]

pub mod again;
pub mod call;
pub mod client;
pub mod drop_replies;
pub mod error;
pub mod exchange;
pub mod leave;
pub mod marshal;
pub mod message;
pub mod once;
pub mod pipeline;
pub mod resend;
pub mod retry;
pub mod service;
pub mod skeleton;
pub mod trace;
