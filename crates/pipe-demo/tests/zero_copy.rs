//! Pages that are given away: all that is promised holds for them too, and what happens if they are not let alone.

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::testkit::{Pair, Process, SOON, Sandbox, contract, large};
use nix::sys::signal::Signal;

const PAGES: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_pipe-producer"),
    consumer: env!("CARGO_BIN_EXE_pipe-consumer"),
    both: &[],
    only_producer: &["--zero-copy"],
    only_consumer: &[],
};
const JSON: [&str; 2] = ["--quiet", "--json"];

common::survival_tests!(fifo, PAGES);

/// All of the contract but `--lines`, which is refused.
#[test]
fn what_every_pair_promises() {
    contract::many_items(&PAGES, true);
    contract::many_items(&PAGES, false);
    contract::ended_while_empty(&PAGES);
    contract::ended_while_full(&PAGES);
    contract::timeout(&PAGES);
    contract::wrong_usage(&PAGES);
    contract::ordinary_user(&PAGES);
    contract::nonblocking(&PAGES);
    contract::output_at_the_end(&PAGES);
    contract::closed_output(&PAGES);
}

#[test]
fn a_large_stream_comes_out_as_it_went_in_and_takes_little_memory() {
    // A MiB does not fit into the largest pipe with its header, 300 KiB fit in part.
    for only_producer in [&["--zero-copy", "--size", "1MiB"], &["--zero-copy", "--size", "300KiB"]] {
        large::stream(&Pair { only_producer, ..PAGES });
    }
}

/// A file of no period that a chunk could have.
fn write_noise(path: &Path, length: u64) -> Vec<u8> {
    let bytes: Vec<u8> = (0..length).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u8).collect();
    fs::write(path, &bytes).expect("write the file");
    bytes
}

#[test]
fn a_file_comes_out_as_it_went_in_with_a_name_and_without() {
    let mut sandbox = Sandbox::new();
    let (from, to) = (sandbox.file("from"), sandbox.file("to"));
    let bytes = write_noise(&from, 5_000_001);
    let (from, to) = (from.to_str().expect("UTF-8"), to.to_str().expect("UTF-8"));
    for (size, capacity) in [("1MiB", "1MiB"), ("1MiB", "4096"), ("3000", "64KiB"), ("100000", "256KiB")] {
        let args = ["--input", from, "--size", size, "--capacity", capacity, "--quiet"];
        let consumer = sandbox.consumer(&PAGES, &["--output", to, "--quiet"]);
        sandbox.producer(&PAGES, &args).end().expect(0);
        consumer.end().expect(0);
        assert!(fs::read(to).expect("read the copy") == bytes, "{args:?}: the copy differs");
        fs::remove_file(to).expect("remove the copy");

        let mut command = sandbox.command(PAGES.producer);
        command.args(["--zero-copy", "--anonymous", "--output", to]).args(args);
        Process::spawn(command).end().expect(0);
        assert!(fs::read(to).expect("read the copy") == bytes, "{args:?}: the child's copy differs");
    }
}

#[test]
fn a_file_that_changes_or_shrinks_meanwhile_harms_nobody() {
    let mut sandbox = Sandbox::new();
    let (from, to) = (sandbox.file("from"), sandbox.file("to"));
    let bytes = write_noise(&from, 40_000);
    let (input, output) = (from.to_str().expect("UTF-8"), to.to_str().expect("UTF-8"));
    let consumer = sandbox.consumer(&PAGES, &["--output", output, "--delay", "1h", "--json", "--quiet"]);
    let args = ["--input", input, "--size", "10000", "--interval", "1ms", "--json"];
    let producer = sandbox.producer(&PAGES, &args);
    producer.wait_for_stdout("sent #3");
    // What was sent is what the file was.
    fs::write(&from, vec![b'x'; 40_000]).expect("overwrite the file");
    producer.end().expect(0);
    consumer.signal(Signal::SIGINT);
    assert!(
        bytes.starts_with(&fs::read(&to).expect("read")) && consumer.end().expect(130).number("items") == 1
    );

    let consumer = sandbox.consumer(&PAGES, &["--json", "--quiet"]);
    let args = ["--input", input, "--size", "1000", "--interval", "20ms", "--json"];
    let producer = sandbox.producer(&PAGES, &args);
    producer.wait_for_stdout("sent #3");
    fs::File::create(&from).expect("truncate the file");
    let sent = producer.end().expect(0).number("items");
    assert!((4..40).contains(&sent), "{sent}");
    consumer.end().expect(0).all_well(sent);
}

#[test]
fn what_a_dead_producer_has_given_arrives() {
    // Frames of just a page: what is in the pipe is whole.
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&PAGES, &JSON);
    let args = ["--size", "4056", "--count", "0", "--interval", "0", "--json"];
    let producer = sandbox.producer(&PAGES, &args);
    producer.wait_for_stdout("sent #100");
    consumer.signal(Signal::SIGSTOP);
    producer.wait_for_stderr("blocked: pipe full");
    producer.signal(Signal::SIGKILL);
    let told = producer.end().expect(137).stdout.lines().filter(|l| l.starts_with("sent #")).count() as u64;
    consumer.signal(Signal::SIGCONT);
    let ended = consumer.end().expect(3).says("without a goodbye");
    assert!(ended.number("items") >= told && told > 100, "{told}");
    ended.all_well(ended.number("items"));

    // In the middle of a frame.
    let consumer = sandbox.consumer(&PAGES, &["--delay", "300ms", "--json"]);
    let producer = sandbox.producer(&PAGES, &["--size", "1MiB", "--count", "0", "--interval", "0"]);
    consumer.wait_for_stdout("received #0");
    producer.wait_for_stderr("blocked: pipe full");
    producer.signal(Signal::SIGKILL);
    consumer.end().expect(4).says("truncated after");
}

#[test]
fn a_consumer_that_dies_ends_its_producer_and_is_followed_by_the_next() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&PAGES, &["--quiet"]);
    let args = ["--size", "1MiB", "--count", "0", "--interval", "0", "--json"];
    let producer = sandbox.producer(&PAGES, &args);
    producer.wait_for_stdout("sent #20");
    consumer.signal(Signal::SIGKILL);
    producer.end().expect(3).says("which had taken");
    let consumer = sandbox.consumer(&PAGES, &JSON);
    sandbox.producer(&PAGES, &["--count", "10", "--interval", "0", "--size", "1MiB"]).end().expect(0);
    consumer.end().expect(0).all_well(10);
}

#[test]
fn only_what_is_whole_in_the_pipe_counts_as_sent() {
    for (size, code) in [("4056", 3), ("10000", 4), ("1MiB", 4)] {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&PAGES, &JSON);
        let producer =
            sandbox.producer(&PAGES, &["--count", "0", "--interval", "0", "--size", size, "--json"]);
        producer.wait_for_stdout("sent #20");
        consumer.signal(Signal::SIGSTOP);
        producer.wait_for_stderr("blocked: pipe full");
        producer.signal(Signal::SIGINT);
        let ended = producer.end_within(Duration::from_secs(2)).expect(130);
        consumer.signal(Signal::SIGCONT);
        let sent = ended.number("items");
        assert_eq!(ended.stdout.matches("sent #").count() as u64, sent);
        // Where the last one is in it in part, the frame is cut.
        let consumer = consumer.end();
        assert!(consumer.code == code || (code == 4 && consumer.code == 3), "{size}: {consumer:?}");
        assert_eq!(consumer.number("items"), sent, "{size}");
    }
}

#[test]
fn writers_of_single_pages_share_a_pipe_with_any_others() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&PAGES, &JSON);
    consumer.wait_for_stderr("waiting for a producer");
    let slow = sandbox.producer(&PAGES, &["--count", "0", "--interval", "10ms", "--json"]);
    slow.wait_for_stdout("sent #0");
    let copies = Pair { only_producer: &[], ..PAGES };
    let writers: Vec<_> = [&PAGES, &copies, &PAGES]
        .into_iter()
        .map(|pair| {
            sandbox.producer(pair, &["--count", "3000", "--size", "4056", "--interval", "0", "--quiet"])
        })
        .collect();
    for writer in writers {
        writer.end().expect(0);
    }
    sandbox.producer(&PAGES, &["--count", "3", "--size", "4057"]).end().expect(1).says("PIPE_BUF");
    slow.signal(Signal::SIGINT);
    let slow = slow.end().expect(130).number("items");
    consumer.end().expect(0).all_well(9000 + slow);
}

#[test]
fn what_it_cannot_be_combined_with_is_wrong_usage() {
    let sandbox = Sandbox::new();
    for args in [
        &["--zero-copy", "--duplex"][..],
        &["--zero-copy", "--unbatched"],
        &["--zero-copy", "--allow-torn"],
        &["--zero-copy", "--input", "/dev/null", "--lines"],
        &["--reuse-at-once"],
    ] {
        let mut command = sandbox.command(PAGES.producer);
        command.args(args).args(["--name", sandbox.name()]);
        Process::spawn(command).end().expect(2).says("--zero-copy");
        assert!(sandbox.left().is_empty());
    }
}

/// The mistake, and the same without it.
#[test]
fn pages_that_are_reused_at_once_are_read_as_what_they_have_become() {
    let args = ["--size", "10000", "--interval", "0", "--count", "60", "--quiet", "--json"];
    let slow = ["--delay", "5ms", "--quiet", "--json"];
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&PAGES, &slow);
    sandbox.producer(&PAGES, &args).end().expect(0);
    consumer.end().expect(0).all_well(60);

    let consumer = sandbox.consumer(&PAGES, &slow);
    let producer = sandbox.producer(&PAGES, &[&args[..], &["--reuse-at-once"]].concat());
    producer.end_within(SOON).expect(0).says("drop --reuse-at-once");
    let ended = consumer.end().expect(4).says("corrupted item");
    assert!(ended.number("corrupted") > 0 && ended.number("items") == 60, "{}", ended.json());
}
