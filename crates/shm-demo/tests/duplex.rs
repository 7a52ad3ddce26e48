//! `--duplex`: every item has a reply, through a second ring.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::testkit::{Outcome, Pair, Process, SOON, Sandbox};
use nix::sys::signal::Signal::{SIGCONT, SIGINT, SIGKILL, SIGSTOP};

const fn pair(both: &'static [&'static str]) -> Pair {
    Pair {
        producer: env!("CARGO_BIN_EXE_shm-producer"),
        consumer: env!("CARGO_BIN_EXE_shm-consumer"),
        both,
        only_producer: &[],
        only_consumer: &[],
    }
}

const RING: Pair = pair(&["--sync", "ring"]);
const DUPLEX: Pair = pair(&["--sync", "ring", "--duplex"]);

fn object(sandbox: &Sandbox) -> PathBuf {
    format!("/dev/shm/ipc-lab-{}-{}", nix::unistd::geteuid(), sandbox.name()).into()
}

/// Where the second ring begins: behind eight slots of 128 bytes, or one.
const BACK: u64 = 256 + 8 * 128;
const BACK_OF_ONE: u64 = 256 + 128;

fn word(sandbox: &Sandbox, at: u64) -> u64 {
    let mut bytes = [0; 8];
    File::open(object(sandbox)).expect("open it").read_exact_at(&mut bytes, at).expect("read it");
    u64::from_le_bytes(bytes)
}

fn overwrite(sandbox: &Sandbox, at: u64, word: u64) {
    let object = OpenOptions::new().write(true).open(object(sandbox)).expect("open it");
    object.write_all_at(&word.to_le_bytes(), at).expect("write into it");
}

fn replies_of(producer: &Outcome) -> usize {
    producer.stdout.lines().filter(|line| line.starts_with("reply: 96 B came  after ")).count()
}

fn sent(producer: &Outcome) -> usize {
    producer.stdout.lines().filter(|line| line.starts_with("sent #")).count()
}

#[test]
fn the_next_item_is_sent_when_the_reply_has_come() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&DUPLEX, &["--delay", "20ms", "--json"]);
    let producer = sandbox.producer(&DUPLEX, &["--count", "5", "--interval", "0", "--json"]);
    let producer = producer.end().expect(0);
    consumer.end().expect(0).all_well(5);
    let lines: Vec<_> = producer.stdout.lines().take(10).collect();
    for (n, two) in lines.chunks(2).enumerate() {
        assert_eq!(two[0], format!("sent #{n}  64 B"));
        assert!(two[1].starts_with("reply: 96 B came  after "), "{two:?}");
    }
    // Each was held until the consumer was done with the one before.
    assert!(producer.json()["elapsed_s"].as_f64().expect("a number") >= 0.08, "{}", producer.json());
    assert_eq!(producer.json()["variant"], "ring");
}

#[test]
fn both_must_say_so_and_only_a_ring_can() {
    let sandbox = Sandbox::new();
    for sync in ["semaphore", "mutex", "none"] {
        let args = ["--sync", sync, "--duplex"];
        for side in [sandbox.producer(&pair(&[]), &args), sandbox.consumer(&pair(&[]), &args)] {
            side.end().expect(2).says("--duplex: only with --sync ring");
        }
    }
    for (first, second, found, told) in
        [(DUPLEX, RING, "ring --duplex", "ring"), (RING, DUPLEX, "ring", "ring --duplex")]
    {
        let consumer = sandbox.consumer(&first, &["--json"]);
        consumer.wait_for_stderr("waiting for a producer");
        let refused = sandbox.producer(&second, &[]).end().expect(1);
        refused.says(&format!("is in use with --sync {found}, not --sync {told}\n"));
        sandbox.producer(&first, &["--count", "3", "--interval", "0"]).end().expect(0);
        consumer.end().expect(0).all_well(3);
    }
    // One of each, as a ring.
    let consumer = sandbox.consumer(&DUPLEX, &[]);
    consumer.wait_for_stderr("start one with: cargo run --bin shm-producer -- --name");
    consumer.wait_for_stderr("--sync ring --duplex");
    sandbox.consumer(&DUPLEX, &[]).end().expect(1).says("there is one consumer");
    consumer.signal(SIGINT);
    consumer.end_within(SOON).expect(130);
}

#[test]
fn a_reply_that_a_killed_consumer_owes_comes_from_the_next() {
    let sandbox = Sandbox::new();
    let producer = sandbox.producer(&DUPLEX, &["--count", "3", "--interval", "0"]);
    producer
        .wait_for_stderr("no reply yet; no consumer attached, start one with: cargo run --bin shm-consumer");
    for _ in 0..3 {
        let consumer = sandbox.consumer(&DUPLEX, &["--delay", "1h"]);
        consumer.wait_for_stdout("received #0");
        consumer.signal(SIGKILL);
        consumer.end().expect(137);
    }
    let consumer = sandbox.consumer(&DUPLEX, &["--json"]);
    let producer = producer.end().expect(0);
    consumer.end().expect(0).all_well(3);
    assert_eq!((sent(&producer), replies_of(&producer)), (3, 3));
}

#[test]
fn who_is_interrupted_with_an_item_in_hand_has_replied_to_it() {
    let sandbox = Sandbox::new();
    let producer = sandbox.producer(&DUPLEX, &["--count", "2", "--interval", "0"]);
    let consumer = sandbox.consumer(&DUPLEX, &["--delay", "1h", "--json"]);
    consumer.wait_for_stdout("received #0");
    consumer.signal(SIGINT);
    assert_eq!(consumer.end_within(SOON).expect(130).number("items"), 1);
    let consumer = sandbox.consumer(&DUPLEX, &["--json"]);
    let producer = producer.end().expect(0);
    assert_eq!((sent(&producer), replies_of(&producer)), (2, 2));
    // Not the one that the other has had.
    assert_eq!(consumer.end().expect(0).number("items"), 1);
}

#[test]
fn a_consumer_that_has_enough_has_replied_to_all_it_took() {
    let sandbox = Sandbox::new();
    let producer = sandbox.producer(&DUPLEX, &["--count", "4", "--interval", "0"]);
    for _ in 0..2 {
        let consumer = sandbox.consumer(&DUPLEX, &["--count", "2", "--json"]);
        assert_eq!(consumer.end().expect(0).number("items"), 2);
    }
    assert_eq!(replies_of(&producer.end().expect(0)), 4);
}

#[test]
fn a_producer_takes_no_reply_that_was_meant_for_another() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&DUPLEX, &["--forever", "--json"]);
    let producer = sandbox.producer(&DUPLEX, &["--interval", "1h", "--count", "2"]);
    producer.wait_for_stdout("reply: ");
    consumer.wait_for_stderr("blocked");
    consumer.signal(SIGSTOP);
    producer.signal(SIGINT);
    producer.end_within(SOON).expect(130);
    assert_eq!([BACK + 128, BACK + 192].map(|at| word(&sandbox, at)), [0, 1], "a reply is left there");
    let producer = sandbox.producer(&DUPLEX, &["--count", "3", "--interval", "0"]);
    producer.wait_for_stdout("sent #0").wait_for_stderr("blocked: no reply yet");
    consumer.signal(SIGCONT);
    let producer = producer.end().expect(0);
    assert_eq!((sent(&producer), replies_of(&producer)), (3, 3));
    consumer.wait_for_stdout("received #2");
    consumer.signal(SIGINT);
    consumer.end_within(SOON).expect(130).all_well(4);
}

/// With one slot a single reply that nobody has read leaves no room for another.
const ONE_SLOT: Pair = Pair { only_producer: &["--slots", "1"], ..DUPLEX };

/// A producer that waits for its first reply, and is stopped.
fn stopped_producer(sandbox: &Sandbox, pair: &Pair) -> Process {
    let producer = sandbox.producer(pair, &["--interval", "0", "--count", "2"]);
    producer.wait_for_stderr("no reply yet");
    producer.signal(SIGSTOP);
    let deadline = Instant::now() + SOON;
    while !producer.is_stopped() {
        assert!(Instant::now() < deadline, "it does not stop");
    }
    producer
}

#[test]
fn replies_that_nobody_reads_keep_nobody_waiting_who_is_alone() {
    let sandbox = Sandbox::new();
    let producer = stopped_producer(&sandbox, &ONE_SLOT);
    overwrite(&sandbox, BACK_OF_ONE + 192, 1);
    let consumer = sandbox.consumer(&ONE_SLOT, &["--json"]);
    consumer.wait_for_stdout("received #0").wait_for_stderr("blocked: nobody has read the replies");
    producer.signal(SIGKILL);
    producer.end().expect(137);
    assert_eq!(consumer.end_within(SOON).expect(3).number("items"), 1);

    // The same after a goodbye.
    let producer = stopped_producer(&sandbox, &ONE_SLOT);
    overwrite(&sandbox, BACK_OF_ONE + 192, 1);
    overwrite(&sandbox, 64, 1);
    assert_eq!(sandbox.consumer(&ONE_SLOT, &["--json"]).end_within(SOON).expect(0).number("items"), 1);
    producer.signal(SIGKILL);
    producer.end().expect(137);
    sandbox.consumer(&ONE_SLOT, &["--timeout", "100ms"]).end_within(SOON).expect(3);
}

#[test]
fn who_waits_for_a_slot_makes_room_for_the_reply_without_which_it_stays_taken() {
    for nonblocking in [&[][..], &["--nonblocking"]] {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&ONE_SLOT, &["--json"]);
        let (from, mut input) = std::io::pipe().expect("pipe");
        let mut command = sandbox.command(ONE_SLOT.producer);
        command.args(sandbox.args_of(ONE_SLOT.both, ONE_SLOT.only_producer)).args(["--name", sandbox.name()]);
        command.args(["--input", "-", "--lines", "--size", "64"]).args(nonblocking);
        command.stdin(from).stdout(Stdio::piped()).stderr(Stdio::piped());
        let producer = Process::follow(command);
        input.write_all(b"first\n").expect("write");
        consumer.wait_for_stdout("received #0").wait_for_stderr("blocked");
        consumer.signal(SIGKILL);
        consumer.end().expect(137);
        // As if it had been killed a moment before: it has replied, and the item is still in its hand.
        overwrite(&sandbox, 128, 0);
        input.write_all(b"second\nthird\n").expect("write");
        drop(input);
        producer.wait_for_stderr("buffer full 1/1; no consumer attached");
        let consumer = sandbox.consumer(&ONE_SLOT, &["--json"]);
        let producer = producer.end_within(SOON).expect(0);
        consumer.end_within(SOON).expect(0).all_well(3);
        assert_eq!(producer.stdout.matches("reply: ").count(), 3, "{producer:?}");
    }
}

#[test]
fn a_reply_that_is_none_is_bad_data() {
    let sandbox = Sandbox::new();
    let producer = stopped_producer(&sandbox, &DUPLEX);
    overwrite(&sandbox, BACK + 256, 40);
    overwrite(&sandbox, BACK + 192, 1);
    producer.signal(SIGCONT);
    // Nobody has woken it: it looks when somebody comes.
    let consumer = sandbox.consumer(&DUPLEX, &["--delay", "1h"]);
    producer.end_within(SOON).expect(4).says("a corrupted reply");
    consumer.signal(SIGINT);
    consumer.end_within(SOON).expect(130);
}

#[test]
fn a_round_trip_takes_two_wake_ups_where_nobody_looks() {
    let blocking = pair(&["--sync", "ring", "--duplex", "--wait", "block"]);
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&blocking, &["--quiet"]);
    let producer = sandbox.producer(&blocking, &["--count", "0", "--interval", "0", "--quiet"]);
    let both = [producer, consumer];
    let deadline = Instant::now() + SOON;
    while !object(&sandbox).exists() || word(&sandbox, 192) < 10_000 {
        assert!(Instant::now() < deadline, "they do not get on");
        std::thread::sleep(Duration::from_millis(5));
    }
    for process in &both {
        process.signal(SIGSTOP);
    }
    while !both.iter().all(Process::is_stopped) {
        assert!(Instant::now() < deadline, "they do not stop");
    }
    let (items, sleeps) =
        (word(&sandbox, 192), both.iter().map(|process| process.usage().sleeps).sum::<u64>());
    // Each side sleeps once, or finds what it waits for; and now and then there is other news.
    assert!(sleeps <= items * 21 / 10 + 200, "{sleeps} sleeps for {items} round trips");
    for process in both {
        process.signal(SIGCONT).signal(SIGINT);
        process.end_within(SOON);
    }
}
