//! Every decoder of this workspace, given bytes that no honest process would send.
//!
//! | target | what decodes | the bytes are |
//! |---|---|---|
//! | [`item`] | the item | an item |
//! | [`pipe`] | the pipe's frame reader, and the one for torn frames | all that was written to a pipe |
//! | [`socket`] | frames, packets, HELLO, goodbye, in a real server; datagrams | all that a client sent |
//! | [`rpc_request`] | the server stub: requests, arguments, what was run before | requests |
//! | [`rpc_reply`] | the client stub: replies, results, a server's HELLO | all that a server sent |
//! | [`mq`] | structs, the registry, cards, receipts | one of them |
//! | [`shm`] | an object's header, and what all four mechanisms read from it | a script for two ends and a scribbler |
//! | [`mmap`] | a file's header, positions and records | likewise |
//!
//! Each is a function that returns, or panics because something was decoded that should not be. "It does not crash"
//! would be little to ask. So each says a second time, in the plainest way, what `docs/wire-format.md` says of such
//! bytes, and compares: what was accepted, what it was taken for, which kind of error the rest is. What was
//! accepted is encoded again, to the same bytes. No call takes more memory than the bytes that came allow
//! ([`memory`]), and none goes round for ever.
//!
//! ```text
//! crates/fuzz/src/pipe.rs                    the function, and its seeds: what the real encoders make
//! crates/fuzz/fuzz/fuzz_targets/pipe.rs      libFuzzer calls it with what it has invented
//! crates/fuzz/fuzz/corpus/pipe/              the seeds, and what libFuzzer found to be new
//! crates/fuzz/regressions/pipe/              what once went wrong
//!
//! make fuzz                                  ten minutes for each target; TARGET=pipe, TIME=60
//! cargo test -p fuzz                         all files of both folders, once, with nothing but stable Rust
//! cargo run -p fuzz --example write-seeds    makes the seeds anew, after a change of the format
//! ```
//!
//! A panic in `make fuzz` leaves behind what a killed process leaves; `make clean-ipc` removes it.

#![deny(unsafe_code)]

pub mod item;
pub mod memory;
pub mod mmap;
pub mod mq;
pub mod pipe;
pub mod rpc_reply;
pub mod rpc_request;
pub mod script;
pub mod shm;
pub mod socket;
mod wire;

/// One decoder, or several that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its file in `fuzz_targets`, and of its corpus.
    pub name: &'static str,
    /// Decodes; panics if it was decoded wrongly.
    pub run: fn(&[u8]),
    /// Inputs to begin with, by names that say what they are.
    pub seeds: fn() -> Vec<Seed>,
}

/// An input to begin with.
pub type Seed = (&'static str, Vec<u8>);

/// All of them.
pub const TARGETS: [Target; 8] = [
    Target { name: "item", run: item::run, seeds: item::seeds },
    Target { name: "pipe", run: pipe::run, seeds: pipe::seeds },
    Target { name: "socket", run: socket::run, seeds: socket::seeds },
    Target { name: "rpc_request", run: rpc_request::run, seeds: rpc_request::seeds },
    Target { name: "rpc_reply", run: rpc_reply::run, seeds: rpc_reply::seeds },
    Target { name: "mq", run: mq::run, seeds: mq::seeds },
    Target { name: "shm", run: shm::run, seeds: shm::seeds },
    Target { name: "mmap", run: mmap::run, seeds: mmap::seeds },
];

/// No input is longer: all of it fits into a pipe, and a decoder that is wrong is wrong with few bytes.
pub const LONGEST: usize = 4096;

/// A name that no other process, and no other thread of this one, has at the same time.
fn unique_name() -> String {
    let thread = format!("{:?}", std::thread::current().id());
    let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
    format!("fuzz-{}-{thread}", std::process::id())
}
