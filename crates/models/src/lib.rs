//! Every memory ordering of the two rings, checked by loom.
//!
//! A ring that loses an item once in a billion, on another processor, passes every test. So here its two sides
//! run in *all* the ways in which two threads can take turns, and each load may return any store that the
//! language's memory model allows it to see ([loom](https://docs.rs/loom)). What must hold in each of them:
//!
//! - The items arrive, whole and in order, over the point where the counters wrap.
//! - No byte of an item is written while the other side may read it: that would be a data race.
//! - Nobody sleeps for ever: not on a full ring, not on an empty one, not through the goodbye.
//!
//! | ring | the very lines of | stand-ins for |
//! |---|---|---|
//! | shared memory | `side.rs`, `ring.rs`; of `object.rs` the goodbye | the mapping, who is there, the kernel's futex |
//! | mapped file | `positions.rs`, `writer.rs`, `reader.rs`, `ring.rs`, `durability.rs`; of `consumer.rs` the end | the mapping, who is there, the kernel's futex |
//!
//! `build.rs` takes them from the demos, which know nothing of it, and lists their orderings. Then each of these
//! is weakened to Relaxed, each fence taken out, and a model must fail: a data race, a lost item, both sides
//! asleep. A new ordering fails the test until somebody has said what breaks without it.
//!
//! ```text
//! cargo test -p models -- --nocapture         prints what loom finds without each
//! LOOM_MAX_PREEMPTIONS=4 cargo test -p models     looks further, and takes minutes
//! ```
//!
//! # What it does not show
//! - A run has at most three preemptions (a thread stopped where it could have gone on), and two or three items.
//!   Waiting is none.
//! - Loom lets two SeqCst fences order all that is before the one and behind the other, which is more than the
//!   language promises. So there are models in which nobody sleeps: no sleeper's fence can stand in for an
//!   Acquire or a Release there.
//! - Loom does not know that nothing comes between the two halves of a swap, and reports runs that cannot be
//!   (tokio-rs/loom#254). The rings do with loads and stores, but for the consumer's answer to the goodbye. It
//!   takes a SeqCst load or store, of which they have none, for an Acquire or a Release.
//! - A load never returns a store that comes later in the run, which the language allows for Relaxed ones.
//! - The futex is a lock and a queue here, as in the kernel, and a wait ends early by one signal, not more. Both
//!   sides live to their end: who is killed where is for the demos' own tests.

#![forbid(unsafe_code)]

#[cfg(test)]
mod futex;
#[cfg(test)]
mod mmap;
#[cfg(test)]
mod shm;
#[cfg(test)]
mod waiting;
#[cfg(test)]
mod weak;
