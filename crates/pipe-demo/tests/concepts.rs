//! What a learner is to see of a pipe, each with its command: the phenomenon occurs, or the test fails.

use std::fs;
use std::time::{Duration, Instant};

use common::testkit::{Outcome, Pair, Process, SOON, Sandbox};
use nix::sys::signal::Signal;

const PIPE: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_pipe-producer"),
    consumer: env!("CARGO_BIN_EXE_pipe-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};

fn parent(sandbox: &Sandbox, args: &[&str]) -> Process {
    let mut command = sandbox.command(PIPE.producer);
    command.arg("--anonymous").args(args);
    Process::spawn(command)
}

/// The word that follows `before` in the first line of standard error that begins with `line`.
#[track_caller]
fn word(ended: &Outcome, line: &str, before: &str) -> String {
    let found = ended.stderr.lines().find(|l| l.starts_with(line)).and_then(|l| l.split_once(before));
    let word = found.and_then(|(_, rest)| rest.split([' ', ',', ')']).next());
    word.unwrap_or_else(|| panic!("no {before:?} in a line {line:?} of\n{}", ended.stderr)).to_owned()
}

/// Row 1: one variable, one address, two processes, two values.
#[test]
fn independent_processes_have_memory_of_their_own() {
    let process = parent(&Sandbox::new(), &["--independent", "--count", "1"]);
    let pid = process.pid().to_string();
    let ended = process.end().expect(0);
    assert_eq!(word(&ended, "parent", " at "), word(&ended, "child", " at "), "one address");
    assert_eq!(word(&ended, "parent", "parent "), pid);
    assert_ne!(word(&ended, "child", "child "), pid, "two processes");
    assert_eq!(
        (word(&ended, "parent", "wrote "), word(&ended, "parent", "finds ")),
        ("1".into(), "1".into())
    );
    assert_eq!((word(&ended, "child", "wrote "), word(&ended, "child", "finds ")), ("2".into(), "2".into()));
}

/// Row 1: what the kernel shows of the object while they run.
#[test]
fn the_kernel_shows_the_pipe_in_both_processes() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&PIPE, &[]);
    let producer = sandbox.producer(&PIPE, &["--count", "2", "--interval", "1h"]);
    consumer.wait_for_stdout("received #0");
    let fifo = sandbox.dir().join(format!("{}.fifo", sandbox.name()));
    for side in [&consumer, &producer] {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", side.pid())).expect("it runs").flatten();
        let shown = descriptors.filter(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == fifo));
        assert_eq!(shown.count(), 1, "{} in /proc/{}/fd", fifo.display(), side.pid());
    }
    producer.signal(Signal::SIGINT);
    producer.end().expect(130);
    consumer.end().expect(0);
}

/// Row 10: a full pipe does not stop a sender that must not block; it goes on, and nothing is lost.
#[test]
fn a_nonblocking_sender_goes_on_at_a_full_pipe() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&PIPE, &["--delay", "5ms", "--quiet", "--json"]);
    let flags = ["--nonblocking", "--interval", "0", "--count", "200", "--size", "1000", "--quiet", "--json"];
    let producer = sandbox.producer(&PIPE, &[&flags[..], &["--capacity", "4096"]].concat());
    let producer = producer.end().expect(0).says("would block: pipe full (4096 B)");
    assert!(producer.number("would_block") > 0);
    consumer.end().expect(0).all_well(200);
}

/// Row 11: a reader that came first waits, without a look at anything, and takes an item when all of it is there.
#[test]
fn a_blocking_receiver_waits_for_all_of_an_item_and_uses_no_cpu() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&PIPE, &["--json"]);
    consumer.wait_for_stderr("waiting for a producer");
    let before = consumer.usage();
    // Time itself is the subject here.
    std::thread::sleep(Duration::from_secs(1));
    let after = consumer.usage();
    assert!(after.cpu - before.cpu <= Duration::from_millis(10), "{before:?} {after:?}");
    assert!(after.switches - before.switches < 20, "{before:?} {after:?}");
    // A MiB goes through a pipe of 4 KiB in hundreds of pieces, and comes as one item.
    let args = ["--count", "3", "--size", "1MiB", "--capacity", "4096", "--interval", "0"];
    sandbox.producer(&PIPE, &args).end().expect(0).says("blocked");
    let ended = consumer.end().expect(0);
    assert_eq!(ended.stdout.matches("  1048576 B  ").count(), 3, "{}", ended.stdout);
    ended.all_well(3);
}

/// Row 12: an empty pipe answers a receiver that must not block with a null message.
#[test]
fn a_nonblocking_receiver_gets_a_null_message_or_an_item() {
    let sandbox = Sandbox::new();
    let producer = sandbox.producer(&PIPE, &["--count", "3", "--interval", "100ms", "--quiet"]);
    let ended = sandbox.consumer(&PIPE, &["--nonblocking", "--json"]).end().expect(0);
    assert!(ended.number("would_block") > 0);
    ended.says("null message: pipe empty").all_well(3);
    producer.end().expect(0);
}

/// All four pairs of blocking and non-blocking sides work, with the same flag, at a full pipe and at an empty one.
#[test]
fn two_by_two() {
    let flag = |given: bool| if given { &["--nonblocking"][..] } else { &[] };
    for (sender, receiver) in [(false, false), (false, true), (true, false), (true, true)] {
        // A slow consumer, and a slow producer.
        let full = ["--interval", "0", "--count", "50", "--size", "1000", "--capacity", "4096"];
        for (produce, delay, items) in
            [(&full[..], "5ms", 50), (&["--interval", "100ms", "--count", "3"][..], "0", 3)]
        {
            let sandbox = Sandbox::new();
            let args = ["--delay", delay, "--quiet", "--json"];
            let consumer = sandbox.consumer(&PIPE, &[&args[..], flag(receiver)].concat());
            let args = [produce, &["--quiet", "--json"], flag(sender)].concat();
            let producer = sandbox.producer(&PIPE, &args).end().expect(0);
            let consumer = consumer.end().expect(0);
            let (waits, may_not) = if delay == "0" { (&consumer, receiver) } else { (&producer, sender) };
            assert_eq!(waits.number("would_block") > 0, may_not, "{}", waits.json());
            assert!(waits.number("blocked") > 0, "{}", waits.json());
            consumer.all_well(items);
        }
    }
}

/// Row 13: each side tells which end it keeps and which it has closed, and the kernel says the same.
#[test]
fn parent_and_child_each_keep_one_end() {
    let sandbox = Sandbox::new();
    let process = parent(&sandbox, &["--count", "2", "--interval", "1h"]);
    process
        .wait_for_stdout("received #0")
        .wait_for_stderr("the read end\n")
        .wait_for_stderr("the write end\n");
    let said = process.stderr();
    let tell = |line: &str| said.lines().find(|l| l.starts_with(line)).expect("a line").to_owned();
    let (of_parent, of_child) = (tell("parent "), tell("child "));
    assert!(
        of_parent.contains("keeps the write end") && of_parent.contains("has closed the read end"),
        "{said}"
    );
    assert!(
        of_child.contains("keeps the read end (descriptor 0)")
            && of_child.contains("has closed the write end")
    );
    let nth = |line: &str, before: &str| {
        let rest = line.split_once(before).expect("a number").1;
        rest.split([' ', ')']).next().expect("a word").to_owned()
    };
    let (child, descriptor) = (nth(&of_child, "child "), nth(&of_parent, "(descriptor "));
    assert_ne!(child, process.pid().to_string(), "the child speaks for itself");
    // The same pipe: /proc shows its inode on both sides.
    let shown = |pid: &str, fd: &str| fs::read_link(format!("/proc/{pid}/fd/{fd}")).expect("it runs");
    let pipe = shown(&child, "0");
    assert!(pipe.to_string_lossy().starts_with("pipe:["));
    assert_eq!(shown(&process.pid().to_string(), &descriptor), pipe);
    process.signal(Signal::SIGINT);
    process.end().expect(130);
}

/// Row 13: a forgotten write end means no end-of-file; only `--timeout` ends the wait. Without the switch it ends.
#[test]
fn a_forgotten_write_end_means_no_end_of_file() {
    let sandbox = Sandbox::new();
    let args = ["--count", "2", "--interval", "0", "--timeout", "1s"];
    let process = parent(&sandbox, &[&args[..], &["--leak-write-end"]].concat());
    let ended = process.end().expect(3).says("that it never closes (drop --leak-write-end)");
    let child = word(&ended, "child ", "child ");
    let named =
        format!("no end-of-file: pid {child} (this process) still holds a write end (drop --leak-write-end)");
    let ended = ended.says(&named).says("--timeout");
    assert!(ended.stdout.contains("received #1"), "all items came: {}", ended.stdout);
    let ended = parent(&sandbox, &args).end().expect(0);
    assert!(!ended.stderr.contains("end-of-file"), "{}", ended.stderr);
}

/// Row 14: a reply comes back for every item, through a second pipe.
#[test]
fn two_way_takes_two_pipes() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&PIPE, &["--duplex", "--json", "--quiet"]);
    consumer.wait_for_stderr("waiting for a producer");
    let producer = sandbox.producer(&PIPE, &["--duplex", "--count", "100", "--interval", "1ms"]);
    producer.wait_for_stdout("reply: 96 B came");
    for kind in ["fifo", "back"] {
        assert!(sandbox.dir().join(format!("{}.{kind}", sandbox.name())).exists(), "{kind}");
    }
    let ended = producer.end().expect(0);
    assert_eq!(ended.stdout.matches("reply: 96 B").count(), 100);
    consumer.end().expect(0).all_well(100);
}

/// Row 15: both are in read(2), each tells whom it waits for, and only `--timeout` ends it, on either side.
#[test]
fn who_reads_first_on_both_sides_waits_for_ever() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&PIPE, &["--duplex", "--deadlock", "--timeout", "4s"]);
    let producer = sandbox.producer(&PIPE, &["--duplex", "--deadlock"]);
    let said = "deadlock: both sides are in read(); nobody is left to write (drop --deadlock): this process waits for";
    producer.wait_for_stderr(&format!("{said} a reply from {}, which waits for an item", consumer.pid()));
    consumer.wait_for_stderr(&format!("{said} an item from {}, which waits for a reply", producer.pid()));
    // /proc/PID/syscall begins with the number of the call that the main thread sleeps in, where it may be read.
    let read = if cfg!(target_arch = "x86_64") { "0 " } else { "63 " };
    for side in [&producer, &consumer] {
        let deadline = Instant::now() + Duration::from_secs(2);
        while let Ok(call) = fs::read_to_string(format!("/proc/{}/syscall", side.pid()))
            && !call.starts_with(read)
        {
            assert!(Instant::now() < deadline, "it is not in read(): {call}");
            std::thread::yield_now();
        }
    }
    consumer.end().expect(3).says("--timeout");
    // The producer is released by its reader's end, not by an item.
    let ended = producer.end().expect(3);
    assert!(!ended.stdout.contains("sent #0"), "{ended:?}");

    let consumer = sandbox.consumer(&PIPE, &["--duplex", "--deadlock"]);
    let producer = sandbox.producer(&PIPE, &["--duplex", "--deadlock", "--timeout", "1s"]);
    producer.end().expect(3).says("--timeout");
    consumer.wait_for_stderr("deadlock: ").signal(Signal::SIGINT);
    consumer.end();
    // The switch alone is no deadlock: what matters is who reads first.
    let consumer = sandbox.consumer(&PIPE, &["--duplex", "--deadlock", "--json", "--quiet"]);
    sandbox.producer(&PIPE, &["--duplex", "--count", "3", "--interval", "200ms"]).end().expect(0);
    let ended = consumer.end().expect(0);
    assert!(!ended.stderr.contains("deadlock"), "{}", ended.stderr);
    ended.all_well(3);
}

/// Row 16: what a pipe holds is set by the producer, and a full one says so.
#[test]
fn a_pipe_has_a_capacity() {
    for (capacity, holds) in [("4096", "4096 B"), ("128KiB", "131072 B")] {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&PIPE, &["--delay", "1h"]);
        let args = ["--capacity", capacity, "--count", "0", "--interval", "0", "--quiet"];
        let producer = sandbox.producer(&PIPE, &args);
        producer.wait_for_stderr(&format!("blocked: pipe full ({holds})")).signal(Signal::SIGINT);
        producer.end().expect(130);
        consumer.signal(Signal::SIGINT);
        consumer.end().expect(130);
    }
}

/// Row 16: of four producers whose frames are over PIPE_BUF three are refused, and the first is unharmed.
#[test]
fn four_writers_of_long_frames_are_refused() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&PIPE, &["--json", "--quiet"]);
    let first = sandbox.producer(&PIPE, &["--count", "0", "--size", "5000", "--interval", "1ms"]);
    first.wait_for_stdout("sent #0");
    for _ in 0..3 {
        sandbox.producer(&PIPE, &["--size", "5000"]).end().expect(1).says("PIPE_BUF");
    }
    first.signal(Signal::SIGINT);
    let items = first.end().expect(130).stdout.matches("sent #").count();
    consumer.end().expect(0).all_well(items as u64);
}

/// Row 16: with `--allow-torn` they all write, and real writes tear real items. Chance decides when.
#[test]
fn long_frames_of_four_writers_are_torn_if_that_is_allowed() {
    let deadline = Instant::now() + SOON;
    let mut tries = 0;
    loop {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&PIPE, &["--allow-torn", "--json", "--quiet"]);
        consumer.wait_for_stderr("waiting for a producer");
        let args = ["--allow-torn", "--count", "3000", "--size", "6000", "--interval", "0", "--quiet"];
        let writers: Vec<_> = (0..4).map(|_| sandbox.producer(&PIPE, &args)).collect();
        for writer in writers {
            writer.end().expect(0);
        }
        let ended = consumer.end();
        if ended.number("torn") > 0 {
            assert!(ended.number("corrupted") > 0, "{}", ended.json());
            ended.expect(4).says("writes over PIPE_BUF were mixed (drop --allow-torn)");
            break;
        }
        tries += 1;
        ended.says("every header was in its place this time");
        assert!(Instant::now() < deadline, "nothing was torn in {tries} runs");
    }
    // One writer alone tears nothing, and is told so.
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&PIPE, &["--allow-torn", "--json", "--quiet"]);
    let args = ["--allow-torn", "--count", "100", "--size", "6000", "--interval", "0", "--quiet"];
    sandbox.producer(&PIPE, &args).end().expect(0);
    consumer.end().expect(0).says("every header was in its place this time").all_well(100);
}
