//! What every pair promises, as tests over its real binaries. `contract_tests!` makes them of a [`Pair`].

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Pair, Sandbox};

/// The tests that every pair passes in every variant: `contract_tests!(module, PAIR)`.
#[macro_export]
macro_rules! contract_tests {
    ($module:ident, $pair:expr) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;
            use $crate::testkit::contract;

            #[test]
            fn a_hundred_thousand_items_consumer_first() {
                contract::many_items(&$pair, true);
            }
            #[test]
            fn a_hundred_thousand_items_producer_first() {
                contract::many_items(&$pair, false);
            }
            #[test]
            fn a_file_comes_out_as_it_went_in() {
                contract::file(&$pair);
            }
            #[test]
            fn a_line_that_is_too_long_ends_a_running_stream_with_1() {
                contract::line_too_long(&$pair);
            }
            #[test]
            fn a_consumer_that_waits_for_a_producer_can_be_ended() {
                contract::ended_while_waiting_for_a_producer(&$pair);
            }
            #[test]
            fn a_consumer_that_waits_for_an_item_can_be_ended() {
                contract::ended_while_empty(&$pair);
            }
            #[test]
            fn a_producer_that_waits_for_room_or_a_consumer_can_be_ended() {
                contract::ended_while_full(&$pair);
            }
            #[test]
            fn waiting_is_free() {
                contract::waiting_is_free(&$pair);
            }
            #[test]
            fn nobody_came_in_time() {
                contract::timeout(&$pair);
            }
            #[test]
            fn wrong_usage_creates_nothing() {
                contract::wrong_usage(&$pair);
            }
            #[test]
            fn an_ordinary_user_can_run_it() {
                contract::ordinary_user(&$pair);
            }
            #[test]
            fn nonblocking_sides_report_and_go_on() {
                contract::nonblocking(&$pair);
            }
            #[test]
            fn what_was_received_is_written_when_the_end_comes_early() {
                contract::output_at_the_end(&$pair);
            }
            #[test]
            fn closed_output_is_no_panic() {
                contract::closed_output(&$pair);
            }
        }
    };
}

/// A hundred thousand items at full speed, in one start order.
pub fn many_items(pair: &Pair, consumer_first: bool) {
    let sandbox = Sandbox::new();
    let consumer_args = ["--quiet", "--json"];
    let producer_args = ["--count", "100000", "--interval", "0", "--quiet", "--json"];
    let (consumer, producer);
    if consumer_first {
        consumer = sandbox.consumer(pair, &consumer_args);
        consumer.wait_for_stderr("waiting for a producer");
        producer = sandbox.producer(pair, &producer_args);
    } else {
        producer = sandbox.producer(pair, &producer_args);
        producer.wait_for_stderr("consumer");
        consumer = sandbox.consumer(pair, &consumer_args);
    }
    let consumer = consumer.end().expect(0);
    let producer = producer.end().expect(0);
    consumer.all_well(100_000);
    assert_eq!(producer.number("items"), 100_000);
    assert_eq!(producer.number("bytes"), 6_400_000);
}

/// A few MiB through `--input` and `--output`, in chunks and in lines.
pub fn file(pair: &Pair) {
    let mut sandbox = Sandbox::new();
    let (from, to) = (sandbox.file("from"), sandbox.file("to"));
    // No period that a chunk could have, and lines of all lengths up to 300.
    let bytes: Vec<u8> = (0..3_000_001u64)
        .map(|i| if (i * i / 300) % 251 == 10 { b'\n' } else { (i.wrapping_mul(0x9E37_79B9) >> 16) as u8 })
        .collect();
    std::fs::write(&from, &bytes).expect("write the file");
    let (from, to) = (from.to_str().expect("UTF-8"), to.to_str().expect("UTF-8"));
    for chunks in [&["--size", "3000"][..], &["--lines"]] {
        let consumer = sandbox.consumer(pair, &["--quiet", "--output", to]);
        let mut args = vec!["--quiet", "--input", from];
        args.extend_from_slice(chunks);
        let producer = sandbox.producer(pair, &args);
        producer.end().expect(0);
        consumer.end().expect(0);
        assert!(std::fs::read(to).expect("read the copy") == bytes, "{chunks:?}: the copy differs");
    }
}

/// A line over `--size` is found when others have been sent already: no wrong usage any more.
pub fn line_too_long(pair: &Pair) {
    let mut sandbox = Sandbox::new();
    let from = sandbox.file("from");
    std::fs::write(&from, "short\nmuch too long\nshort\n").expect("write the file");
    let consumer = sandbox.consumer(pair, &["--json"]);
    consumer.wait_for_stderr("waiting for a producer");
    let from = from.to_str().expect("UTF-8");
    let producer = sandbox.producer(pair, &["--input", from, "--lines", "--size", "8", "--json"]);
    let producer = producer.end().expect(1).says("give a larger --size");
    assert_eq!(producer.number("items"), 1);
    // What was sent arrives; that it was not all is no secret.
    assert_eq!(consumer.end().expect(3).number("items"), 1);
}

const ENDINGS: [(Signal, i32); 3] = [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)];
/// Within which a signal ends a process. The contract says a second; a loaded machine is given another.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Every signal ends a consumer for which no producer has come.
pub fn ended_while_waiting_for_a_producer(pair: &Pair) {
    for (signal, code) in ENDINGS {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(pair, &["--json"]);
        consumer.wait_for_stderr("waiting for a producer");
        consumer.signal(signal);
        let ended = consumer.end_within(AT_ONCE).expect(code);
        assert_eq!(ended.number("items"), 0);
    }
}

/// Every signal ends a consumer that has taken all there was, and the producer that idles beside it.
pub fn ended_while_empty(pair: &Pair) {
    for (signal, code) in ENDINGS {
        let sandbox = Sandbox::new();
        let producer = sandbox.producer(pair, &["--interval", "1h", "--count", "2"]);
        let consumer = sandbox.consumer(pair, &["--json"]);
        consumer.wait_for_stdout("received #0").wait_for_stderr("blocked");
        consumer.signal(signal);
        let ended = consumer.end_within(AT_ONCE).expect(code);
        assert_eq!(ended.number("items"), 1);
        producer.signal(signal);
        let ended = producer.end_within(AT_ONCE);
        // Its consumer has left, which a producer may have noticed before the signal came.
        assert!(ended.code == code || ended.code == 3, "{} {}", ended.code, ended.stderr);
    }
}

/// Every signal ends a producer whose items nobody takes, first without a consumer, then with a slow one.
pub fn ended_while_full(pair: &Pair) {
    for (signal, code) in ENDINGS {
        let sandbox = Sandbox::new();
        let endless = ["--count", "0", "--interval", "0", "--quiet", "--json", "--size", "1000"];
        let producer = sandbox.producer(pair, &endless);
        producer.wait_for_stderr("consumer");
        producer.signal(signal);
        producer.end_within(AT_ONCE).expect(code).json();
        drop(Remains(&sandbox, pair));

        let sandbox = Sandbox::new();
        let producer = sandbox.producer(pair, &endless);
        let consumer = sandbox.consumer(pair, &["--delay", "1h"]);
        consumer.wait_for_stdout("received #0");
        producer.wait_for_stderr("blocked");
        producer.signal(signal);
        producer.end_within(AT_ONCE).expect(code);
        consumer.signal(signal);
        consumer.end_within(AT_ONCE).expect(code);
        drop(Remains(&sandbox, pair));
    }
}

/// What may be left because it is meant to outlive its makers (queue, mapped file) is taken by a consumer.
struct Remains<'a>(&'a Sandbox, &'a Pair);

impl Drop for Remains<'_> {
    fn drop(&mut self) {
        if !self.0.left().is_empty() {
            self.0.consumer(self.1, &["--quiet"]).end_within(Duration::from_secs(10)).expect(0);
        }
    }
}

/// A process that waits for its peer, or for an item, uses no CPU and hardly wakes up.
pub fn waiting_is_free(pair: &Pair) {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(pair, &[]);
    consumer.wait_for_stderr("waiting for a producer");
    let busy = |process: &super::Process, why: &str| {
        let (before, since) = (process.usage(), Instant::now());
        // Time itself is the subject here.
        std::thread::sleep(Duration::from_secs(2));
        let (after, took) = (process.usage(), since.elapsed().as_secs_f64());
        let switches = (after.switches - before.switches) as f64 / took;
        assert!(switches < 30.0, "{why}: {switches:.0} context switches a second");
        // Half a percent of two seconds is one tick of the clock by which the kernel counts.
        assert!(after.cpu - before.cpu <= Duration::from_millis(10), "{why}: {:?}", after.cpu - before.cpu);
    };
    busy(&consumer, "a consumer without a producer");
    let producer = sandbox.producer(pair, &["--count", "2", "--interval", "4s"]);
    consumer.wait_for_stdout("received #0").wait_for_stderr("blocked");
    busy(&consumer, "a consumer without an item");
    producer.end().expect(0);
    consumer.end().expect(0);
}

/// Without the other side each gives up after `--timeout`, with 3.
pub fn timeout(pair: &Pair) {
    let sandbox = Sandbox::new();
    let since = Instant::now();
    sandbox.consumer(pair, &["--timeout", "300ms"]).end().expect(3).says("--timeout");
    assert!(since.elapsed() >= Duration::from_millis(300));
    let producer = sandbox.producer(pair, &["--interval", "1h", "--count", "2"]);
    let consumer = sandbox.consumer(pair, &["--timeout", "300ms"]);
    consumer.wait_for_stdout("received #0");
    consumer.end().expect(3).says("--timeout");
    producer.signal(Signal::SIGINT).wait_for_stderr("");
    producer.end_within(AT_ONCE);

    // A producer too; where the channel outlives its makers, when it is full.
    let endless = ["--count", "0", "--interval", "0", "--size", "1000", "--quiet", "--timeout", "300ms"];
    let sandbox = Sandbox::new();
    sandbox.producer(pair, &endless).end().expect(3).says("--timeout");
    if !sandbox.left().is_empty() {
        // It gave up without a goodbye, so whoever takes what it left waits for more.
        let ended = sandbox.consumer(pair, &["--quiet", "--timeout", "1s"]).end();
        assert!([0, 3].contains(&ended.code), "{ended:?}");
    }
}

/// Wrong arguments end with 2, and leave no trace.
pub fn wrong_usage(pair: &Pair) {
    let sandbox = Sandbox::new();
    let both: &[&[&str]] = &[
        &["--no-such-flag"],
        &["--name", "a/b"],
        &["--name", ""],
        &["--name", &"x".repeat(300)],
        &["--timeout", "soon"],
        &["--timeout", "-1s"],
        &["--count", "-1"],
        &["--count", "99999999999999999999999"],
        &["surplus"],
    ];
    let producer: &[&[&str]] =
        &[&["--size", "huge"], &["--size", "99GiB"], &["--interval", "5"], &["--lines"]];
    let consumer: &[&[&str]] = &[&["--delay", "x"], &["--size", "5"]];
    let check = |process: super::Process| {
        let ended = process.end().expect(2);
        assert!(ended.stdout.is_empty() && ended.stderr.contains("error"), "{ended:?}");
        assert!(sandbox.left().is_empty(), "{} created {:?}", ended.what, sandbox.left());
    };
    for args in both.iter().chain(producer) {
        check(sandbox.producer(pair, args));
    }
    for args in both.iter().chain(consumer) {
        check(sandbox.consumer(pair, args));
    }
    use std::os::unix::ffi::OsStrExt;
    for binary in [pair.producer, pair.consumer] {
        let mut command = sandbox.command(binary);
        command.arg("--name").arg(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
        check(super::Process::spawn(command));
    }
}

/// As uid 65534, with a run-time directory and without one.
pub fn ordinary_user(pair: &Pair) {
    for sandbox in [Sandbox::as_nobody(), Sandbox::as_nobody().without_runtime_dir()] {
        let consumer = sandbox.consumer(pair, &["--quiet", "--json"]);
        consumer.wait_for_stderr("waiting for a producer");
        let producer = sandbox.producer(pair, &["--count", "1000", "--interval", "0", "--quiet"]);
        producer.end().expect(0);
        consumer.end().expect(0).all_well(1000);
    }
}

/// With `--nonblocking` an empty channel is a null message, a full one would block, and all items arrive.
pub fn nonblocking(pair: &Pair) {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(pair, &["--nonblocking", "--json", "--quiet"]);
    consumer.wait_for_stderr("waiting for a producer");
    let producer = sandbox.producer(pair, &["--count", "3", "--interval", "200ms"]);
    producer.end().expect(0);
    let consumer = consumer.end().expect(0).says("null message");
    consumer.all_well(3);
    assert!(consumer.number("would_block") > 0);

    let sandbox = Sandbox::new();
    let producer = sandbox.producer(
        pair,
        &["--nonblocking", "--count", "400", "--size", "1000", "--interval", "0", "--json", "--quiet"],
    );
    let consumer = sandbox.consumer(pair, &["--delay", "1ms", "--json", "--quiet"]);
    let producer = producer.end().expect(0).says("would block");
    assert!(producer.number("would_block") > 0);
    consumer.end().expect(0).all_well(400);
}

/// A reader of the lines that goes away (`| head -1`), and a full disk, are no panic.
pub fn closed_output(pair: &Pair) {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(pair, &["--quiet"]);
    consumer.wait_for_stderr("waiting for a producer");
    let mut command = sandbox.command(pair.producer);
    command.args(sandbox.args_of(pair.both, pair.only_producer)).args(["--name", sandbox.name()]);
    command.args(["--count", "3", "--interval", "10ms"]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("open /dev/full");
    command.stdout(full).stderr(std::process::Stdio::piped());
    super::Process::follow(command).end().expect(1).says("standard output");
    let ended = consumer.end();
    assert!([0, 3].contains(&ended.code), "{ended:?}");

    let (reader, writer) = std::io::pipe().expect("pipe");
    drop(reader);
    let mut command = sandbox.command(pair.consumer);
    command.args(sandbox.args_of(pair.both, pair.only_consumer)).args(["--name", sandbox.name()]);
    command.stdout(writer).stderr(std::process::Stdio::piped());
    let consumer = super::Process::follow(command);
    let producer = sandbox.producer(pair, &["--count", "3", "--interval", "10ms", "--timeout", "1s"]);
    let ended = consumer.end().expect(1);
    assert!(!ended.stderr.contains("panick"), "{ended:?}");
    producer.end();
    drop(Remains(&sandbox, pair));

    // Nobody is left to read any of its words: a signal ends it all the same.
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(pair.consumer);
    command.args(sandbox.args_of(pair.both, pair.only_consumer)).args(["--name", sandbox.name()]);
    let closed = || {
        let (reader, writer) = std::io::pipe().expect("pipe");
        drop(reader);
        writer
    };
    command.stdout(closed()).stderr(closed());
    let consumer = super::Process::follow(command);
    let deadline = Instant::now() + super::SOON;
    while !consumer.catches(Signal::SIGTERM) {
        assert!(Instant::now() < deadline, "the consumer does not listen to signals");
        std::thread::sleep(Duration::from_millis(5));
    }
    consumer.signal(Signal::SIGTERM);
    let ended = consumer.end_within(AT_ONCE);
    assert!([143, 1].contains(&ended.code), "{ended:?}");
}

/// What was taken from the channel is written, also if the end comes before much has gathered.
pub fn output_at_the_end(pair: &Pair) {
    let mut sandbox = Sandbox::new();
    let to = sandbox.file("to");
    let producer = sandbox.producer(pair, &["--count", "0", "--interval", "0", "--quiet"]);
    let consumer = sandbox.consumer(pair, &["--json", "--output", to.to_str().expect("UTF-8")]);
    consumer.wait_for_stdout("received #1000");
    consumer.signal(Signal::SIGINT);
    let ended = consumer.end_within(AT_ONCE).expect(130);
    let written = std::fs::metadata(&to).expect("the file").len();
    assert_eq!(written, ended.number("bytes"), "{}", ended.stderr);
    producer.signal(Signal::SIGINT);
    producer.end_within(AT_ONCE);
    drop(Remains(&sandbox, pair));
}
