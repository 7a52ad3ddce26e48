//! What docs/promises.md allows to be lost, or to come twice, counted in items of this soak.

use std::fs;

use common::item::HEADER;

use crate::bench::subject::Subject;
use crate::soak::record::RECORD;

/// The promise of one variant.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// What a producer may have had in hand that did not end well: an item, or each call that was under way.
    pub begun: u64,
    /// What goes with a killed consumer out of the middle of a stream: the item in hand.
    pub hand: u64,
    /// What may come again after a killed consumer: the item in hand.
    pub twice: u64,
    /// What the channel holds, which goes with its reader, or with the last process that was at it.
    pub held: u64,
    /// A killed process may take the lock along. Then everybody ends, and what the channel held is gone.
    pub lock: bool,
    /// What is in the channel is there for the next one, also when nobody is left.
    pub outlives: bool,
    /// A frame can be cut, which a consumer says by 4.
    pub cut: bool,
}

/// Nothing lost, nothing twice.
const NONE: Promise =
    Promise { begun: 1, hand: 0, twice: 0, held: 0, lock: false, outlives: false, cut: false };

/// What a reader may have read ahead of a stream.
const AHEAD: u64 = 64 << 10;
/// A pipe's default capacity.
const PIPE: u64 = 64 << 10;
/// What a Unix stream is told to hold, if the kernel allows it.
const ROOM: u64 = 1 << 20;
/// A frame's length and kind.
const FRAME: u64 = 8;

impl Promise {
    /// That of a variant whose buffer has so many slots.
    pub fn of(subject: &Subject, slots: usize) -> Promise {
        let stream = |bytes: u64| Promise {
            // The item in hand, too.
            held: (bytes + AHEAD) / (FRAME + HEADER as u64 + RECORD as u64) + 1,
            cut: true,
            ..NONE
        };
        let buffer = Promise { held: slots as u64, twice: 1, ..NONE };
        match (subject.method(), subject.variant()) {
            ("pipe", _) => stream(PIPE),
            ("mq", _) => Promise { hand: 1, outlives: true, ..NONE },
            ("shm", "semaphore") => Promise { hand: 1, twice: 0, lock: true, ..buffer },
            ("shm", _) => buffer,
            ("mmap", _) => Promise { twice: 1, outlives: true, ..NONE },
            // They grow at need, up to these.
            ("socket", "tcp") => stream(kernel("net/ipv4/tcp_wmem") + kernel("net/ipv4/tcp_rmem")),
            ("socket", "seqpacket") => stream(kernel("net/core/wmem_default")),
            // The kernel doubles what it is told, for what it has to note itself: socket(7).
            ("socket", _) => stream(2 * kernel("net/core/wmem_max").min(ROOM)),
            // The calls in flight, and an item that waits to be called with.
            _ => Promise { begun: in_flight(subject), cut: true, ..NONE },
        }
    }
}

/// How many calls of a client may be under way, and the one that is to follow.
fn in_flight(subject: &Subject) -> u64 {
    let at = subject.producer.iter().position(|arg| *arg == "--in-flight");
    at.and_then(|at| subject.producer.get(at + 1)?.parse::<u64>().ok()).map_or(1, |calls| calls + 1)
}

/// The last, which is the largest, number of a kernel's setting.
fn kernel(setting: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/sys/{setting}")).unwrap_or_default();
    // Larger than any default, where it is not to be seen.
    text.split_whitespace().last().and_then(|n| n.parse().ok()).unwrap_or(64 << 20)
}
