//! An object that another process makes shorter while a pair uses it.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::testkit::{Pair, Sandbox};
use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};

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

/// Cuts the object to `len` bytes.
fn cut(sandbox: &Sandbox, len: u64) {
    let object = format!("/dev/shm/ipc-lab-{}-{}", nix::unistd::geteuid(), sandbox.name());
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

#[test]
fn at_full_speed_it_is_an_error_and_no_sigbus() {
    for pair in ALL {
        for len in LENGTHS {
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
}

#[test]
fn a_waiting_pair_notices_it_with_the_next_item() {
    for pair in ALL {
        for len in LENGTHS {
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
