//! Frames that travel together: that they do, that nobody waits for one in vain, and that the count stays true.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use common::testkit::{Pair, Process, Sandbox};
use nix::sys::signal::Signal;

const PIPE: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_pipe-producer"),
    consumer: env!("CARGO_BIN_EXE_pipe-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};

const JSON: [&str; 2] = ["--quiet", "--json"];

/// How many writes it took the producer to send so many items.
fn writes(both: &[&str], producer: &[&str], items: u64) -> u64 {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&PIPE, &[&JSON[..], both].concat());
    consumer.wait_for_stderr("waiting for a producer");
    let count = items.to_string();
    let producer = sandbox.producer(&PIPE, &[&JSON[..], both, producer, &["--count", &count]].concat());
    let ended = producer.end().expect(0);
    assert_eq!(ended.number("items"), items);
    consumer.end().expect(0).all_well(items);
    ended.number("writes")
}

#[test]
fn at_full_speed_items_share_a_write_and_without_batches_each_has_its_own() {
    // However often this process has to wait for the CPU: never one write for each.
    let batched = writes(&[], &["--interval", "0"], 50_000);
    assert!((50_000 / 39..25_000).contains(&batched), "{batched}");
    assert_eq!(writes(&[], &["--interval", "0", "--unbatched"], 50_000), 50_000);
}

#[test]
fn an_item_that_is_waited_for_is_written_at_once() {
    assert_eq!(writes(&[], &["--interval", "1us"], 500), 500);
    assert_eq!(writes(&["--duplex"], &["--interval", "0"], 500), 500);
    // Frames that do not fit into a batch: one goes by one, or by more, but never with another.
    assert_eq!(writes(&[], &["--interval", "0", "--size", "4057"], 500), 500);
}

#[test]
fn what_was_read_is_sent_before_more_is_read() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&PIPE, &["--json"]);
    let (input, mut typed) = std::io::pipe().expect("pipe");
    let mut command = sandbox.command(PIPE.producer);
    command.args(["--name", sandbox.name(), "--input", "-", "--lines", "--json"]);
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    let producer = Process::follow(command);
    let mut lines = 0;
    for _ in 0..20 {
        // Three at once, and then nothing: the last one must not lie about.
        typed.write_all(b"one\ntwo\nthree\n").expect("it reads");
        lines += 3;
        consumer.wait_for_stdout(&format!("received #{}  ", lines - 1));
    }
    drop(typed);
    producer.end().expect(0);
    consumer.end().expect(0).all_well(lines);
}

#[test]
fn what_comes_before_an_error_in_the_input_is_sent() {
    let mut sandbox = Sandbox::new();
    let from = sandbox.file("from");
    fs::write(&from, "short\n".repeat(100) + "much too long\n").expect("write the file");
    let consumer = sandbox.consumer(&PIPE, &["--quiet", "--json"]);
    let from = from.to_str().expect("UTF-8");
    let producer = sandbox.producer(&PIPE, &["--input", from, "--lines", "--size", "8", "--json"]);
    let ended = producer.end().expect(1).says("give a larger --size");
    assert_eq!((ended.number("items"), ended.stdout.matches("sent #").count()), (100, 100));
    assert_eq!(consumer.end().expect(3).number("items"), 100);
}

#[test]
fn what_is_gathered_is_not_counted_until_the_pipe_has_it() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&PIPE, &JSON);
        let producer = sandbox.producer(&PIPE, &["--count", "0", "--interval", "0", "--json"]);
        producer.wait_for_stdout("sent #100");
        consumer.signal(Signal::SIGSTOP);
        producer.wait_for_stderr("blocked: pipe full");
        producer.signal(signal);
        let ended = producer.end().expect(128 + signal as i32);
        consumer.signal(Signal::SIGCONT);
        let sent = ended.number("items");
        assert_eq!(ended.stdout.matches("sent #").count() as u64, sent);
        // No room for the goodbye; every item that was counted arrives, and no other.
        let consumer = consumer.end().expect(3).says("without a goodbye");
        assert_eq!(consumer.number("items"), sent);
    }
}
