//! Items that travel together: that they do, that nobody waits for one in vain, and that the count stays true.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use common::testkit::{Pair, Process, Sandbox};
use nix::sys::signal::Signal;

const UNIX: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_socket-producer"),
    consumer: env!("CARGO_BIN_EXE_socket-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};
const ABSTRACT: Pair = Pair { both: &["--transport", "abstract"], ..UNIX };
const TCP: Pair = Pair { both: &["--transport", "tcp", "--addr", "127.0.0.1:{port}"], ..UNIX };
const SEQPACKET: Pair = Pair { both: &["--transport", "seqpacket"], ..UNIX };
const STREAMS: [Pair; 3] = [UNIX, ABSTRACT, TCP];

const JSON: [&str; 2] = ["--quiet", "--json"];

/// How many writes it took the producer to send so many items.
fn writes(pair: &Pair, producer: &[&str], items: u64) -> u64 {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(pair, &JSON);
    consumer.wait_for_stderr("waiting for a producer");
    let count = items.to_string();
    let producer = sandbox.producer(pair, &[&JSON[..], producer, &["--count", &count]].concat());
    let ended = producer.end().expect(0);
    assert_eq!(ended.number("items"), items);
    consumer.end().expect(0).all_well(items);
    ended.number("writes")
}

#[test]
fn at_full_speed_items_share_a_write_and_without_batches_each_has_its_own() {
    for pair in STREAMS {
        // However often this process has to wait for the CPU, and the socket is full: never one write for each.
        let batched = writes(&pair, &["--interval", "0"], 50_000);
        assert!((50_000 / 200..25_000).contains(&batched), "{batched}");
        assert_eq!(writes(&pair, &["--interval", "0", "--unbatched"], 10_000), 10_000);
    }
    // A packet is one item.
    assert_eq!(writes(&SEQPACKET, &["--interval", "0"], 10_000), 10_000);
}

#[test]
fn items_of_all_sizes_travel_together() {
    for pair in STREAMS {
        for size in ["0", "5000", "16343", "16344", "16352", "100000", "1MiB"] {
            assert!(writes(&pair, &["--interval", "0", "--size", size], 300) > 0);
        }
    }
}

#[test]
fn an_item_after_a_pause_is_written_at_once() {
    for pair in STREAMS {
        assert_eq!(writes(&pair, &["--interval", "1us"], 500), 500);
    }
}

#[test]
fn what_was_read_is_sent_before_more_is_read() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&UNIX, &["--json"]);
    let (input, mut typed) = std::io::pipe().expect("pipe");
    let mut command = sandbox.command(UNIX.producer);
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
    let consumer = sandbox.consumer(&UNIX, &JSON);
    let from = from.to_str().expect("UTF-8");
    let producer = sandbox.producer(&UNIX, &["--input", from, "--lines", "--size", "8", "--json"]);
    let ended = producer.end().expect(1).says("give a larger --size");
    assert_eq!((ended.number("items"), ended.stdout.matches("sent #").count()), (100, 100));
    assert_eq!(consumer.end().expect(3).number("items"), 100);
}

#[test]
fn what_is_gathered_is_not_counted_until_the_socket_has_it() {
    for pair in STREAMS {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &JSON);
        let producer = sandbox.producer(&pair, &["--count", "0", "--interval", "0", "--json"]);
        producer.wait_for_stdout("sent #100");
        consumer.signal(Signal::SIGSTOP);
        producer.wait_for_stderr("blocked: socket full");
        producer.signal(Signal::SIGINT);
        let ended = producer.end().expect(130);
        consumer.signal(Signal::SIGCONT);
        let sent = ended.number("items");
        assert_eq!(ended.stdout.matches("sent #").count() as u64, sent);
        // No room for the goodbye, or a frame was cut; every item that was counted arrives, and no other.
        let consumer = consumer.end();
        assert!([0, 3, 4].contains(&consumer.code), "{consumer:?}");
        assert_eq!(consumer.number("items"), sent, "{consumer:?}");
    }
}

#[test]
fn a_consumer_that_leaves_says_how_much_it_took_of_what_was_handed_over() {
    for pair in STREAMS {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &[&JSON[..], &["--count", "1000"]].concat());
        let producer = sandbox.producer(&pair, &[&JSON[..], &["--count", "0", "--interval", "0"]].concat());
        consumer.end().expect(0).all_well(1000);
        let ended = producer.end().expect(3).says("it took 1000 of them");
        let handed_over = ended.number("items");
        assert!(handed_over >= 1000);
        ended.says(&format!("{handed_over} items were handed over"));
    }
}
