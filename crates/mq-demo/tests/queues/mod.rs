//! What the tests of both files share: the pairs, and a sandbox that also finds queues that are left.

#![allow(dead_code, reason = "each file uses a part of it")]

use std::io::PipeWriter;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::testkit::{Outcome, Pair, Process, SOON, Sandbox};
use mq_demo::posix::PosixQueue;
use mq_demo::sysv::SysvQueue;
use nix::unistd::geteuid;

/// The pair over System V queues.
pub const SYSV: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_mq-producer"),
    consumer: env!("CARGO_BIN_EXE_mq-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};
/// The pair over POSIX queues.
pub const POSIX: Pair = Pair { both: &["--api", "posix"], ..SYSV };
/// Both.
pub const BOTH: [Pair; 2] = [SYSV, POSIX];

/// A sandbox that also finds the queues which are left behind.
pub struct Queues(pub Sandbox);

impl Queues {
    pub fn new() -> Queues {
        Queues(Sandbox::new())
    }

    pub fn producer(&self, pair: &Pair, args: &[&str]) -> Process {
        self.0.producer(pair, args)
    }

    pub fn consumer(&self, pair: &Pair, args: &[&str]) -> Process {
        self.0.consumer(pair, args)
    }

    pub fn registry(&self) -> std::path::PathBuf {
        self.0.dir().join(format!("{}.mq", self.0.name()))
    }

    /// The System V queue's key, as the registry has it.
    pub fn key(&self) -> i32 {
        let text = std::fs::read_to_string(self.registry()).expect("read the registry");
        let key = text.lines().find_map(|l| l.strip_prefix("key ")).expect("a line with the key");
        key.parse().expect("a number")
    }

    /// A producer that is attached, and has nothing to send until it is dropped: so that the stream does not end
    /// when the first of several producers has sent all before the next has come.
    pub fn host(&self, pair: &Pair, args: &[&str]) -> Host {
        let mut command = self.0.command(pair.producer);
        command.args(pair.both).args(["--name", self.0.name(), "--input", "-"]).args(args);
        let (stdin, ours) = std::io::pipe().expect("pipe");
        command.stdin(stdin).stdout(Stdio::null()).stderr(Stdio::piped());
        let process = Process::follow(command);
        let deadline = Instant::now() + SOON;
        let attached = || std::fs::read_to_string(self.registry()).is_ok_and(|r| r.contains("producers 1\n"));
        while !attached() {
            assert!(Instant::now() < deadline, "the host does not come: {}", process.stderr());
            std::thread::sleep(Duration::from_millis(5));
        }
        Host { process, stdin: ours }
    }

    /// The queue of a rendezvous producer's own, by the key on its card.
    pub fn own_queue(&self, producer: u32) -> OwnQueue {
        let card = self.0.dir().join(format!("{}.mq.producer.{producer}", self.0.name()));
        let card = std::fs::read_to_string(card).expect("read the card");
        let key = card.trim_end().strip_prefix("receipts ").expect("a key").parse().expect("a number");
        let own = OwnQueue { key, name: format!("{}.{producer}", self.posix_name()) };
        assert!(own.is_there(), "the card leads to a queue");
        own
    }

    pub fn posix_name(&self) -> String {
        format!("/ipc-lab-{}-{}", geteuid(), self.0.name())
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        let left = PosixQueue::open(&self.posix_name());
        if let Ok(queue) = &left {
            let _ = queue.remove();
        }
        if !std::thread::panicking() {
            assert!(left.is_err(), "{} is left", self.posix_name());
        }
    }
}

/// See [`Queues::host`].
pub struct Host {
    process: Process,
    stdin: PipeWriter,
}

impl Host {
    pub fn end(self) {
        drop(self.stdin);
        self.process.end().expect(0);
    }
}

/// A queue that must not outlive its owner.
pub struct OwnQueue {
    key: i32,
    name: String,
}

impl OwnQueue {
    pub fn is_there(&self) -> bool {
        SysvQueue::open(self.key, 16).is_ok() || PosixQueue::open(&self.name).is_ok()
    }
}

/// The items that a consumer has printed, in its order: (producer's pid, number).
pub fn received(outcome: &Outcome) -> Vec<(u32, u64)> {
    let item = |line: &str| {
        let mut words = line.strip_prefix("received #")?.split_whitespace();
        let seq = words.next()?.parse().ok()?;
        Some((words.nth(3)?.parse().ok()?, seq))
    };
    outcome.stdout.lines().filter_map(item).collect()
}

/// The same without the pids.
pub fn numbers(outcome: &Outcome) -> Vec<u64> {
    received(outcome).into_iter().map(|(_, seq)| seq).collect()
}
