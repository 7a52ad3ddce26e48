//! What is special about a buffer in shared memory: several of each side, who is refused, and what killed
//! processes leave behind.

use std::fs::{OpenOptions, TryLockError};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::testkit::{Outcome, Pair, Process, Sandbox};
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

const SEMAPHORE: Pair = pair(&["--sync", "semaphore"]);
const MUTEX: Pair = pair(&["--sync", "mutex"]);
const RING: Pair = pair(&["--sync", "ring"]);
const NONE: Pair = pair(&["--sync", "none"]);
const ALL: [Pair; 4] = [SEMAPHORE, MUTEX, RING, NONE];

const QUIET: [&str; 2] = ["--quiet", "--json"];
const MANY: [&str; 6] = ["--count", "100000", "--interval", "0", "--quiet", "--json"];
const ENDLESS: [&str; 6] = ["--count", "0", "--interval", "0", "--quiet", "--json"];

/// Where the kernel shows the object.
fn object(sandbox: &Sandbox) -> PathBuf {
    let uid = nix::unistd::geteuid();
    format!("/dev/shm/ipc-lab-{uid}-{}", sandbox.name()).into()
}

fn overwrite(sandbox: &Sandbox, at: u64, bytes: &[u8]) {
    let object = OpenOptions::new().write(true).open(object(sandbox)).expect("open the object");
    object.write_all_at(bytes, at).expect("write into the object");
}

#[test]
fn without_synchronisation_it_ends_all_the_same() {
    for consumer_first in [true, false] {
        let sandbox = Sandbox::new();
        let start_consumer = || sandbox.consumer(&NONE, &QUIET);
        let start_producer = || sandbox.producer(&NONE, &MANY);
        let (consumer, producer) = if consumer_first {
            let consumer = start_consumer();
            consumer.wait_for_stderr("waiting for a producer");
            (consumer, start_producer())
        } else {
            let producer = start_producer();
            producer.wait_for_stderr("no consumer attached");
            (start_consumer(), producer)
        };
        producer.end().expect(0);
        let ended = consumer.end();
        assert!([0, 4].contains(&ended.code), "{ended:?}");
    }
}

#[test]
fn three_producers_and_three_consumers_share_a_buffer() {
    for pair in [SEMAPHORE, MUTEX] {
        let sandbox = Sandbox::new();
        let consumers = [(); 3].map(|()| sandbox.consumer(&pair, &QUIET));
        for consumer in &consumers {
            consumer.wait_for_stderr("waiting for a producer");
        }
        let producers =
            [(); 3].map(|()| sandbox.producer(&pair, &["--count", "20000", "--interval", "0", "--quiet"]));
        let _ = producers.map(|p| p.end().expect(0));
        let consumers = consumers.map(|c| c.end().expect(0));
        let sum = |key| consumers.iter().map(|c| c.number(key)).sum::<u64>();
        assert_eq!(sum("items"), 60_000, "{:?}", pair.both);
        for key in ["lost", "duplicated", "reordered", "corrupted"] {
            assert_eq!(sum(key), 0, "{key} {:?}", pair.both);
        }
    }
}

#[test]
fn a_ring_takes_one_of_each() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&RING, &QUIET);
    consumer.wait_for_stderr("waiting for a producer");
    sandbox.consumer(&RING, &[]).end().expect(1).says("in use");
    let producer = sandbox.producer(&RING, &["--count", "3", "--interval", "300ms"]);
    producer.wait_for_stdout("sent #0");
    sandbox.consumer(&RING, &[]).end().expect(1).says("in use");
    sandbox.producer(&RING, &[]).end().expect(1).says("in use");
    producer.end().expect(0);
    consumer.end().expect(0).all_well(3);
}

#[test]
fn both_sides_must_say_the_same_sync() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&MUTEX, &QUIET);
    consumer.wait_for_stderr("waiting for a producer");
    sandbox.producer(&RING, &[]).end().expect(1).says("--sync mutex");
    let producer = sandbox.producer(&MUTEX, &["--count", "2", "--interval", "200ms"]);
    producer.wait_for_stdout("sent #0");
    sandbox.consumer(&SEMAPHORE, &[]).end().expect(1).says("--sync mutex");
    producer.end().expect(0);
    consumer.end().expect(0).all_well(2);
}

#[test]
fn an_item_larger_than_a_slot_is_wrong_usage() {
    let sandbox = Sandbox::new();
    for args in [
        ["--size", "65", "--slot-size", "64"],
        ["--slots", "0", "--size", "1"],
        ["--sync", "x", "--slots", "1"],
    ] {
        sandbox.producer(&pair(&[]), &args).end().expect(2);
        assert!(sandbox.left().is_empty());
    }
    let producer = sandbox.producer(&MUTEX, &["--count", "2", "--interval", "1h"]);
    producer.wait_for_stdout("sent #0");
    sandbox.producer(&MUTEX, &["--size", "65"]).end().expect(2).says("slots hold 96 bytes");
    producer.signal(SIGINT).wait_for_stderr("sent 1 items");
    producer.end().expect(130);
}

#[test]
fn a_buffer_that_does_not_fit_is_refused_when_it_is_made() {
    let sandbox = Sandbox::new();
    // A PiB. Reserved at once: else this would be SIGBUS at the first item that finds no page.
    let args = ["--slots", "1048576", "--slot-size", "1GiB"];
    sandbox.producer(&RING, &args).end().expect(1).says("No space left").says("enlarge /dev/shm");
    assert!(sandbox.left().is_empty());
}

#[test]
fn a_full_dev_shm_is_an_error_when_it_is_made_and_no_sigbus() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can mount a small /dev/shm");
        return;
    }
    for filled in ["true", "head -c 40k /dev/zero >/dev/shm/rest"] {
        let sandbox = Sandbox::new();
        // In a mount namespace of its own: nobody else sees it.
        let script = format!("mount -t tmpfs -o size=64k none /dev/shm && {filled} && exec \"$@\"");
        let mut command = sandbox.command("unshare");
        command.args(["-m", "sh", "-c", &script, "sh", RING.producer, "--name", sandbox.name()]);
        let slots = if filled == "true" { "1000" } else { "300" };
        command.args(["--sync", "ring", "--slots", slots, "--count", "0", "--interval", "0", "--json"]);
        let ended = Process::spawn(command).end().expect(1).says("No space left").says("enlarge /dev/shm");
        assert_eq!(ended.number("items"), 0, "{ended:?}");
    }
}

#[test]
fn a_full_buffer_says_so_and_what_to_do() {
    for pair in [SEMAPHORE, MUTEX, RING, NONE] {
        let sandbox = Sandbox::new();
        let producer =
            sandbox.producer(&pair, &["--slots", "3", "--count", "5", "--interval", "0", "--json"]);
        producer.wait_for_stderr("blocked: buffer full 3/3; no consumer attached, start one with: cargo run");
        let consumer = sandbox.consumer(&pair, &QUIET);
        consumer.end().expect(0).all_well(5);
        let producer = producer.end().expect(0).says("unblocked after");
        assert!(producer.number("blocked") > 0);
    }
}

#[test]
fn what_is_left_waits_for_a_consumer() {
    for pair in [SEMAPHORE, MUTEX, RING] {
        let sandbox = Sandbox::new();
        let args = ["--count", "5", "--interval", "0"];
        sandbox.producer(&pair, &[&args[..], &["--timeout", "200ms"]].concat()).end().expect(3);
        assert!(sandbox.left().is_empty());
        let producer = sandbox.producer(&pair, &args);
        producer.wait_for_stderr("waiting for a consumer");
        sandbox.consumer(&pair, &QUIET).end().expect(0).all_well(5);
        producer.end().expect(0);
    }
}

#[test]
fn a_consumer_may_leave_and_another_goes_on() {
    for pair in [SEMAPHORE, MUTEX, RING] {
        let sandbox = Sandbox::new();
        let producer = sandbox.producer(&pair, &["--count", "1000", "--interval", "0"]);
        let first = sandbox.consumer(&pair, &["--count", "400", "--quiet", "--json"]).end().expect(0);
        let second = sandbox.consumer(&pair, &QUIET).end().expect(0);
        producer.end().expect(0);
        assert_eq!((first.number("items"), second.number("items")), (400, 600), "{:?}", pair.both);
        assert_eq!((second.number("gaps"), second.number("lost")), (400, 0));
    }
}

#[test]
fn a_consumer_that_leaves_last_leaves_nothing() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--count", "1", "--delay", "300ms"]);
        sandbox.producer(&pair, &["--count", "5", "--interval", "0"]).end().expect(0);
        consumer.end().expect(0);
        assert!(sandbox.left().is_empty());
    }
}

#[test]
fn a_consumer_that_stays_forever_takes_from_one_producer_after_another() {
    for pair in [SEMAPHORE, MUTEX, RING] {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--forever", "--json", "--quiet", "--count", "30"]);
        for _ in 0..3 {
            sandbox.producer(&pair, &["--count", "10", "--interval", "0"]).end().expect(0);
        }
        assert_eq!(consumer.end().expect(0).number("items"), 30);
    }
}

#[test]
fn a_stream_that_came_and_went_while_nobody_looked_is_received() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--forever", "--json", "--count", "6"]);
        let args = ["--count", "3", "--interval", "0"];
        sandbox.producer(&pair, &args).end().expect(0);
        consumer.wait_for_stdout("received #2").wait_for_stderr("waiting for a producer");
        stop(&consumer, &sandbox);
        sandbox.producer(&pair, &args).end().expect(0);
        consumer.signal(SIGCONT);
        assert_eq!(consumer.end().expect(0).number("items"), 6, "{:?}", pair.both);

        // The same with one that was killed: it said no goodbye.
        let consumer = sandbox.consumer(&pair, &["--forever", "--json"]);
        sandbox.producer(&pair, &args).end().expect(0);
        consumer.wait_for_stdout("received #2");
        stop(&consumer, &sandbox);
        let producer = sandbox.producer(&pair, &["--count", "2", "--interval", "1h"]);
        producer.wait_for_stdout("sent #0");
        producer.signal(SIGKILL);
        producer.end().expect(137);
        consumer.signal(SIGCONT);
        let ended = consumer.end().expect(3).says("died without a goodbye");
        assert_eq!(ended.number("items"), 4, "{:?}", pair.both);
    }
}

#[test]
fn a_stream_without_an_item_has_an_end_too() {
    for pair in ALL {
        let nothing = ["--input", "/dev/null"];
        let sandbox = Sandbox::new();
        let producer = sandbox.producer(&pair, &nothing);
        producer.wait_for_stderr("waiting for a consumer");
        sandbox.consumer(&pair, &QUIET).end().expect(0).all_well(0);
        producer.end().expect(0);

        let consumer = sandbox.consumer(&pair, &QUIET);
        consumer.wait_for_stderr("waiting for a producer");
        sandbox.producer(&pair, &nothing).end().expect(0);
        consumer.end().expect(0).all_well(0);

        let late = [&nothing[..], &["--timeout", "200ms"]].concat();
        sandbox.producer(&pair, &late).end().expect(3).says("nobody learns that there were no items");
        let producer = sandbox.producer(&pair, &nothing);
        producer.wait_for_stderr("waiting for a consumer");
        producer.signal(SIGINT);
        producer.end().expect(130);
    }
}

#[test]
fn a_killed_producer_is_noticed_after_its_last_item() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--delay", "50ms", "--json"]);
        let producer = sandbox.producer(&pair, &["--count", "6", "--interval", "0", "--size", "10"]);
        consumer.wait_for_stdout("received #0");
        // It has said goodbye, or else is killed: the consumer takes all there is in either case.
        producer.end().expect(0);
        consumer.end().expect(0).all_well(6);

        let consumer = sandbox.consumer(&pair, &QUIET);
        let producer = sandbox.producer(&pair, &["--count", "2", "--interval", "1h"]);
        consumer.wait_for_stderr("blocked: buffer empty 0/8");
        producer.signal(SIGKILL);
        let ended = consumer.end_within(Duration::from_secs(3)).expect(3).says("died without a goodbye");
        assert_eq!(ended.number("items"), 1);
    }
}

#[test]
fn killed_sides_are_followed_by_others_at_once() {
    for pair in [SEMAPHORE, MUTEX, RING] {
        let sandbox = Sandbox::new();
        // Both killed, at full speed: a new pair finds nothing in its way.
        for _ in 0..5 {
            let (consumer, producer) = (sandbox.consumer(&pair, &QUIET), sandbox.producer(&pair, &ENDLESS));
            std::thread::sleep(Duration::from_millis(20));
            for process in [consumer, producer] {
                process.signal(SIGKILL);
                process.end().expect(137);
            }
        }
        let consumer = sandbox.consumer(&pair, &QUIET);
        sandbox.producer(&pair, &MANY).end().expect(0);
        consumer.end().expect(0).all_well(100_000);
    }
    for pair in [MUTEX, RING] {
        // One consumer after another is killed; the producer goes on with the next.
        let sandbox = Sandbox::new();
        // So many that there are some left for the last.
        let producer = sandbox.producer(&pair, &["--count", "3000000", "--interval", "0", "--quiet"]);
        let mut items = 0;
        for round in 0..5 {
            let consumer = sandbox.consumer(&pair, &["--quiet", "--output", "/dev/null"]);
            std::thread::sleep(Duration::from_millis(3 * round));
            consumer.signal(SIGKILL);
            items += i32::from(consumer.end().code == 137);
        }
        assert!(items > 0, "no consumer lived long enough to be killed");
        let last = sandbox.consumer(&pair, &QUIET).end().expect(0);
        producer.end().expect(0);
        for key in ["duplicated", "reordered", "corrupted", "lost"] {
            assert_eq!(last.number(key), 0, "{key}");
        }
    }
}

/// Stops a process, but not in the moment in which it looks who is there: nobody could come or go then.
fn stop(process: &Process, sandbox: &Sandbox) {
    let guard = sandbox.dir().join(format!("{}.shm.lock", sandbox.name()));
    loop {
        process.signal(SIGSTOP);
        while !process.is_stopped() {
            std::thread::yield_now();
        }
        match std::fs::File::open(&guard).map(|file| file.try_lock()) {
            Ok(Err(TryLockError::WouldBlock)) => process.signal(SIGCONT),
            _ => return,
        };
    }
}

/// Starts a consumer, and kills it while it has an item in hand.
fn kill_with_an_item_in_hand(sandbox: &Sandbox, pair: &Pair) {
    let consumer = sandbox.consumer(pair, &["--delay", "1h"]);
    consumer.wait_for_stdout("received #");
    consumer.signal(SIGKILL);
    consumer.end().expect(137);
}

#[test]
fn killed_consumers_take_no_capacity_along() {
    for pair in [MUTEX, RING] {
        let sandbox = Sandbox::new();
        let producer =
            sandbox.producer(&pair, &["--slots", "3", "--count", "10", "--interval", "0", "--json"]);
        for _ in 0..5 {
            kill_with_an_item_in_hand(&sandbox, &pair);
        }
        // Nothing is lost: the item in hand comes again.
        sandbox.consumer(&pair, &QUIET).end().expect(0).all_well(10);
        producer.end().expect(0);
    }
}

#[test]
fn what_a_consumer_received_before_it_left_does_not_come_again() {
    for pair in [SEMAPHORE, MUTEX, RING] {
        let sandbox = Sandbox::new();
        let producer = sandbox.producer(&pair, &["--slots", "3", "--count", "5", "--interval", "0"]);
        let consumer = sandbox.consumer(&pair, &["--delay", "1h"]);
        consumer.wait_for_stdout("received #0");
        consumer.signal(SIGINT);
        consumer.end().expect(130);
        let next = sandbox.consumer(&pair, &["--json"]).end().expect(0);
        assert!(!next.stdout.contains("received #0") && next.number("items") == 4, "{next:?}");
        producer.end().expect(0);
    }
}

#[test]
fn killed_consumers_cost_a_semaphore_its_slots_and_it_says_so() {
    let sandbox = Sandbox::new();
    let producer = sandbox.producer(&SEMAPHORE, &["--slots", "3", "--count", "0", "--interval", "0"]);
    for lost in 1..=3 {
        kill_with_an_item_in_hand(&sandbox, &SEMAPHORE);
        producer.wait_for_stderr(&format!("{lost} of 3 slots lost"));
    }
    producer.end_within(Duration::from_secs(5)).expect(3).says("all 3 slots are lost");
}

#[test]
fn a_dead_process_in_the_lock_of_a_semaphore_is_named() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&SEMAPHORE, &[]);
    let producer = sandbox.producer(&SEMAPHORE, &["--count", "2", "--interval", "1h"]);
    consumer.wait_for_stdout("received #0").wait_for_stderr("blocked");
    // What a process leaves that is killed between wait(mutex) and post(mutex).
    overwrite(&sandbox, 256, &0u32.to_ne_bytes());
    producer.signal(SIGKILL);
    producer.end().expect(137);
    consumer.end_within(Duration::from_secs(3)).expect(3).says("lock held by a dead process");
}

#[test]
fn a_stopped_side_loses_nothing() {
    for pair in [SEMAPHORE, MUTEX, RING] {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &QUIET);
        consumer.wait_for_stderr("waiting for a producer");
        let producer = sandbox.producer(&pair, &MANY);
        // Stopping interrupts futex waits, too.
        for _ in 0..20 {
            for process in [&consumer, &producer] {
                process.signal(SIGSTOP);
                std::thread::sleep(Duration::from_millis(1));
                process.signal(SIGCONT);
            }
        }
        producer.end().expect(0);
        consumer.end().expect(0).all_well(100_000);
    }
}

#[test]
fn a_process_beside_a_stopped_one_can_be_ended() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &QUIET);
        consumer.wait_for_stderr("waiting for a producer");
        let producer = sandbox.producer(&pair, &ENDLESS);
        // At full speed, so that it is inside the lock now and then.
        std::thread::sleep(Duration::from_millis(30));
        producer.signal(SIGSTOP);
        consumer.signal(SIGINT);
        let since = Instant::now();
        let ended = consumer.end_within(Duration::from_secs(4));
        assert!(since.elapsed() < Duration::from_secs(4), "{ended:?}");
        producer.signal(SIGCONT).signal(SIGINT);
        producer.end_within(Duration::from_secs(4));
    }
}

#[test]
fn a_damaged_object_is_named_field_by_field() {
    let check = |at: u64, bytes: &[u8], field: &str| {
        let sandbox = Sandbox::new();
        let producer = sandbox.producer(&MUTEX, &["--count", "2", "--interval", "1h"]);
        producer.wait_for_stdout("sent #0");
        overwrite(&sandbox, at, bytes);
        let ended: Outcome = sandbox.consumer(&MUTEX, &[]).end().expect(4);
        ended.says(field);
        producer.signal(SIGINT);
        producer.end().expect(130);
    };
    check(0, b"NOTOURS!", "magic");
    check(8, &9u32.to_ne_bytes(), "version");
    check(12, &3u32.to_ne_bytes(), "sync kind");
    check(16, &0u32.to_ne_bytes(), "slots");
    check(16, &9u32.to_ne_bytes(), "size");
    check(20, &u32::MAX.to_ne_bytes(), "slot size");
}

#[test]
fn scribbling_over_a_ring_is_no_crash() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&RING, &["--timeout", "1s", "--quiet"]);
    consumer.wait_for_stderr("waiting for a producer");
    let producer = sandbox.producer(&RING, &[&ENDLESS[..], &["--timeout", "1s"]].concat());
    while !object(&sandbox).exists() {
        std::thread::yield_now();
    }
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let memory = OpenOptions::new().write(true).open(object(&sandbox)).expect("open the object");
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        memory.write_all_at(&random.to_ne_bytes(), (random >> 40) % 300).expect("write");
    }
    let fine = |process: Process| {
        assert!(process.private_kib() < 32 * 1024, "a large allocation");
        let ended = process.end_within(Duration::from_secs(10));
        assert!([0, 3, 4].contains(&ended.code), "{ended:?}");
    };
    fine(consumer);
    fine(producer);
}

#[test]
fn another_users_or_a_planted_object_is_refused() {
    let sandbox = Sandbox::new();
    let target = sandbox.dir().join("target");
    std::fs::write(&target, "untouched").expect("write");
    std::os::unix::fs::symlink(&target, object(&sandbox)).expect("plant a link");
    sandbox.producer(&MUTEX, &[]).end().expect(1).says("open shared memory");
    assert_eq!(std::fs::read_to_string(&target).expect("read"), "untouched");
    std::fs::remove_file(object(&sandbox)).expect("remove the link");

    use std::os::unix::fs::PermissionsExt;
    std::fs::write(object(&sandbox), "x").expect("plant a file");
    std::fs::set_permissions(object(&sandbox), std::fs::Permissions::from_mode(0o666)).expect("chmod");
    sandbox.producer(&MUTEX, &[]).end().expect(1).says("private");
    std::fs::remove_file(object(&sandbox)).expect("remove the file");
    std::fs::remove_file(target).expect("remove the target");

    if nix::unistd::geteuid().is_root() {
        // Another user's, who would have us use it.
        std::fs::write(object(&sandbox), "theirs").expect("plant a file");
        std::fs::set_permissions(object(&sandbox), std::fs::Permissions::from_mode(0o600)).expect("chmod");
        std::os::unix::fs::chown(object(&sandbox), Some(65534), Some(65534)).expect("chown");
        for kind in [&SEMAPHORE, &MUTEX, &RING] {
            sandbox.producer(kind, &[]).end().expect(1).says("private");
        }
        assert_eq!(std::fs::read(object(&sandbox)).expect("read"), b"theirs");
        std::fs::remove_file(object(&sandbox)).expect("remove the file");
    }
}

#[test]
fn a_stale_object_is_replaced() {
    for stale in [&b""[..], b"garbage", &[0xFF; 5000]] {
        let sandbox = Sandbox::new();
        let mut options = OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.write(true).create_new(true).open(object(&sandbox)).expect("leave an object");
        file.write_all_at(stale, 0).expect("write");
        drop(file);
        let consumer = sandbox.consumer(&RING, &QUIET);
        sandbox.producer(&RING, &["--count", "3", "--interval", "0"]).end().expect(0);
        consumer.end().expect(0).all_well(3);
    }
}
