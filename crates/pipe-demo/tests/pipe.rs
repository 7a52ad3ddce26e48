//! What only a pipe does.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::testkit::{Pair, Process, SOON, Sandbox};
use nix::sys::signal::Signal;

const PIPE: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_pipe-producer"),
    consumer: env!("CARGO_BIN_EXE_pipe-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};

const FAST: [&str; 4] = ["--interval", "0", "--quiet", "--json"];

fn parent(sandbox: &Sandbox, args: &[&str]) -> Process {
    let mut command = sandbox.command(PIPE.producer);
    command.arg("--anonymous").args(args);
    Process::spawn(command)
}

#[test]
fn parent_and_child_over_an_unnamed_pipe() {
    let sandbox = Sandbox::new();
    let ended =
        parent(&sandbox, &["--count", "100000", "--interval", "0", "--quiet", "--json"]).end().expect(0);
    let objects: Vec<serde_json::Value> =
        ended.stdout.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    let [child, parent] = &objects[..] else { panic!("two objects: {}", ended.stdout) };
    assert_eq!(
        (&child["role"], &child["items"], &child["lost"]),
        (&"consumer".into(), &100_000.into(), &0.into())
    );
    assert_eq!((&parent["role"], &parent["items"]), (&"producer".into(), &100_000.into()));
    assert_eq!(parent["variant"], "anonymous");
}

#[test]
fn standard_input_to_standard_output_through_the_child() {
    let mut sandbox = Sandbox::new();
    let from = sandbox.file("from");
    fs::write(&from, "one\ntwo\nthree without an end".repeat(1000)).expect("write");
    for lines in [&["--size", "5000"][..], &["--lines", "--json"]] {
        let mut command = sandbox.command(PIPE.producer);
        command.args(["--anonymous", "--input", "-", "--output", "-"]).args(lines);
        command.stdin(fs::File::open(&from).expect("open")).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ended = Process::follow(command).end().expect(0);
        assert_eq!(ended.stdout, fs::read_to_string(&from).expect("read"));
    }
}

#[test]
fn the_parent_ends_with_the_worse_status_and_takes_its_child_along() {
    let sandbox = Sandbox::new();
    // The child cannot write: status 1, and the parent finds its reader gone (3, which is worse).
    let ended =
        parent(&sandbox, &["--count", "0", "--interval", "0", "--quiet", "--output", "/dev/full"]).end();
    ended.expect(3).says("/dev/full");
    let ended = parent(&sandbox, &["--count", "3", "--interval", "0", "--output", "/no/such/file"]).end();
    assert!(ended.code == 1 || ended.code == 3, "{ended:?}");

    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let process = parent(&sandbox, &["--count", "0", "--interval", "0", "--quiet", "--delay", "1h"]);
        process.wait_for_stderr("blocked: pipe full");
        process.signal(signal);
        let ended = process.end_within(Duration::from_secs(2)).expect(code);
        let child =
            ended.stderr.split("child ").nth(1).and_then(|t| t.split(' ').next()).expect("the child's pid");
        assert!(!fs::exists(format!("/proc/{child}/fd")).expect("look"), "child {child} still runs");
    }
}

#[test]
fn a_second_reader_is_refused_and_the_first_goes_on() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&PIPE, &["--json", "--quiet"]);
    consumer.wait_for_stderr("waiting for a producer");
    sandbox.consumer(&PIPE, &[]).end().expect(1).says("in use");
    let producer = sandbox.producer(&PIPE, &["--count", "1000", "--interval", "1ms"]);
    sandbox.consumer(&PIPE, &[]).end().expect(1).says("in use");
    producer.end().expect(0);
    consumer.end().expect(0).all_well(1000);
}

#[test]
fn writers_of_atomic_frames_share_a_pipe_and_one_of_longer_ones_does_not() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&PIPE, &["--json", "--quiet"]);
    consumer.wait_for_stderr("waiting for a producer");
    // Keeps the pipe open while the others come and go.
    let slow = sandbox.producer(&PIPE, &["--count", "0", "--interval", "10ms", "--json"]);
    slow.wait_for_stdout("sent #0");
    let writers: Vec<_> = (0..3)
        .map(|_| sandbox.producer(&PIPE, &[&["--count", "10000", "--size", "4056"][..], &FAST].concat()))
        .collect();
    for writer in writers {
        writer.end().expect(0);
    }
    sandbox
        .producer(&PIPE, &[&["--count", "3", "--size", "4057"][..], &FAST].concat())
        .end()
        .expect(1)
        .says("PIPE_BUF");
    slow.signal(Signal::SIGINT);
    let slow = slow.end().expect(130).number("items");
    consumer.end().expect(0).all_well(30_000 + slow);

    let consumer = sandbox.consumer(&PIPE, &["--json", "--quiet"]);
    let long = sandbox.producer(&PIPE, &["--count", "0", "--interval", "10ms", "--size", "5000", "--json"]);
    long.wait_for_stdout("sent #0");
    for size in ["5000", "64"] {
        sandbox
            .producer(&PIPE, &[&["--count", "3", "--size", size][..], &FAST].concat())
            .end()
            .expect(1)
            .says("in use");
    }
    long.signal(Signal::SIGINT);
    let long = long.end().expect(130).number("items");
    consumer.end().expect(0).all_well(long);
}

#[test]
fn a_reader_that_is_killed_ends_its_writers() {
    let sandbox = Sandbox::new();
    for interval in ["0", "1ms"] {
        let consumer = sandbox.consumer(&PIPE, &["--quiet"]);
        let producer = sandbox.producer(&PIPE, &["--count", "0", "--interval", interval, "--json"]);
        producer.wait_for_stdout("sent #100");
        consumer.signal(Signal::SIGKILL);
        let ended = producer.end().expect(3).says("which had taken");
        assert!(ended.number("items") > 100);
        consumer.end().expect(137);
    }
    // Both are gone, one of them without a chance to clean up: that is the next one's affair.
    let producer = sandbox.producer(&PIPE, &["--count", "0", "--interval", "1ms"]);
    let consumer = sandbox.consumer(&PIPE, &[]);
    consumer.wait_for_stdout("received #10");
    producer.signal(Signal::SIGKILL);
    consumer.signal(Signal::SIGKILL);
    producer.end().expect(137);
    consumer.end().expect(137);
    assert!(!sandbox.left().is_empty(), "the dead leave their names");
    let consumer = sandbox.consumer(&PIPE, &["--json", "--quiet"]);
    let producer = sandbox.producer(&PIPE, &["--count", "10", "--interval", "0"]);
    producer.end().expect(0);
    consumer.end().expect(0).all_well(10);
}

#[test]
fn a_reader_that_had_enough_ends_its_writer() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&PIPE, &["--count", "5", "--json", "--quiet"]);
    let producer = sandbox.producer(&PIPE, &["--count", "0", "--interval", "1ms"]);
    consumer.end().expect(0).all_well(5);
    producer.end().expect(3).says("pipe");
}

#[test]
fn a_writer_that_dies_is_told_from_one_that_ends() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&PIPE, &["--quiet", "--json"]);
    let producer = sandbox.producer(&PIPE, &["--count", "0", "--interval", "1ms"]);
    producer.wait_for_stdout("sent #20");
    producer.signal(Signal::SIGKILL);
    let ended = consumer.end().expect(3).says("without a goodbye");
    assert!(ended.number("items") > 20);

    // One dies beside another that goes on to its goodbye: all is read, then the loss is told.
    let consumer = sandbox.consumer(&PIPE, &["--quiet", "--json"]);
    let other = sandbox.producer(&PIPE, &["--count", "40", "--interval", "20ms"]);
    let producer = sandbox.producer(&PIPE, &["--count", "0", "--interval", "1ms"]);
    producer.wait_for_stdout("sent #20");
    other.wait_for_stdout("sent #0");
    producer.signal(Signal::SIGKILL);
    other.end().expect(0);
    assert!(consumer.end().expect(3).says("without a goodbye").number("items") > 60);

    // In the middle of a frame, which is longer than the pipe and so in it only in part.
    let consumer = sandbox.consumer(&PIPE, &["--delay", "300ms", "--json"]);
    let producer = sandbox.producer(&PIPE, &["--count", "0", "--interval", "0", "--size", "1MiB"]);
    consumer.wait_for_stdout("received #0");
    producer.wait_for_stderr("blocked: pipe full");
    producer.signal(Signal::SIGKILL);
    consumer.end().expect(4).says("truncated after");
}

#[test]
fn a_stranger_who_opens_and_closes_the_fifo_is_no_producer() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&PIPE, &["--json", "--quiet"]);
    consumer.wait_for_stderr("waiting for a producer");
    let fifo = sandbox.dir().join(format!("{}.fifo", sandbox.name()));
    for _ in 0..3 {
        drop(fs::OpenOptions::new().write(true).open(&fifo).expect("open the FIFO"));
    }
    let producer = sandbox.producer(&PIPE, &["--count", "10", "--interval", "0"]);
    producer.end().expect(0);
    consumer.end().expect(0).all_well(10);

    let consumer = sandbox.consumer(&PIPE, &["--json", "--quiet"]);
    consumer.wait_for_stderr("waiting for a producer");
    fs::write(&fifo, "GET / HTTP/1.1\r\n\r\n").expect("write to the FIFO");
    consumer.end().expect(4).says("do both sides run the same program");
}

#[test]
fn a_stream_does_not_run_into_the_next_reader() {
    for how in [Signal::SIGKILL, Signal::SIGINT] {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&PIPE, &["--quiet", "--json"]);
        let producer = sandbox.producer(&PIPE, &["--count", "0", "--interval", "0", "--quiet"]);
        producer.wait_for_stderr("");
        let deadline = Instant::now() + Duration::from_secs(10);
        while consumer.usage().cpu.is_zero() {
            assert!(Instant::now() < deadline, "no stream");
            std::thread::yield_now();
        }
        // It notices nothing of what follows.
        producer.signal(Signal::SIGSTOP);
        while !producer.is_stopped() {
            std::thread::yield_now();
        }
        consumer.signal(how);
        consumer.end();
        let next = sandbox.consumer(&PIPE, &["--json"]);
        next.wait_for_stderr("waiting for a producer");
        producer.signal(Signal::SIGCONT);
        producer.end().expect(3).says("write to the pipe, which had taken");
        sandbox.producer(&PIPE, &["--count", "2", "--interval", "0"]).end().expect(0);
        next.end().expect(0).all_well(2);
    }
}

#[test]
fn who_floods_the_pipe_with_greetings_keeps_nobody() {
    let sandbox = Sandbox::new();
    let fifo = sandbox.dir().join(format!("{}.fifo", sandbox.name()));
    // HELLO and GOODBYE, as often as fits into a write.
    let greetings = b"\x08\0\0\0\x03\0\0\0ipcpipe1\0\0\0\0\x02\0\0\0".repeat(2000);
    for (args, signal, code) in [(&["--timeout", "300ms"][..], None, 3), (&[], Some(Signal::SIGINT), 130)] {
        let consumer = sandbox.consumer(&PIPE, args);
        consumer.wait_for_stderr("waiting for a producer");
        let greetings = greetings.clone();
        let mut pipe = fs::OpenOptions::new().write(true).open(&fifo).expect("open the FIFO");
        let flood = std::thread::spawn(move || while pipe.write_all(&greetings).is_ok() {});
        if let Some(signal) = signal {
            consumer.wait_for_stderr("blocked");
            consumer.signal(signal);
        }
        consumer.end_within(SOON).expect(code);
        flood.join().expect("the flood ends with its reader");
    }
}

#[test]
fn forever_stays_for_the_next_producer() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&PIPE, &["--forever", "--json"]);
    for round in 1..=3 {
        sandbox.producer(&PIPE, &["--count", "2", "--interval", "0"]).end().expect(0);
        let deadline = Instant::now() + Duration::from_secs(10);
        while consumer.stdout().matches("received #1").count() < round {
            assert!(Instant::now() < deadline, "round {round}: {}", consumer.stdout());
            std::thread::yield_now();
        }
    }
    consumer.signal(Signal::SIGINT);
    consumer.end().expect(130).all_well(6);
}

#[test]
fn capacity_is_the_producers_and_has_a_limit() {
    let sandbox = Sandbox::as_nobody();
    for (capacity, holds) in [("4096", "4096 B"), ("256KiB", "262144 B")] {
        let consumer = sandbox.consumer(&PIPE, &["--delay", "1h"]);
        let producer =
            sandbox.producer(&PIPE, &["--capacity", capacity, "--count", "0", "--interval", "0", "--quiet"]);
        producer.wait_for_stderr(&format!("blocked: pipe full ({holds})"));
        producer.signal(Signal::SIGINT);
        producer.end().expect(130);
        consumer.signal(Signal::SIGINT);
        consumer.end().expect(130);
    }
    let consumer = sandbox.consumer(&PIPE, &[]);
    let producer = sandbox.producer(&PIPE, &["--capacity", "512MiB"]);
    producer.end().expect(1).says("pipe-max-size");
    consumer.signal(Signal::SIGINT);
    consumer.end().expect(130);
}

#[test]
fn what_is_not_our_fifo_is_left_alone() {
    let mut sandbox = Sandbox::new();
    let name = format!("{}.fifo", sandbox.name());
    let (path, target) = (sandbox.file(&name), sandbox.file("target"));
    fs::write(&target, "precious").expect("write");
    for plant in ["file", "link", "open FIFO"] {
        match plant {
            "file" => fs::write(&path, "precious").expect("write"),
            "link" => std::os::unix::fs::symlink(&target, &path).expect("link"),
            _ => {
                // Somebody is attached, or it would be made anew; and others may write to it.
                let consumer = sandbox.consumer(&PIPE, &[]);
                consumer.wait_for_stderr("waiting for a producer");
                fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).expect("chmod");
                sandbox.producer(&PIPE, &[]).end().expect(1).says("not a private object");
                consumer.signal(Signal::SIGTERM);
                consumer.end();
                continue;
            }
        }
        sandbox.consumer(&PIPE, &[]).end().expect(1).says("is no FIFO");
        sandbox.producer(&PIPE, &[]).end().expect(1).says("is no FIFO");
        assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
        fs::remove_file(&path).expect("remove");
    }
}

#[test]
fn a_shell_pipeline_moves_a_large_file_in_little_memory() {
    let sandbox = Sandbox::new();
    let (mut source, mut sink) = (sandbox.command(PIPE.producer), sandbox.command(PIPE.consumer));
    source.args(["--name", sandbox.name(), "--input", "-", "--size", "64KiB", "--quiet", "--json"]);
    sink.args(["--name", sandbox.name(), "--output", "-", "--json"]);
    let mut from =
        Command::new("head").args(["-c", "256M", "/dev/zero"]).stdout(Stdio::piped()).spawn().expect("head");
    source.stdin(from.stdout.take().expect("piped")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let source = Process::follow(source);
    let mut to =
        Command::new("wc").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("wc");
    sink.stdout(to.stdin.take().expect("piped")).stderr(Stdio::piped());
    let mut sink = Process::follow(sink);
    let mut most = 0;
    while sink.is_running() {
        most = most.max(sink.private_kib()).max(source.private_kib());
        std::thread::yield_now();
    }
    assert!(most < 32 * 1024, "{most} KiB");
    from.wait().expect("head");
    source.end().expect(0);
    let sink = sink.end().expect(0);
    let counted = to.wait_with_output().expect("wc").stdout;
    assert_eq!(String::from_utf8_lossy(&counted).trim(), (256u64 << 20).to_string());
    let json: serde_json::Value =
        serde_json::from_str(sink.stderr.lines().last().expect("a line")).expect("JSON");
    assert_eq!((&json["items"], &json["lost"]), (&4096.into(), &0.into()));
}
