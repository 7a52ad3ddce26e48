//! The six pairs: what each is, the scene that is played with it, and how a file is sent through it.

/// Which side of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends.
    Producer,
    /// Receives.
    Consumer,
}

impl Role {
    /// `"producer"` or `"consumer"`.
    pub fn name(self) -> &'static str {
        match self {
            Role::Producer => "producer",
            Role::Consumer => "consumer",
        }
    }
}

/// One step of a scene.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// A side starts, with these arguments.
    Start(Role, &'static [&'static str]),
    /// What was started last prints this, or ends.
    Until(&'static str),
    /// What was started last ends.
    End,
}

/// A pair of binaries.
#[derive(Debug)]
pub struct Pair {
    /// As in the binaries' names.
    pub method: &'static str,
    /// What it is, in one line.
    pub what: &'static str,
    /// What to look at while it is played.
    pub look: &'static str,
    /// What is played.
    pub scene: &'static [Step],
    /// The largest payload of an item when a file is sent: `--size`.
    pub size: &'static str,
}

impl Pair {
    /// The name of one side's binary.
    pub fn binary(&self, role: Role) -> String {
        format!("{}-{}", self.method, role.name())
    }
}

/// In the order of the study notes.
pub const NAMES: [&str; 6] = ["pipe", "mq", "shm", "mmap", "socket", "rpc"];

/// The pairs of these names, all for none.
pub fn named(names: &[String]) -> Vec<&'static Pair> {
    PAIRS.iter().filter(|p| names.is_empty() || names.iter().any(|n| n == p.method)).collect()
}

use Role::{Consumer, Producer};
use Step::{End, Start, Until};

const PAIRS: [Pair; 6] = [
    Pair {
        method: "pipe",
        what: "Pipe: a stream of bytes in the kernel; one process writes, another reads",
        look: "The consumer is first and waits for somebody to open the other end. What is written is read \
               a moment later, in order, and the end of the stream ends the consumer.",
        scene: &[
            Start(Consumer, &[]),
            Until("waiting"),
            Start(Producer, &["--count", "5", "--interval", "150ms"]),
        ],
        size: "64KiB",
    },
    Pair {
        method: "mq",
        what: "Message queue: the kernel keeps whole messages until somebody takes them",
        look: "The producer is first and does not wait for anybody, until its queue of three is full: \
               \"blocked: queue full 3/3\". Each message that is taken makes room for one.",
        scene: &[
            Start(Producer, &["--count", "6", "--interval", "150ms", "--capacity", "3"]),
            Until("blocked"),
            Start(Consumer, &["--delay", "150ms"]),
        ],
        size: "8160",
    },
    Pair {
        method: "shm",
        what: "Shared memory: a bounded buffer that both processes have in their address space",
        look: "Two slots, and a consumer that takes its time: the buffer is full, and the semaphore holds \
               the producer back until a slot is free.",
        scene: &[
            Start(Consumer, &["--delay", "300ms"]),
            Until("waiting"),
            Start(Producer, &["--count", "5", "--interval", "0", "--slots", "2"]),
        ],
        size: "64KiB",
    },
    Pair {
        method: "mmap",
        what: "Memory-mapped file: shared memory with a name on the disk, which stays",
        look: "The producer has ended before the consumer begins: the two never meet, and the items are in \
               the file all the same.",
        scene: &[
            Start(Producer, &["--count", "5", "--interval", "150ms"]),
            End,
            Start(Consumer, &["--delay", "150ms"]),
        ],
        size: "1MiB",
    },
    Pair {
        method: "socket",
        what: "Socket: a pipe that also crosses the network; one listener, many connections",
        look: "Two producers wait for one consumer, which then serves both at once: \"from\" tells them \
               apart, and each has its own #0. It ends when the last of them has said goodbye.",
        scene: &[
            Start(Producer, &["--count", "5", "--interval", "150ms"]),
            Until("waiting"),
            Start(Producer, &["--count", "3", "--interval", "150ms"]),
            Until("waiting"),
            Start(Consumer, &[]),
        ],
        size: "64KiB",
    },
    Pair {
        method: "rpc",
        what: "Remote procedure call: the producer calls a function, and the consumer runs it",
        look: "An item is the argument of put(item), and \"sent\" means that its answer has come back. \
               Another client calls sum(1, 2, 3) meanwhile, which runs in the consumer's process.",
        scene: &[
            Start(Consumer, &[]),
            Until("waiting"),
            Start(Producer, &["--count", "6", "--interval", "150ms"]),
            Until("sent #0"),
            Start(Producer, &["--call", "sum", "1", "2", "3"]),
        ],
        size: "64KiB",
    },
];
