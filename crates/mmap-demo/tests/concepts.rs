//! What a learner is to see of a mapped file, each with its command: the phenomenon occurs, or the test fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::testkit::{Outcome, Pair, Process, SOON, Sandbox};
use nix::sys::signal::Signal::{SIGINT, SIGKILL};

const MMAP: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_mmap-producer"),
    consumer: env!("CARGO_BIN_EXE_mmap-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};

const FAST: [&str; 4] = ["--interval", "0", "--quiet", "--json"];
const COUNTED: [&str; 2] = ["--quiet", "--json"];

fn produce(sandbox: &Sandbox, args: &[&str]) -> Process {
    sandbox.producer(&MMAP, &[&FAST, args].concat())
}

fn consume(sandbox: &Sandbox, args: &[&str]) -> Process {
    sandbox.consumer(&MMAP, &[&COUNTED, args].concat())
}

fn map_of(sandbox: &Sandbox) -> PathBuf {
    sandbox.dir().join(format!("{}.map", sandbox.name()))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// How a process has mapped a file: `rw-s`, `rw-p`.
fn mapped(process: &Process, path: &Path) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{}/maps", process.pid())).expect("it runs");
    let of_file = maps.lines().filter(|l| l.ends_with(text(path)));
    of_file.map(|l| l.split(' ').nth(1).expect("permissions").to_owned()).collect()
}

/// How many items that were made up can be read in the file itself, as `grep -a` finds them.
fn items_in(path: &Path) -> usize {
    let bytes = fs::read(path).expect("the file");
    bytes.windows(11).filter(|w| w.starts_with(b"item 000000")).count()
}

/// Runs a side under strace, which writes the system calls that `trace` names to a file; none where strace is not
/// installed, and then says so.
fn traced(sandbox: &mut Sandbox, binary: &str, trace: &[&str], args: &[&str]) -> Option<(Process, PathBuf)> {
    let can = Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        eprintln!("skipped: strace is not installed");
        return None;
    }
    let log = sandbox.file("strace.log");
    let mut command = sandbox.command("strace");
    command.args(["-f", "-s", "8", "-o", text(&log)]).args(trace);
    command.arg(binary).args(args).args(["--name", sandbox.name()]).stdin(Stdio::null());
    Some((Process::spawn(command), log))
}

/// Lines of a log that contain a text.
fn lines_with(log: &Path, text: &str) -> usize {
    fs::read_to_string(log).expect("strace's log").lines().filter(|l| l.contains(text)).count()
}

/// Row 21: both sides have the open file in their memory, shared, and the items are in the file.
#[test]
fn both_sides_map_one_file_and_the_items_are_in_it() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&MMAP, &[]);
    let producer = sandbox.producer(&MMAP, &["--count", "4", "--interval", "1ms", "--capacity", "4KiB"]);
    producer.end().expect(0);
    consumer.end().expect(0);
    // Read, they still lie there until the ring comes round.
    assert_eq!(items_in(&map_of(&sandbox)), 4);
    let producer = sandbox.producer(&MMAP, &["--count", "2", "--interval", "1h"]);
    let consumer = sandbox.consumer(&MMAP, &[]);
    consumer.wait_for_stdout("received #0");
    for side in [&producer, &consumer] {
        assert_eq!(mapped(side, &map_of(&sandbox)), ["rw-s"]);
    }
    producer.signal(SIGINT);
    producer.end().expect(130);
    consumer.end().expect(0);
}

/// Row 21: mapped MAP_PRIVATE, all goes well and nobody sees anything. Both say why, and nobody waits in silence.
#[test]
fn a_private_mapping_shows_nobody_anything() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&MMAP, &["--json", "--timeout", "3s"]);
    consumer.wait_for_stderr("waiting for a producer");
    let producer = sandbox.producer(&MMAP, &["--private", "--count", "2", "--interval", "1h"]);
    producer
        .wait_for_stderr("private: nobody else will ever see these items (drop --private)")
        .wait_for_stdout("sent #0");
    let why = format!("private: producer {} has mapped the file MAP_PRIVATE", producer.pid());
    consumer.wait_for_stderr(&format!("blocked: {why}"));
    assert_eq!(mapped(&producer, &map_of(&sandbox)), ["rw-p"]);
    assert_eq!(mapped(&consumer, &map_of(&sandbox)), ["rw-s"]);
    assert_eq!(items_in(&map_of(&sandbox)), 0);
    let ended = consumer.end().expect(3).says("(drop --private)").says("--timeout");
    ended.all_well(0);
    producer.signal(SIGINT);
    producer.end().expect(130);
    // One that ends by itself has lost its items, and says so; a consumer that came first has lost a producer.
    let consumer = consume(&sandbox, &["--timeout", "20s"]);
    consumer.wait_for_stderr("waiting for a producer");
    let producer = sandbox.producer(&MMAP, &["--private", "--count", "3", "--interval", "50ms"]);
    producer.end().expect(4).says("private: 3 items are lost").says("and 0 in the file (drop --private)");
    consumer.end().expect(3).says("drop --private").all_well(0);
    // So has a consumer that comes later nothing to read, and waits.
    consume(&sandbox, &["--timeout", "300ms"]).end().expect(3).all_well(0);
    // The fix is one switch away, and there is nothing to clean up.
    let consumer = consume(&sandbox, &["--timeout", "20s"]);
    produce(&sandbox, &["--count", "100"]).end().expect(0);
    consumer.end().expect(0).all_well(100);
}

/// Row 21: nobody can free the room of a private copy.
#[test]
fn a_private_ring_is_full_for_ever() {
    let sandbox = Sandbox::new();
    let consumer = consume(&sandbox, &[]);
    consumer.wait_for_stderr("waiting for a producer");
    let args = ["--private", "--count", "0", "--capacity", "4KiB", "--timeout", "1s"];
    produce(&sandbox, &args)
        .end()
        .expect(3)
        .says("private: this process's own copy is full, 4096/4096 bytes");
    consumer.end().expect(3).all_well(0);
    let refused = sandbox.producer(&MMAP, &["--private", "--durability", "sync"]).end().expect(2);
    refused.says("cannot be used with");
}

/// Row 22: items of 64 MiB go through, and neither side ever has one in memory of its own.
#[test]
fn items_of_64_mib_take_no_memory_but_the_files() {
    let sandbox = Sandbox::new();
    let small = produce(&sandbox, &["--count", "3"]).end().expect(0);
    let small = small
        .number("page_faults_minor")
        .max(consume(&sandbox, &[]).end().expect(0).number("page_faults_minor"));
    let consumer = consume(&sandbox, &["--output", "/dev/null", "--delay", "20ms"]);
    consumer.wait_for_stderr("waiting for a producer");
    let producer = produce(&sandbox, &["--count", "3", "--size", "64MiB", "--capacity", "128MiB"]);
    let (mut held, mut sides, mut ended) = (0, vec![producer, consumer], Vec::new());
    while !sides.is_empty() {
        let mut running = Vec::new();
        for mut side in sides {
            held = held.max(side.private_kib());
            if side.is_running() { running.push(side) } else { ended.push(side.end().expect(0)) }
        }
        sides = running;
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(held > 0 && held < 32 * 1024, "{held} KiB, an item has {}", 64 * 1024);
    for side in ended {
        assert_eq!((side.number("items"), side.number("bytes")), (3, 3 << 26));
        assert!(side.number("private_kib") < 8 * 1024, "{}", side.json());
        // The item's pages were touched, many by one fault as the kernel likes it, and were resident.
        assert!(side.number("page_faults_minor") > small + 64, "{}", side.json());
        assert!(side.number("resident_max_kib") > 64 * 1024, "{}", side.json());
        assert!(side.json()["page_faults_major"].is_u64());
        side.says("page faults: ");
    }
}

/// Row 22: `--output` is one write(2) of the whole item, which can only come from the mapping.
#[test]
fn an_item_is_written_straight_from_the_mapping() {
    let mut sandbox = Sandbox::new();
    produce(&sandbox, &["--count", "1", "--size", "8MiB"]).end().expect(0);
    let to = sandbox.file("to");
    let args = ["--quiet", "--json", "--output", text(&to)];
    let Some((consumer, log)) = traced(&mut sandbox, MMAP.consumer, &["-e", "trace=write"], &args) else {
        return;
    };
    let ended = consumer.end().expect(0);
    ended.all_well(1);
    assert!(ended.number("private_kib") < 4096, "{}", ended.json());
    assert_eq!(lines_with(&log, ", 8388608)"), 1, "{}", fs::read_to_string(&log).expect("the log"));
    assert_eq!(fs::metadata(&to).expect("the copy").len(), 8 << 20);
}

/// Row 23: what was finished is not repeated, not even after kill -9; only the item in hand comes again.
#[test]
fn a_consumer_killed_and_started_again_resumes() {
    let sandbox = Sandbox::new();
    produce(&sandbox, &["--count", "50"]).end().expect(0);
    let consumer = sandbox.consumer(&MMAP, &["--delay", "20ms"]);
    consumer.wait_for_stdout("received #7").signal(SIGKILL);
    let last = consumer.end().stdout.lines().count() as u64 - 1;
    let again = sandbox.consumer(&MMAP, &["--json"]).end().expect(0);
    let line = again.stdout.lines().next().expect("an item");
    let first: u64 = line.split(['#', ' ']).nth(2).and_then(|n| n.parse().ok()).expect("its number");
    assert!(first == last || first == last + 1, "#{last} was in hand, and #{first} came next");
    assert_eq!((again.number("items"), again.number("lost")), (50 - first, 0));
}

/// Row 23: msync(2) is called as `--durability` says, and the run says what it took.
#[test]
fn durability_is_msync() {
    // Record and header for each item, and the header once more for the goodbye.
    for (how, flag, calls) in
        [("none", "MS_", 0), ("async", "MS_ASYNC", 2 * 20 + 1), ("sync", "MS_SYNC", 2 * 20 + 1)]
    {
        let mut sandbox = Sandbox::new();
        let args = ["--durability", how, "--count", "20", "--interval", "0", "--quiet", "--json"];
        let Some((producer, log)) = traced(&mut sandbox, MMAP.producer, &["-e", "trace=msync"], &args) else {
            return;
        };
        let ended = producer.end().expect(0);
        assert_eq!(lines_with(&log, flag), calls, "{how}: {}", fs::read_to_string(&log).expect("the log"));
        assert_eq!(ended.json()["durability"], how);
        assert_eq!(ended.number("msync"), calls as u64);
        assert_eq!(ended.json()["msync_s"].as_f64().expect("seconds") > 0.0, calls > 0);
        consume(&sandbox, &[]).end().expect(0).all_well(20);
    }
}

/// Row 23: a record is brought to the device before the tail counts it, and the header afterwards.
#[test]
fn the_record_is_written_before_the_header() {
    let mut sandbox = Sandbox::new();
    let args = ["--durability", "sync", "--count", "3", "--size", "20000", "--interval", "0", "--quiet"];
    let Some((producer, log)) = traced(&mut sandbox, MMAP.producer, &["-e", "trace=msync"], &args) else {
        return;
    };
    producer.end().expect(0);
    let log = fs::read_to_string(log).expect("the log");
    let lens: Vec<u64> = log.lines().filter_map(|l| l.split(", ").nth(1)?.parse().ok()).collect();
    // A record of 20,048 bytes is at least five pages.
    let shape: Vec<bool> = lens.iter().map(|len| *len > 5000).collect();
    assert_eq!(shape, [true, false, true, false, true, false, false], "{log}");
}

/// Row 23: an msync that fails is an error, and what was not brought to the device was not committed.
#[test]
fn a_failing_msync_is_an_error() {
    let mut sandbox = Sandbox::new();
    // The fifth call is the third item's record.
    let inject = ["-e", "trace=msync", "-e", "inject=msync:error=EIO:when=5"];
    let args = ["--durability", "sync", "--count", "9", "--interval", "0", "--json", "--quiet"];
    let consumer = consume(&sandbox, &[]);
    consumer.wait_for_stderr("waiting for a producer");
    let Some((producer, _)) = traced(&mut sandbox, MMAP.producer, &inject, &args) else {
        consumer.signal(SIGINT);
        return;
    };
    let producer = producer.end().expect(1).says("msync(MS_SYNC): Input/output error");
    assert_eq!(producer.number("items"), 2);
    let consumer = consumer.end().expect(3);
    assert_eq!((consumer.number("items"), consumer.number("lost")), (2, 0));
}

/// Row 23: with `sync` no page of the file waits for its writeback once an item is reported as sent; without, some
/// do. On a file system in memory there is no device, and nothing to be seen.
#[test]
fn a_synced_item_leaves_no_dirty_page() {
    let sandbox = Sandbox::new();
    let kind = Command::new("stat").args(["-f", "-c", "%T", text(sandbox.dir())]).output().expect("stat");
    if String::from_utf8_lossy(&kind.stdout).trim() == "tmpfs" {
        eprintln!("skipped: {} is a tmpfs", sandbox.dir().display());
        return;
    }
    let dirty = |process: &Process| {
        let smaps = fs::read_to_string(format!("/proc/{}/smaps", process.pid())).expect("it runs");
        let of_file = smaps.split_once(text(&map_of(&sandbox))).expect("the mapping").1.lines().skip(1);
        let of_file = of_file.take_while(|l| !l.starts_with("VmFlags"));
        let kib = of_file
            .filter(|l| l.contains("_Dirty:"))
            .filter_map(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.sum::<u64>()
    };
    for how in ["none", "sync"] {
        let producer = sandbox
            .producer(&MMAP, &["--durability", how, "--count", "2", "--interval", "1h", "--size", "1MiB"]);
        producer.wait_for_stdout("sent #0");
        assert_eq!(dirty(&producer) == 0, how == "sync", "{how}: {} KiB", dirty(&producer));
        producer.signal(SIGKILL);
        producer.end();
        // Either way what was sent is in the file, for who comes later: the kernel has it, not the process.
        let consumer = sandbox.consumer(&MMAP, &["--json", "--timeout", "300ms"]);
        consumer.wait_for_stdout("received #0  1048576 B");
        consumer.end().expect(3).all_well(1);
    }
}

/// Row 10: a full ring does not stop a sender that must not block; it goes on, and nothing is lost.
#[test]
fn a_nonblocking_sender_goes_on_at_a_full_ring() {
    let sandbox = Sandbox::new();
    let producer = produce(&sandbox, &["--nonblocking", "--count", "100", "--capacity", "4KiB"]);
    producer.wait_for_stderr("would block: file full, 4096/4096 bytes; no consumer is attached");
    consume(&sandbox, &[]).end().expect(0).all_well(100);
    assert!(producer.end().expect(0).number("would_block") > 0);
}

/// Row 11: a consumer that came first waits, without a look at anything, and takes an item when it is whole.
#[test]
fn a_blocking_receiver_waits_for_all_of_an_item_and_uses_no_cpu() {
    let mut sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&MMAP, &["--json"]);
    consumer.wait_for_stderr("waiting for a producer");
    let idle = |why: &str| {
        let before = consumer.usage();
        // Time itself is the subject here.
        std::thread::sleep(Duration::from_secs(1));
        let after = consumer.usage();
        assert!(after.cpu - before.cpu <= Duration::from_millis(10), "{why}: {before:?} {after:?}");
        assert!(after.switches - before.switches < 20, "{why}: {before:?} {after:?}");
    };
    idle("without a producer");
    // An item of two pieces, of which only the first is written yet.
    let fifo = sandbox.file("input");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let producer = produce(&sandbox, &["--input", text(&fifo), "--size", "100000"]);
    let mut input = fs::OpenOptions::new().write(true).open(&fifo).expect("open the FIFO");
    std::io::Write::write_all(&mut input, &[b'x'; 70_000]).expect("write");
    consumer.wait_for_stderr("blocked: file empty");
    let deadline = Instant::now() + SOON;
    let piece_is_there =
        || fs::read(map_of(&sandbox)).expect("the file").windows(1000).any(|w| w == [b'x'; 1000]);
    while !piece_is_there() {
        assert!(Instant::now() < deadline, "the first piece is not in the file");
    }
    idle("with half an item in the file");
    assert!(!consumer.stdout().contains("received"), "{}", consumer.stdout());
    std::io::Write::write_all(&mut input, &[b'y'; 30_000]).expect("write");
    drop(input);
    producer.end().expect(0);
    let ended = consumer.end().expect(0);
    assert!(ended.stdout.contains("received #0  100000 B"), "{}", ended.stdout);
    ended.all_well(1);
}

/// Row 12: an empty ring answers a consumer that must not block with a null message.
#[test]
fn a_nonblocking_receiver_gets_a_null_message_or_an_item() {
    let sandbox = Sandbox::new();
    let producer = sandbox.producer(&MMAP, &["--count", "3", "--interval", "100ms", "--quiet"]);
    let ended = sandbox.consumer(&MMAP, &["--nonblocking", "--json"]).end().expect(0);
    assert!(ended.number("would_block") > 0);
    ended.says("null message: file empty").all_well(3);
    producer.end().expect(0);
}

/// All four pairs of blocking and non-blocking sides work, with the same flag, at a full ring and at an empty one.
#[test]
fn two_by_two() {
    let flag = |given: bool| if given { &["--nonblocking"][..] } else { &[] };
    for (sender, receiver) in [(false, false), (false, true), (true, false), (true, true)] {
        // A slow consumer, and a slow producer.
        let full = ["--interval", "0", "--count", "50", "--size", "1000", "--capacity", "4KiB"];
        for (produce, delay, items) in
            [(&full[..], "5ms", 50), (&["--interval", "100ms", "--count", "3"][..], "0", 3)]
        {
            let sandbox = Sandbox::new();
            let consumer = consume(&sandbox, &[&["--delay", delay], flag(receiver)].concat());
            consumer.wait_for_stderr("waiting for a producer");
            let args = [produce, &COUNTED, flag(sender)].concat();
            let producer = sandbox.producer(&MMAP, &args).end().expect(0);
            let consumer = consumer.end().expect(0);
            let (waits, may_not) = if delay == "0" { (&consumer, receiver) } else { (&producer, sender) };
            assert_eq!(waits.number("would_block") > 0, may_not, "{}", waits.json());
            assert!(waits.number("blocked") > 0, "{}", waits.json());
            consumer.all_well(items);
        }
    }
}

fn lost(consumer: Process, why: &str) -> Outcome {
    consumer.end_within(Duration::from_secs(20)).expect(3).says(why)
}

/// A producer that is killed on its way in is noticed, whether its file is there yet or not.
#[test]
fn a_producer_killed_before_its_first_item_is_noticed() {
    let mut sandbox = Sandbox::new();
    let consumer = consume(&sandbox, &[]);
    consumer.wait_for_stderr("waiting for a producer");
    // Killed instead of giving the file its name.
    let kill = ["-e", "trace=linkat", "-e", "inject=linkat:signal=SIGKILL:when=1"];
    let Some((producer, _)) = traced(&mut sandbox, MMAP.producer, &kill, &FAST) else {
        consumer.signal(SIGINT);
        return;
    };
    producer.end().expect(137);
    assert!(!map_of(&sandbox).exists());
    lost(consumer, "died before it had written anything");
    // The same beside a file that is read to its end, before that is unlinked.
    produce(&sandbox, &["--count", "3"]).end().expect(0);
    consume(&sandbox, &[]).end().expect(0).all_well(3);
    let consumer = consume(&sandbox, &[]);
    consumer.wait_for_stderr("waiting for a producer");
    let kill = ["-e", "trace=unlink", "-e", "inject=unlink:signal=SIGKILL:when=2"];
    let (producer, _) = traced(&mut sandbox, MMAP.producer, &kill, &FAST).expect("strace is there");
    producer.end().expect(137);
    assert!(map_of(&sandbox).exists());
    lost(consumer, "died before it had written anything");
    // With a file, and nothing in it.
    let consumer = consume(&sandbox, &[]);
    consumer.wait_for_stderr("waiting for a producer");
    let mut input = sandbox.command(MMAP.producer);
    input.args(["--input", "-", "--name", sandbox.name()]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (from, keep) = std::io::pipe().expect("pipe");
    input.stdin(from);
    let producer = Process::follow(input);
    consumer.wait_for_stderr("blocked: file empty");
    producer.signal(SIGKILL);
    producer.end().expect(137);
    drop(keep);
    lost(consumer, "is gone without a goodbye");
    // And both can be started again.
    let consumer = consume(&sandbox, &[]);
    produce(&sandbox, &["--count", "10"]).end().expect(0);
    consumer.end().expect(0).all_well(10);
}

/// A stream without an item ends for one consumer, even if its producer had gone before that came.
#[test]
fn a_producer_without_an_item_ends_one_consumer_that_comes_later() {
    let sandbox = Sandbox::new();
    for _ in 0..2 {
        produce(&sandbox, &["--input", "/dev/null"]).end().expect(0);
        consume(&sandbox, &[]).end_within(Duration::from_secs(20)).expect(0).all_well(0);
        // Its end is no news any more.
        consume(&sandbox, &["--timeout", "300ms"]).end().expect(3).says("--timeout");
    }
    // A stream that was read to its end is not ended twice either.
    produce(&sandbox, &["--count", "3"]).end().expect(0);
    consume(&sandbox, &["--count", "3"]).end().expect(0).all_well(3);
    consume(&sandbox, &["--timeout", "300ms"]).end().expect(3).says("--timeout");
}
