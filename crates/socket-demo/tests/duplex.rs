//! `--duplex`: every item comes back over the connection that it went by.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use common::item;
use common::testkit::{Pair, Process, SOON, Sandbox, contract, survival};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal::{SIGCONT, SIGINT, SIGKILL, SIGSTOP};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::unistd::{read, write};

const ONE_WAY: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_socket-producer"),
    consumer: env!("CARGO_BIN_EXE_socket-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};
const UNIX: Pair = Pair { both: &["--duplex"], ..ONE_WAY };
const TCP: Pair = Pair { both: &["--duplex", "--transport", "tcp", "--addr", "127.0.0.1:{port}"], ..ONE_WAY };
const ABSTRACT: Pair = Pair { both: &["--duplex", "--transport", "abstract"], ..ONE_WAY };
const SEQPACKET: Pair = Pair { both: &["--duplex", "--transport", "seqpacket"], ..ONE_WAY };
/// All with connections.
const ALL: [Pair; 4] = [UNIX, ABSTRACT, SEQPACKET, TCP];

const QUIET: [&str; 2] = ["--json", "--quiet"];
const ENDLESS: [&str; 6] = ["--count", "0", "--interval", "0", "--quiet", "--json"];

#[test]
fn every_item_comes_back_before_the_next_one_is_sent() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &QUIET);
        let producer = sandbox.producer(&pair, &["--count", "500", "--interval", "0", "--json"]);
        let ended = producer.end().expect(0);
        assert_eq!((ended.number("items"), ended.number("answered")), (500, 500));
        let said = ended.stdout.lines().take(1000).enumerate().map(|(n, line)| (n / 2, n % 2, line));
        for (item, way, line) in said {
            let start = [format!("sent #{item}  64 B"), format!("#{item} came back  after ")];
            assert!(line.starts_with(&start[way]), "{line}, not {}", start[way]);
        }
        consumer.end().expect(0).all_well(500);
    }
}

/// A socket does not hold such an item: both sides take it in parts, there and back.
#[test]
fn items_of_all_sizes_come_back() {
    for pair in ALL {
        for size in ["0", "1", "65500", "150000", "3MiB"] {
            if pair.both == SEQPACKET.both && size == "3MiB" {
                continue;
            }
            let sandbox = Sandbox::new();
            let consumer = sandbox.consumer(&pair, &QUIET);
            let producer =
                sandbox.producer(&pair, &["--count", "20", "--interval", "0", "--json", "--size", size]);
            assert_eq!(producer.end().expect(0).number("answered"), 20);
            consumer.end().expect(0).all_well(20);
        }
    }
}

#[test]
fn a_file_goes_there_and_back() {
    for pair in ALL {
        let mut sandbox = Sandbox::new();
        let (from, to) = (sandbox.file("from"), sandbox.file("to"));
        let bytes: Vec<u8> = (0..300_001u64).map(|i| (i.wrapping_mul(0x9E37_79B9) >> 16) as u8).collect();
        fs::write(&from, &bytes).expect("write the file");
        let consumer = sandbox.consumer(&pair, &["--quiet", "--output", to.to_str().expect("UTF-8")]);
        let input = ["--input", from.to_str().expect("UTF-8"), "--size", "1000", "--json", "--quiet"];
        assert_eq!(sandbox.producer(&pair, &input).end().expect(0).number("answered"), 301);
        consumer.end().expect(0);
        assert!(fs::read(to).expect("read the copy") == bytes, "the copy differs");
    }
}

/// One consumer serves any number of them, each over a connection of its own.
#[test]
fn several_producers_get_their_own_items_back() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--json"]);
        let held = sandbox.producer(&pair, &["--count", "2", "--interval", "1h", "--json"]);
        consumer.wait_for_stdout("received #0");
        let few = ["--count", "1000", "--interval", "0", "--quiet", "--json"];
        let others: Vec<_> = (0..3).map(|_| sandbox.producer(&pair, &few)).collect();
        for other in others {
            assert_eq!(other.end().expect(0).number("answered"), 1000);
        }
        held.signal(SIGINT);
        assert_eq!(held.end().expect(130).number("answered"), 1);
        consumer.end().expect(0).all_well(3001);
    }
}

#[test]
fn both_sides_without_blocking() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--nonblocking", "--json", "--quiet"]);
        let items = ["--nonblocking", "--count", "50", "--interval", "0", "--quiet", "--json"];
        let ended = sandbox.producer(&pair, &items).end().expect(0);
        assert_eq!(ended.number("answered"), 50);
        assert!(ended.number("would_block") > 0);
        consumer.end().expect(0).all_well(50);
    }
}

/// Nobody tries to read what cannot have come: two calls on each side to talk, and one to wait.
#[test]
fn an_item_costs_as_few_calls_as_it_can() {
    if Command::new("strace").args(["-o", "/dev/null", "true"]).output().is_err() {
        println!("skipped: strace is not installed");
        return;
    }
    for pair in [UNIX, TCP] {
        let mut sandbox = Sandbox::new();
        let logs = [sandbox.file("consumer.log"), sandbox.file("producer.log")];
        let [consumer, producer] = logs.each_ref().map(|log| {
            let log = log.to_str().expect("UTF-8");
            ["strace", "-f", "-qq", "-o", log].map(str::to_owned).to_vec()
        });
        let consumer = sandbox.consumer_under(&consumer, &pair, &QUIET);
        let items = ["--count", "1000", "--interval", "0", "--quiet"];
        sandbox.producer_under(&producer, &pair, &items).end().expect(0);
        consumer.end().expect(0).all_well(1000);
        for log in logs {
            let calls = fs::read_to_string(&log).expect("strace's log").lines().count();
            // Start and end, and the watcher's timer now and then.
            assert!((3000..3900).contains(&calls), "{calls} calls for 1000 items: {log:?}");
        }
    }
}

#[test]
fn ctrl_c_while_an_answer_is_waited_for() {
    for pair in ALL {
        // The producer: it has said goodbye, so nobody is lost.
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--delay", "2s", "--json"]);
        let producer = sandbox.producer(&pair, &ENDLESS);
        producer.wait_for_stderr("blocked: #0 has not come back yet");
        producer.signal(SIGINT);
        let ended = producer.end_within(Duration::from_secs(2)).expect(130);
        assert_eq!((ended.number("items"), ended.number("answered")), (1, 0));
        consumer.end().expect(0).all_well(1);
        // The consumer, with an item in hand that it has not answered.
        let consumer = sandbox.consumer(&pair, &["--delay", "1h", "--json"]);
        let producer = sandbox.producer(&pair, &ENDLESS);
        producer.wait_for_stderr("blocked: #0 has not come back yet");
        consumer.signal(SIGINT);
        consumer.end_within(Duration::from_secs(2)).expect(130).all_well(1);
        assert_eq!(producer.end().expect(3).says("it took 1 of them").number("answered"), 0);
    }
}

#[test]
fn a_death_while_an_answer_is_waited_for() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--delay", "1h"]);
        let producer = sandbox.producer(&pair, &ENDLESS);
        producer.wait_for_stderr("blocked: #0 has not come back yet");
        consumer.signal(SIGKILL);
        consumer.end().expect(137);
        let ended = producer.end().expect(3).says("1 items were handed over").says("0 items have come back");
        assert_eq!(ended.number("answered"), 0);

        let consumer = sandbox.consumer(&pair, &["--json"]);
        let producer = sandbox.producer(&pair, &["--count", "2", "--interval", "1h"]);
        producer.wait_for_stdout("#0 came back");
        producer.signal(SIGKILL);
        producer.end().expect(137);
        consumer.end().expect(3).says("gone without a goodbye").all_well(1);
    }
}

#[test]
fn a_consumer_that_has_enough_answers_what_it_took() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--count", "10", "--json"]);
        let producer = sandbox.producer(&pair, &ENDLESS);
        consumer.end().expect(0).all_well(10);
        assert_eq!(producer.end().expect(3).says("it took 10 of them").number("answered"), 10);
        let consumer = sandbox.consumer(&pair, &["--count", "10"]);
        sandbox.producer(&pair, &["--count", "10", "--interval", "0"]).end().expect(0);
        consumer.end().expect(0);
    }
}

#[test]
fn a_consumer_that_is_stopped_is_waited_for_or_given_up() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--json"]);
        let producer = sandbox.producer(&pair, &["--count", "300", "--interval", "1ms"]);
        consumer.wait_for_stdout("received #10 ").signal(SIGSTOP);
        producer.wait_for_stderr("blocked: #");
        consumer.signal(SIGCONT);
        producer.end().expect(0);
        consumer.end().expect(0).all_well(300);

        let consumer = sandbox.consumer(&pair, &[]);
        let producer = sandbox.producer(&pair, &["--count", "0", "--interval", "1ms", "--timeout", "300ms"]);
        consumer.wait_for_stdout("received #10 ").signal(SIGSTOP);
        producer.end().expect(3).says(" has not come back yet: nothing moved for ").says("(--timeout)");
        consumer.signal(SIGCONT);
        consumer.end().expect(3);
    }
}

#[test]
fn both_sides_must_be_told() {
    let hint = "say --duplex to both sides, or to neither";
    for transport in
        [&[][..], &["--transport", "seqpacket"], &["--transport", "tcp", "--addr", "127.0.0.1:{port}"]]
    {
        let pair = Pair { both: transport, ..ONE_WAY };
        for (first, second) in [(&["--duplex", "--json"][..], &[][..]), (&["--json"], &["--duplex"])] {
            let sandbox = Sandbox::new();
            let consumer = sandbox.consumer(&pair, first);
            consumer.wait_for_stderr("waiting for a producer");
            sandbox.producer(&pair, second).end().expect(1).says(hint);
            consumer.wait_for_stderr(hint);
            let same = if second.is_empty() { &["--duplex", "--count", "1"][..] } else { &["--count", "1"] };
            sandbox.producer(&pair, same).end().expect(0);
            consumer.end().expect(0);
        }
    }
    let sandbox = Sandbox::new();
    sandbox
        .producer(&UNIX, &[])
        .wait_for_stderr("socket-consumer -- ")
        .wait_for_stderr(" --duplex")
        .signal(SIGINT);
}

#[test]
fn where_an_answer_makes_no_sense() {
    let sandbox = Sandbox::new();
    for (args, said) in [
        (&["--transport", "udp"][..], "--transport udp"),
        (&["--unframed"], "--unframed"),
        (&["--drip", "1ms"], "--drip"),
        (&["--ack-window", "8"], "--ack-window"),
    ] {
        sandbox.producer(&UNIX, args).end().expect(2).says(said);
    }
    sandbox.consumer(&UNIX, &["--transport", "udp"]).end().expect(2).says("--transport udp");
    sandbox.consumer(&UNIX, &["--unframed"]).end().expect(2).says("--unframed");
    assert_eq!(sandbox.left(), Vec::<String>::new());
}

mod what_every_pair_promises {
    use super::*;

    #[test]
    fn a_consumer_that_waits_for_an_item_can_be_ended() {
        contract::ended_while_empty(&UNIX);
    }
    #[test]
    fn a_producer_that_waits_for_an_answer_or_a_consumer_can_be_ended() {
        contract::ended_while_full(&UNIX);
    }
    #[test]
    fn waiting_is_free() {
        contract::waiting_is_free(&UNIX);
    }
    #[test]
    fn what_was_received_is_written_when_the_end_comes_early() {
        contract::output_at_the_end(&UNIX);
    }
    #[test]
    fn a_peer_that_is_stopped_and_goes_on_loses_nothing() {
        survival::stopped(&UNIX);
    }
    #[test]
    fn interrupted_calls_change_nothing() {
        survival::interrupted(&UNIX);
    }
    #[test]
    fn killed_at_random_moments_and_started_again() {
        for pair in ALL {
            survival::killed_so_often(&pair, 30);
        }
    }
}

// From here on the test is one of the two sides, byte by byte as docs/wire-format.md says.

fn frame(kind: u32, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..], &kind.to_le_bytes(), body].concat()
}

fn hello(protocol: &[u8; 4], max_frame: u32) -> Vec<u8> {
    let words = [1, max_frame, 0].into_iter().flat_map(u32::to_le_bytes);
    frame(HELLO, &protocol.iter().copied().chain(words).collect::<Vec<_>>())
}

const DATA: u32 = 1;
const GOODBYE: u32 = 2;
const HELLO: u32 = 3;

/// The next frame; `None` at the end.
fn read_frame(stream: &mut impl Read) -> Option<(u32, Vec<u8>)> {
    let mut header = [0; 8];
    stream.read_exact(&mut header).ok()?;
    let [len, kind] = [0, 4].map(|i| u32::from_le_bytes(header[i..i + 4].try_into().expect("4 bytes")));
    let mut body = vec![0; len as usize];
    stream.read_exact(&mut body).expect("the whole frame");
    Some((kind, body))
}

/// A producer, and the test as its consumer.
fn as_consumer(sandbox: &Sandbox, args: &[&str]) -> (Process, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", sandbox.port())).expect("listen");
    let producer = sandbox.producer(&TCP, args);
    let (mut stream, _) = listener.accept().expect("accept");
    stream.set_read_timeout(Some(SOON)).expect("set");
    let (kind, body) = read_frame(&mut stream).expect("its HELLO");
    // 64 bytes and the item's header are what it takes back.
    assert_eq!((kind, &body[..12]), (HELLO, &hello(b"both", 96)[8..20]));
    stream.write_all(&hello(b"both", 1 << 20)).expect("answer");
    (producer, stream)
}

#[test]
fn no_other_item_comes_until_the_answer_to_the_last() {
    let sandbox = Sandbox::new();
    let (producer, mut stream) = as_consumer(&sandbox, &["--count", "3", "--interval", "0", "--json"]);
    for n in 0..3u64 {
        let (kind, item) = read_frame(&mut stream).expect("an item");
        assert_eq!((kind, &item[8..16]), (DATA, &n.to_le_bytes()[..]));
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("set");
        let more = stream.read(&mut [0]).expect_err("no other one");
        assert_eq!(more.kind(), ErrorKind::WouldBlock);
        stream.set_read_timeout(Some(SOON)).expect("set");
        // Its last byte is waited for.
        let answer = frame(DATA, &item);
        let (most, last) = answer.split_at(answer.len() - 1);
        stream.write_all(most).expect("answer");
        let since = Instant::now();
        while !producer.stderr().contains(&format!("blocked: #{n} has not come back yet")) {
            assert!(since.elapsed() < SOON, "{}", producer.stderr());
            std::thread::yield_now();
        }
        stream.write_all(last).expect("answer");
    }
    assert_eq!(read_frame(&mut stream), Some((GOODBYE, 3u64.to_le_bytes().to_vec())));
    stream.write_all(&frame(GOODBYE, &3u64.to_le_bytes())).expect("say goodbye");
    assert_eq!(producer.end().expect(0).number("answered"), 3);
}

#[test]
fn an_answer_that_is_none() {
    type Answer = fn(&[u8]) -> Vec<u8>;
    let cases: [(&str, i32, &str, Answer); 7] = [
        ("another byte", 4, "not item #0", |item| {
            let mut item = item.to_vec();
            item[50] ^= 1;
            frame(DATA, &item)
        }),
        ("a byte less", 4, "not item #0", |item| frame(DATA, &item[1..])),
        ("a byte more", 4, "97 bytes", |item| frame(DATA, &[item, &[0]].concat())),
        ("another kind", 4, "kind (0x7)", |_| frame(7, &1u64.to_le_bytes())),
        ("the same again", 4, "a frame of kind 1 where a goodbye", |item| frame(DATA, item).repeat(2)),
        ("a part", 4, "truncated", |item| frame(DATA, item)[..50].to_vec()),
        ("a goodbye", 3, "it took 1 of them", |_| frame(GOODBYE, &1u64.to_le_bytes())),
    ];
    for (what, code, said, answer) in cases {
        let sandbox = Sandbox::new();
        let (producer, mut stream) = as_consumer(&sandbox, &["--count", "1", "--interval", "0"]);
        let (_, item) = read_frame(&mut stream).expect("an item");
        stream.write_all(&answer(&item)).expect("answer");
        drop(stream);
        let ended = producer.end();
        assert!(ended.code == code && ended.stderr.contains(said), "{what}: {ended:?}");
    }
}

#[test]
fn what_a_consumer_sends_back_is_what_came() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&UNIX, &[]);
    consumer.wait_for_stderr("waiting for a producer");
    let path = sandbox.dir().join(format!("{}.sock", sandbox.name()));
    let mut stream = UnixStream::connect(path).expect("connect");
    stream.set_read_timeout(Some(SOON)).expect("set");
    stream.write_all(&hello(b"both", 1 << 20)).expect("say HELLO");
    let (kind, body) = read_frame(&mut stream).expect("an answer");
    assert_eq!((kind, &body[..4], body.len()), (HELLO, &b"both"[..], 16));
    // No item, and yet it comes back; several at once come back one by one.
    let bodies = [&b"x"[..], &[7; 100_000], b"three"];
    for body in bodies {
        stream.write_all(&frame(DATA, body)).expect("send");
    }
    for body in bodies {
        assert_eq!(read_frame(&mut stream), Some((DATA, body.to_vec())));
    }
    stream.write_all(&frame(GOODBYE, &3u64.to_le_bytes())).expect("say goodbye");
    assert_eq!(read_frame(&mut stream), Some((GOODBYE, 3u64.to_le_bytes().to_vec())));
    assert_eq!(read_frame(&mut stream), None);
    consumer.end().expect(4);
}

/// A socket of packets tells that somebody left without having read all before it hands out what that one sent.
#[test]
fn a_goodbye_is_heard_although_its_sender_left_the_answer_unread() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&SEQPACKET, &["--json"]);
    consumer.wait_for_stderr("waiting for a producer");
    let raw = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::empty(), None).expect("a socket");
    let path = sandbox.dir().join(format!("{}.sock", sandbox.name()));
    connect(raw.as_raw_fd(), &UnixAddr::new(&path).expect("short enough")).expect("connect");
    let send = |frame: Vec<u8>| assert_eq!(write(&raw, &frame[4..]).expect("room"), frame.len() - 4);
    send(hello(b"both", 100));
    assert_eq!(read(&raw, &mut [0; 256]).expect("its HELLO"), 4 + 16);
    let mut item = [7; 100];
    item::seal_now(&mut item, &item::Header { stream: 1, seq: 0, sent_ns: 0, pid: 1, crc: 0 });
    send(frame(DATA, &item));
    poll(&mut [PollFd::new(raw.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).expect("the answer comes");
    consumer.signal(SIGSTOP);
    send(frame(GOODBYE, &1u64.to_le_bytes()));
    drop(raw);
    consumer.signal(SIGCONT);
    consumer.end().expect(0).all_well(1);
}
