//! Memory-mapped file: two processes map one file, and what one writes the other sees, with no system call
//! in between. The file keeps what nobody has read yet, also when both are gone.
//!
//! ```text
//!   producer                        demo.map                        consumer
//!   +---------+   mmap(MAP_SHARED)  +--------+--------------+       +---------+
//!   | Writer  |-------------------->| header | ring of bytes|<------| Reader  |
//!   +---------+  record, then tail  +--------+--------------+  head +---------+
//! ```
//!
//! | file | idea |
//! |---|---|
//! | [`positions`] | two counters say what is written and what is read; who finds nothing sleeps |
//! | [`ring`], [`writer`], [`reader`] | records of any length in a ring of bytes, written and read in place |
//! | [`header`], [`map`] | the file: made whole, checked when it is opened, watched for being cut |
//! | [`site`] | which file, and that it has one producer and one consumer |
//! | [`producer`], [`consumer`] | an end of the ring: coming, looking who is there, leaving |
//! | [`futex`] | sleeping until a word in shared memory changes |
//! | [`waiting`] | looking for a while before that |
//! | [`sigbus`] | a file that becomes shorter than its mapping |
//! | [`durability`] | what a power cut leaves: msync |
//! | [`cost`] | page faults and resident memory |
//! | [`private`] | the classic mistake: MAP_PRIVATE |
//! | [`inspect`] | how full a ring is, for who takes no part in it |

#![deny(unsafe_code)]

pub mod consumer;
pub mod cost;
pub mod durability;
pub mod futex;
pub mod header;
pub mod inspect;
pub mod map;
pub mod positions;
pub mod private;
pub mod producer;
pub mod reader;
pub mod ring;
pub mod sigbus;
pub mod site;
pub mod waiting;
pub mod writer;

pub use consumer::Consumer;
pub use cost::Cost;
pub use durability::Durability;
pub use producer::Producer;
pub use site::Site;
