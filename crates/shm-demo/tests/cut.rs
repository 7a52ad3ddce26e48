//! An object that another process makes shorter while a pair uses it.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use common::testkit::{Pair, Sandbox};
use nix::sys::signal::Signal::{SIGCONT, SIGSTOP, SIGTERM};

const fn pair(both: &'static [&'static str]) -> Pair {
    Pair {
        producer: env!("CARGO_BIN_EXE_shm-producer"),
        consumer: env!("CARGO_BIN_EXE_shm-consumer"),
        both,
        // 64 slots on 68 KiB: a control page and 16 others.
        only_producer: &["--slots", "64", "--slot-size", "1000"],
        only_consumer: &[],
    }
}

const SEMAPHORE: Pair = pair(&["--sync", "semaphore"]);
const MUTEX: Pair = pair(&["--sync", "mutex"]);
const RING: Pair = pair(&["--sync", "ring"]);
const NONE: Pair = pair(&["--sync", "none"]);
const ALL: [Pair; 4] = [SEMAPHORE, MUTEX, RING, NONE];
const DUPLEX: Pair = pair(&["--sync", "ring", "--duplex"]);

fn object(sandbox: &Sandbox) -> String {
    format!("/dev/shm/ipc-lab-{}-{}", nix::unistd::geteuid(), sandbox.name())
}

/// Cuts the object to `len` bytes.
fn cut(sandbox: &Sandbox, len: u64) {
    let object = object(sandbox);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !PathBuf::from(&object).exists() {
        assert!(Instant::now() < deadline, "there is no {object}");
    }
    let object = OpenOptions::new().write(true).open(object).expect("open the object");
    object.set_len(len).expect("cut it");
}

/// Both sides start again at once.
fn next_pair(sandbox: &Sandbox, pair: &Pair) {
    let consumer = sandbox.consumer(pair, &["--json"]);
    sandbox.producer(pair, &["--count", "5", "--interval", "0"]).end().expect(0);
    consumer.end().expect(0).all_well(5);
}

/// To nothing, inside of the control words, after them, among the slots.
const LENGTHS: [u64; 4] = [0, 100, 4096, 40_000];
/// Among the counters of the second ring, behind 64 slots.
const SECOND_RING: u64 = 256 + 64 * 1088 + 130;

fn pairs_and_lengths() -> impl Iterator<Item = (Pair, u64)> {
    let all = ALL.into_iter().chain([DUPLEX]).flat_map(|pair| LENGTHS.map(|len| (pair, len)));
    all.chain([(DUPLEX, SECOND_RING)])
}

#[test]
fn at_full_speed_it_is_an_error_and_no_sigbus() {
    for (pair, len) in pairs_and_lengths() {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &[]);
        let producer = sandbox.producer(&pair, &["--count", "0", "--interval", "0", "--size", "900"]);
        consumer.wait_for_stdout("received #1000");
        cut(&sandbox, len);
        for process in [producer, consumer] {
            let ended = process.end_within(Duration::from_secs(20)).expect(4);
            assert!(ended.stderr.contains(&format!("file shrank to {len} bytes")), "{ended:?}");
        }
        next_pair(&sandbox, &pair);
    }
}

#[test]
fn a_waiting_pair_notices_it_with_the_next_item() {
    for (pair, len) in pairs_and_lengths() {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &[]);
        let producer = sandbox.producer(&pair, &["--count", "0", "--interval", "500ms"]);
        consumer.wait_for_stdout("received #0").wait_for_stderr("blocked");
        cut(&sandbox, len);
        // Whatever it finds: nobody crashes, and nobody waits for ever.
        for process in [producer, consumer] {
            let ended = process.end_within(Duration::from_secs(20)).expect(4);
            assert!(ended.stderr.contains(&format!("file shrank to {len} bytes")), "{ended:?}");
        }
        next_pair(&sandbox, &pair);
    }
}

#[test]
fn a_full_buffer_is_cut_under_a_stopped_consumer() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--delay", "300ms"]);
        let producer = sandbox.producer(&pair, &["--count", "0", "--interval", "0"]);
        consumer.wait_for_stdout("received #0");
        producer.wait_for_stderr("blocked: buffer full");
        consumer.signal(SIGSTOP);
        cut(&sandbox, 0);
        consumer.signal(SIGCONT);
        for process in [consumer, producer] {
            process.end_within(Duration::from_secs(20)).expect(4).says("file shrank to 0 bytes");
        }
        next_pair(&sandbox, &pair);
    }
}

#[test]
fn who_does_not_block_notices_it_too() {
    for pair in ALL.into_iter().chain([DUPLEX]) {
        // On one page, of which nothing goes but what is in it.
        let small = Pair { only_producer: &[], ..pair };
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&small, &["--nonblocking"]);
        let producer = sandbox.producer(&small, &["--count", "2", "--interval", "1h"]);
        consumer.wait_for_stdout("received #0").wait_for_stderr("null message");
        cut(&sandbox, 100);
        consumer.end_within(Duration::from_secs(20)).expect(4).says("file shrank to 100 bytes");
        producer.signal(SIGTERM);
        producer.end_within(Duration::from_secs(20));
        next_pair(&sandbox, &small);
    }
}

/// A program that runs what follows it, and takes its time at some of its system calls.
fn slow(options: &[&str]) -> Option<Vec<String>> {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: strace is not installed");
        return None;
    }
    Some(
        [&["strace", "-f", "-qq", "-o", "/dev/null"], options]
            .concat()
            .iter()
            .map(ToString::to_string)
            .collect(),
    )
}

#[test]
fn between_the_mapping_and_the_first_touch() {
    for pair in ALL {
        for len in LENGTHS {
            for role in ["producer", "consumer"] {
                let sandbox = Sandbox::new();
                let object = object(&sandbox);
                let options = ["-P", &object, "-e", "trace=mmap", "-e", "inject=mmap:delay_exit=500000"];
                let Some(slow) = slow(&options) else { return };
                let few = ["--count", "0", "--interval", "1ms"];
                let first = (role == "consumer").then(|| sandbox.producer(&pair, &few));
                if let Some(producer) = &first {
                    producer.wait_for_stdout("sent #0");
                }
                let process = match role {
                    "consumer" => sandbox.consumer_under(&slow, &pair, &[]),
                    _ => sandbox.producer_under(&slow, &pair, &few),
                };
                let deadline = Instant::now() + Duration::from_secs(20);
                while !maps_of_child(process.pid()).contains(&object) {
                    assert!(Instant::now() < deadline, "it maps nothing: {}", process.stderr());
                }
                cut(&sandbox, len);
                for process in [Some(process), first].into_iter().flatten() {
                    let ended = process.end_within(Duration::from_secs(20)).expect(4);
                    assert!(ended.stderr.contains(&format!("file shrank to {len} bytes")), "{ended:?}");
                }
                next_pair(&sandbox, &pair);
            }
        }
    }
}

/// What the only child of a process has mapped.
fn maps_of_child(pid: u32) -> String {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let child = children.split_whitespace().next().unwrap_or("none");
    fs::read_to_string(format!("/proc/{child}/maps")).unwrap_or_default()
}

/// The touch before the sleep has succeeded, and the kernel finds no page to sleep at (`EFAULT`). Our own futex call
/// says so; the one inside of glibc's `sem_wait` takes it for a broken program, and aborts.
#[test]
fn between_the_look_and_the_sleep() {
    for pair in [SEMAPHORE, MUTEX, RING] {
        let sandbox = Sandbox::new();
        let options = ["-e", "trace=futex", "-e", "inject=futex:delay_enter=400000"];
        let Some(slow) = slow(&options) else { return };
        let producer = sandbox.producer(&pair, &["--count", "0", "--interval", "1h"]);
        producer.wait_for_stdout("sent #0");
        let consumer = sandbox.consumer_under(&slow, &pair, &[]);
        consumer.wait_for_stdout("received #0");
        // Time is the subject: it has looked, and is about to sleep.
        std::thread::sleep(Duration::from_millis(100));
        cut(&sandbox, 0);
        let ended = consumer.end_within(Duration::from_secs(20));
        println!("{:?}: {} {}", pair.both, ended.code, ended.stderr);
        if pair.both == SEMAPHORE.both {
            assert!([4, 134].contains(&ended.code), "{ended:?}");
        } else {
            ended.expect(4).says("file shrank to 0 bytes");
        }
        producer.signal(SIGTERM);
        let ended = producer.end_within(Duration::from_secs(20));
        assert!([4, 143].contains(&ended.code), "{ended:?}");
        next_pair(&sandbox, &pair);
    }
}
