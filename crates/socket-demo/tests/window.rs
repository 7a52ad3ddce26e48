//! `--ack-window W`: what a producer that has lost its consumer knows, and what it takes to know it.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use common::testkit::{Pair, Process, SOON, Sandbox, contract, survival};
use nix::sys::signal::Signal::{SIGCONT, SIGINT, SIGKILL, SIGSTOP};

const UNIX: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_socket-producer"),
    consumer: env!("CARGO_BIN_EXE_socket-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};
const TCP: Pair = Pair { both: &["--transport", "tcp", "--addr", "127.0.0.1:{port}"], ..UNIX };
const ABSTRACT: Pair = Pair { both: &["--transport", "abstract"], ..UNIX };
const SEQPACKET: Pair = Pair { both: &["--transport", "seqpacket"], ..UNIX };
/// All with connections.
const ALL: [Pair; 4] = [UNIX, ABSTRACT, SEQPACKET, TCP];
/// For what every pair promises, windows or not.
const WINDOW: Pair = Pair { only_producer: &["--ack-window", "32"], ..UNIX };

const FULL_SPEED: [&str; 5] = ["--count", "0", "--interval", "0", "--quiet"];

fn with_window<'a>(window: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    [&["--ack-window", window, "--json"], args].concat()
}

#[test]
fn nothing_is_lost_and_all_is_acknowledged() {
    for pair in ALL {
        for (window, count) in [("1", 2_000), ("7", 20_000), ("1024", 50_000), ("4294967295", 50_000)] {
            let sandbox = Sandbox::new();
            let consumer = sandbox.consumer(&pair, &["--json", "--quiet"]);
            let items = ["--interval", "0", "--quiet", "--count", &count.to_string()];
            let producer = sandbox.producer(&pair, &with_window(window, &items)).end().expect(0);
            consumer.end().expect(0).all_well(count);
            for (key, want) in [("items", count), ("acknowledged", count), ("unknown", 0)] {
                assert_eq!(producer.number(key), want, "{key} with a window of {window}");
            }
            assert_eq!(producer.number("window").to_string(), window);
        }
    }
}

/// After a death both sides start again, and find nothing in their way.
fn start_again(sandbox: &Sandbox, pair: &Pair) {
    let consumer = sandbox.consumer(pair, &["--json", "--quiet"]);
    sandbox.producer(pair, &with_window("4", &["--count", "10", "--interval", "0"])).end().expect(0);
    consumer.end().expect(0).all_well(10);
}

/// What the consumer wrote before it died: the numbers in its lines, or how many payloads of 64 bytes.
fn written(stdout: &str, output: Option<&Path>) -> u64 {
    if let Some(file) = output {
        return fs::metadata(file).map_or(0, |m| m.len()) / 64;
    }
    let numbers = stdout.split_inclusive('\n').filter(|line| line.ends_with('\n')).enumerate();
    let whole = numbers.take_while(|(n, line)| line.starts_with(&format!("received #{n} ")));
    whole.count() as u64
}

/// What is acknowledged has been received and has left the consumer's buffers; what is not is no more than a window.
#[test]
fn killed_at_random_moments_at_most_a_window_is_unknown() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut acknowledged_in_all, mut unknown_in_all, mut arrived_unknown) = (0, 0, 0);
    for round in 0..50 {
        let (pair, window) = (ALL[round % 4], [1, 4, 32, 1000][random.usize(..4)]);
        let at = format!("round {round} of seed {seed}: {:?}, window {window}", pair.both);
        let mut sandbox = Sandbox::new();
        let file = random.bool().then(|| sandbox.file("output"));
        let consumer = match &file {
            Some(file) => sandbox.consumer(&pair, &["--quiet", "--output", file.to_str().expect("UTF-8")]),
            None => sandbox.consumer(&pair, &[]),
        };
        let producer = sandbox.producer(&pair, &with_window(&window.to_string(), &FULL_SPEED));
        let since = Instant::now();
        while written(&consumer.stdout(), file.as_deref()) == 0 {
            assert!(since.elapsed() < SOON, "{at}: nothing comes: {}", producer.stderr());
        }
        // Time is the subject: any moment of a run in full swing.
        std::thread::sleep(Duration::from_micros(random.u64(..20_000)));
        consumer.signal(SIGKILL);
        let consumer = consumer.end().expect(137);
        let producer = producer.end().expect(3);
        let [items, acknowledged, unknown] = ["items", "acknowledged", "unknown"].map(|k| producer.number(k));
        assert_eq!(items - acknowledged, unknown, "{at}: {producer:?}");
        assert!(unknown <= window, "{at}: {producer:?}");
        let written = written(&consumer.stdout, file.as_deref());
        assert!(written >= acknowledged, "{at}: only {written} were written: {producer:?}");
        let list = match unknown {
            0 => "and all of them are acknowledged".to_owned(),
            1 => format!("{acknowledged} acknowledged; unknown: #{acknowledged}\n"),
            _ => format!("{acknowledged} acknowledged; unknown: #{acknowledged} to #{}\n", items - 1),
        };
        let producer = producer.says(&format!("{items} items were handed over, ")).says(&list);
        if unknown > 0 {
            assert_eq!(producer.number("unknown_first"), acknowledged);
            assert_eq!(producer.number("unknown_last"), items - 1);
        }
        acknowledged_in_all += acknowledged;
        unknown_in_all += unknown;
        arrived_unknown += written - acknowledged;
        start_again(&sandbox, &pair);
    }
    println!(
        "{acknowledged_in_all} acknowledged, {unknown_in_all} unknown, of which {arrived_unknown} had been written; seed {seed}"
    );
    assert!(acknowledged_in_all > 0 && unknown_in_all > 0);
}

#[test]
fn a_slow_consumer_fills_the_window() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--delay", "40ms", "--quiet", "--json"]);
        let items = ["--count", "40", "--interval", "0", "--quiet"];
        let producer = sandbox.producer(&pair, &with_window("8", &items));
        producer.wait_for_stderr("blocked: window full 8/8: ").wait_for_stderr(" has not acknowledged #");
        let ended = producer.end().expect(0);
        // Of 40 items 8 find room; each acknowledgement makes room for half a window, and comes no later.
        assert!((6..=8).contains(&ended.number("window_full")), "{}", ended.json());
        consumer.end().expect(0).all_well(40);
    }
}

#[test]
fn a_consumer_killed_with_a_full_window_and_the_list() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--delay", "1h"]);
        let producer = sandbox.producer(&pair, &with_window("4", &["--count", "0", "--interval", "0"]));
        consumer.wait_for_stdout("received #0");
        producer
            .wait_for_stderr("blocked: window full 4/4: ")
            .wait_for_stderr(" has not acknowledged #0 to #3 yet");
        consumer.signal(SIGKILL);
        let ended = producer.end().expect(3);
        assert!(ended.stdout.contains("sent #3") && !ended.stdout.contains("sent #4"), "{}", ended.stdout);
        assert_eq!(ended.number("unknown"), 4);
        // That it took #0 only its terminal knows.
        ended.says("4 items were handed over, 0 acknowledged; unknown: #0 to #3");
        consumer.end().expect(137);
        start_again(&sandbox, &pair);
    }
}

#[test]
fn a_consumer_that_dies_when_all_is_acknowledged_takes_nothing_along() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &[]);
        let producer = sandbox.producer(&pair, &with_window("4", &["--count", "2", "--interval", "1s"]));
        consumer.wait_for_stdout("received #0");
        consumer.wait_for_stderr("blocked: nothing has come");
        consumer.signal(SIGKILL);
        consumer.end().expect(137);
        let ended = producer.end().expect(3);
        assert_eq!(ended.number("acknowledged"), 1);
        if pair.both == TCP.both {
            // The first write after the other side has closed succeeds: its kernel's no is still to come.
            ended.says("2 items were handed over, 1 acknowledged; unknown: #1\n");
        } else {
            assert_eq!((ended.number("unknown"), ended.json().get("unknown_first")), (0, None));
            ended.says("1 items were handed over, and all of them are acknowledged");
        }
        start_again(&sandbox, &pair);
    }
}

#[test]
fn a_stopped_consumer_is_waited_for() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--json"]);
        let items = ["--count", "200", "--interval", "1ms", "--quiet"];
        let producer = sandbox.producer(&pair, &with_window("16", &items));
        consumer.wait_for_stdout("received #10 ").signal(SIGSTOP);
        producer.wait_for_stderr("blocked: window full 16/16: ");
        consumer.signal(SIGCONT);
        producer.end().expect(0);
        consumer.end().expect(0).all_well(200);

        let consumer = sandbox.consumer(&pair, &[]);
        let impatient = ["--timeout", "300ms", "--count", "0", "--interval", "1ms", "--quiet"];
        let producer = sandbox.producer(&pair, &with_window("16", &impatient));
        consumer.wait_for_stdout("received #10 ").signal(SIGSTOP);
        let ended = producer.end().expect(3).says("window full 16/16").says("(--timeout)");
        assert_eq!(ended.number("unknown"), 16);
        consumer.signal(SIGCONT);
        let said = consumer.end().expect(3);
        // What it had taken before and after: nothing is missing in between.
        let last = format!("received #{} ", ended.number("items") - 1);
        assert!(said.stdout.contains(&last), "{}", said.stdout);
    }
}

#[test]
fn a_consumer_that_has_enough_leaves_nothing_unknown() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--count", "10", "--json"]);
        let producer = sandbox.producer(&pair, &with_window("4", &FULL_SPEED));
        consumer.end().expect(0).all_well(10);
        let ended = producer.end().expect(3).says("it took 10 of them");
        assert_eq!((ended.number("acknowledged"), ended.number("unknown")), (10, 0));
        let consumer = sandbox.consumer(&pair, &["--count", "10"]);
        let ten = ["--count", "10", "--interval", "0"];
        sandbox.producer(&pair, &with_window("4", &ten)).end().expect(0);
        consumer.end().expect(0);
    }
}

#[test]
fn ctrl_c_on_the_producer_names_what_is_unknown() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&UNIX, &["--delay", "1s"]);
    let producer = sandbox.producer(&UNIX, &with_window("2", &FULL_SPEED));
    producer
        .wait_for_stderr("blocked: window full 2/2: ")
        .wait_for_stderr(" has not acknowledged #0 to #1 yet");
    producer.signal(SIGINT);
    let ended = producer.end().expect(130).says(" has not acknowledged #");
    assert!((1..=2).contains(&ended.number("unknown")), "{}", ended.json());
    consumer.end().expect(0);
}

#[test]
fn windows_beside_producers_without() {
    for pair in ALL {
        let mut sandbox = Sandbox::new();
        let file = sandbox.file("output");
        let output = ["--json", "--quiet", "--output", file.to_str().expect("UTF-8")];
        let consumer = sandbox.consumer(&pair, &output);
        let busy = sandbox.producer(&pair, &FULL_SPEED);
        // Else the first of the others could come and go before it, and the consumer with them.
        let since = Instant::now();
        while written("", Some(&file)) == 0 {
            assert!(since.elapsed() < SOON, "nothing comes: {}", busy.stderr());
        }
        // One that never lets the consumer come to rest keeps no acknowledgement back: each of these ends.
        for window in ["1", "3", "100"] {
            let few = ["--count", "10", "--interval", "0", "--quiet"];
            sandbox.producer(&pair, &with_window(window, &few)).end().expect(0);
        }
        busy.signal(SIGINT);
        busy.end().expect(130);
        let ended = consumer.end();
        assert!([0, 3, 4].contains(&ended.code), "{ended:?}");
        assert_eq!(["lost", "duplicated", "reordered", "corrupted"].map(|k| ended.number(k)), [0; 4]);
    }
}

/// The acknowledgements of a window that is never full fill the socket, if nobody reads them.
#[test]
fn acknowledgements_that_nobody_needs_are_in_nobodys_way() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--json", "--quiet"]);
        // Pauses, in which the consumer has nothing else to do.
        let items = ["--count", "3000", "--interval", "100us", "--quiet"];
        let producer = sandbox.producer(&pair, &with_window("1000000", &items));
        producer.end().expect(0);
        consumer.end().expect(0).all_well(3000);
    }
}

#[test]
fn both_sides_without_blocking() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--nonblocking", "--json", "--quiet"]);
        let items = ["--nonblocking", "--count", "300", "--interval", "0", "--quiet"];
        let producer = sandbox.producer(&pair, &with_window("8", &items));
        assert!(producer.end().expect(0).number("would_block") > 0);
        consumer.end().expect(0).all_well(300);
    }
}

#[test]
fn where_a_window_makes_no_sense() {
    let sandbox = Sandbox::new();
    for (args, said) in [
        (&["--ack-window", "8", "--transport", "udp"][..], "--transport udp"),
        (&["--ack-window", "8", "--unframed"], "--unframed"),
        (&["--ack-window", "8", "--drip", "1ms"], "--drip"),
        (&["--ack-window", "0"], "0 is not in 1.."),
        (&["--ack-window", "-1"], "'-1'"),
        (&["--ack-window", "4294967296"], "4294967296 is not in 1.."),
        (&["--ack-window", "many"], "many"),
    ] {
        sandbox.producer(&UNIX, args).end().expect(2).says(said);
    }
    // Who only takes what comes need not be told.
    sandbox.consumer(&UNIX, &["--ack-window", "8"]).end().expect(2);
    assert_eq!(sandbox.left(), Vec::<String>::new());
}

mod what_every_pair_promises {
    use super::*;

    #[test]
    fn a_file_comes_out_as_it_went_in() {
        contract::file(&WINDOW);
    }
    #[test]
    fn a_producer_that_waits_for_room_or_a_consumer_can_be_ended() {
        contract::ended_while_full(&WINDOW);
    }
    #[test]
    fn waiting_is_free() {
        contract::waiting_is_free(&WINDOW);
    }
    #[test]
    fn closed_output_is_no_panic() {
        contract::closed_output(&WINDOW);
    }
    #[test]
    fn what_was_received_is_written_when_the_end_comes_early() {
        contract::output_at_the_end(&WINDOW);
    }
    #[test]
    fn a_peer_that_is_stopped_and_goes_on_loses_nothing() {
        survival::stopped(&WINDOW);
    }
    #[test]
    fn interrupted_calls_change_nothing() {
        survival::interrupted(&WINDOW);
    }
    #[test]
    fn killed_at_random_moments_and_started_again() {
        survival::killed_at_random(&WINDOW);
    }
}

// From here on the test is one of the two sides, byte by byte as docs/wire-format.md says.

fn frame(kind: u32, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..], &kind.to_le_bytes(), body].concat()
}

fn number(kind: u32, n: u64) -> Vec<u8> {
    frame(kind, &n.to_le_bytes())
}

fn hello(max_frame: u32, window: Option<u32>) -> Vec<u8> {
    let words = [1, max_frame, 0].into_iter().chain(window).flat_map(u32::to_le_bytes);
    frame(HELLO, &b"item".iter().copied().chain(words).collect::<Vec<_>>())
}

const DATA: u32 = 1;
const GOODBYE: u32 = 2;
const HELLO: u32 = 3;
const ACK: u32 = 7;

/// The next frame; `None` at the end.
fn read_frame(stream: &mut impl Read) -> Option<(u32, Vec<u8>)> {
    let mut header = [0; 8];
    stream.read_exact(&mut header).ok()?;
    let [len, kind] = [0, 4].map(|i| u32::from_le_bytes(header[i..i + 4].try_into().expect("4 bytes")));
    let mut body = vec![0; len as usize];
    stream.read_exact(&mut body).expect("the whole frame");
    Some((kind, body))
}

fn read_number(stream: &mut impl Read) -> Option<(u32, u64)> {
    read_frame(stream).map(|(kind, body)| (kind, u64::from_le_bytes(body.try_into().expect("a number"))))
}

/// A producer with a window of 4, and the test as its consumer, which grants as much as it is told.
fn as_consumer(sandbox: &Sandbox, granted: Option<u32>, args: &[&str]) -> (Process, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", sandbox.port())).expect("listen");
    let producer = sandbox.producer(&TCP, &with_window("4", args));
    let (mut stream, _) = listener.accept().expect("accept");
    stream.set_read_timeout(Some(SOON)).expect("set");
    let (kind, body) = read_frame(&mut stream).expect("its HELLO");
    assert_eq!((kind, body.len(), &body[16..]), (HELLO, 20, &4u32.to_le_bytes()[..]));
    stream.write_all(&hello(1 << 20, granted)).expect("answer");
    (producer, stream)
}

/// Takes so many items, and sees that no other comes.
fn take_exactly(stream: &mut TcpStream, n: usize) {
    for _ in 0..n {
        assert_eq!(read_frame(stream).expect("an item").0, DATA);
    }
    stream.set_read_timeout(Some(Duration::from_millis(100))).expect("set");
    let more = stream.read(&mut [0]).expect_err("there is room for no more");
    assert_eq!(more.kind(), ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(SOON)).expect("set");
}

#[test]
fn no_more_is_handed_over_than_the_window_allows() {
    let sandbox = Sandbox::new();
    let (producer, mut stream) = as_consumer(&sandbox, Some(4), &FULL_SPEED);
    take_exactly(&mut stream, 4);
    stream.write_all(&number(ACK, 1)).expect("acknowledge");
    take_exactly(&mut stream, 1);
    stream.write_all(&[number(ACK, 2), number(ACK, 5)].concat()).expect("acknowledge");
    take_exactly(&mut stream, 4);
    drop(stream);
    producer.end().expect(3).says("9 items were handed over, 5 acknowledged; unknown: #5 to #8");
    // Who grants less than was asked for gets less.
    let (producer, mut stream) = as_consumer(&sandbox, Some(1), &FULL_SPEED);
    for n in 1..10 {
        take_exactly(&mut stream, 1);
        stream.write_all(&number(ACK, n)).expect("acknowledge");
    }
    producer.signal(SIGINT);
    assert_eq!(producer.end().expect(130).number("window"), 1);
}

#[test]
fn the_goodbye_comes_after_the_last_acknowledgement() {
    let sandbox = Sandbox::new();
    let (producer, mut stream) = as_consumer(&sandbox, Some(4), &["--count", "3", "--interval", "0"]);
    take_exactly(&mut stream, 3);
    producer.wait_for_stderr(" has not acknowledged #0 to #2 yet");
    stream.write_all(&number(ACK, 3)).expect("acknowledge");
    assert_eq!(read_number(&mut stream), Some((GOODBYE, 3)));
    // It has no more to fear: gone without an answer.
    drop(stream);
    assert_eq!(producer.end().expect(0).number("acknowledged"), 3);
}

#[test]
fn a_consumer_that_acknowledges_what_cannot_be_is_bad_data() {
    let cases: [(&str, Vec<u8>); 8] = [
        ("more than was sent", number(ACK, 5)),
        ("far more", number(ACK, u64::MAX)),
        ("nothing", number(ACK, 0)),
        ("backwards", [number(ACK, 2), number(ACK, 1)].concat()),
        ("the same again", [number(ACK, 2), number(ACK, 2)].concat()),
        ("a goodbye to more than was sent", number(GOODBYE, 5)),
        ("a goodbye to less than was acknowledged", [number(ACK, 3), number(GOODBYE, 2)].concat()),
        ("a number of seven bytes", frame(ACK, &[1, 0, 0, 0, 0, 0, 0])),
    ];
    for (what, bytes) in cases {
        let sandbox = Sandbox::new();
        // A window's worth, so that it cannot have sent more when it hears of it.
        let four = ["--count", "4", "--interval", "0"];
        let (producer, mut stream) = as_consumer(&sandbox, Some(4), &four);
        take_exactly(&mut stream, 4);
        stream.write_all(&bytes).expect("acknowledge");
        let ended = producer.end();
        assert_eq!(ended.code, 4, "{what}: {ended:?}");
    }
}

#[test]
fn a_consumer_that_acknowledges_nothing_is_refused_politely() {
    let sandbox = Sandbox::new();
    for granted in [None, Some(0)] {
        let (producer, mut stream) = as_consumer(&sandbox, granted, &FULL_SPEED);
        assert_eq!(
            read_number(&mut stream),
            Some((GOODBYE, 0)),
            "so that it need not think that it lost somebody"
        );
        assert_eq!(read_number(&mut stream), None);
        producer.end().expect(1).says("acknowledges nothing: drop --ack-window");
    }
}

/// A producer of the test's own.
fn as_producer(sandbox: &Sandbox, window: Option<u32>) -> UnixStream {
    let path = sandbox.dir().join(format!("{}.sock", sandbox.name()));
    let mut stream = UnixStream::connect(path).expect("connect");
    stream.set_read_timeout(Some(SOON)).expect("set");
    stream.write_all(&hello(8, window)).expect("say HELLO");
    stream
}

#[test]
fn who_asks_for_no_acknowledgement_hears_of_none() {
    for asked in [None, Some(0)] {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&UNIX, &[]);
        consumer.wait_for_stderr("waiting for a producer");
        let mut stream = as_producer(&sandbox, asked);
        let (kind, body) = read_frame(&mut stream).expect("an answer");
        assert_eq!((kind, body.len()), (HELLO, 16), "not a byte more than before there were windows");
        stream.write_all(&frame(DATA, b"one").repeat(100)).expect("send");
        stream.write_all(&number(GOODBYE, 100)).expect("say goodbye");
        assert_eq!(read_number(&mut stream), Some((GOODBYE, 100)));
        assert_eq!(read_number(&mut stream), None);
        consumer.end();
    }
}

#[test]
fn acknowledgements_come_in_batches_and_when_there_is_nothing_more_to_do() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&UNIX, &[]);
    consumer.wait_for_stderr("waiting for a producer");
    let mut stream = as_producer(&sandbox, Some(1000));
    let (kind, body) = read_frame(&mut stream).expect("an answer");
    assert_eq!((kind, &body[16..]), (HELLO, &1000u32.to_le_bytes()[..]));
    let (mut acknowledged, mut frames) = (0, 0);
    for sent in [100, 1000] {
        stream.write_all(&frame(DATA, b"one").repeat(sent - acknowledged as usize)).expect("send");
        // Fewer than half a window: that the last one comes too is because the consumer is about to wait.
        while acknowledged < sent as u64 {
            let (kind, n) = read_number(&mut stream).expect("an acknowledgement");
            assert!(kind == ACK && n > acknowledged && n <= sent as u64, "{kind} {n} after {acknowledged}");
            (acknowledged, frames) = (n, frames + 1);
        }
    }
    assert!(frames <= 20, "{frames} acknowledgements of 1000 items that came at once");
    stream.write_all(&number(GOODBYE, 1000)).expect("say goodbye");
    assert_eq!(read_number(&mut stream), Some((GOODBYE, 1000)));
    consumer.end();
}
