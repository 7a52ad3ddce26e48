//! Several calls under way at once: what holds for one holds for each of them.

use std::io::{Read, Write};
use std::net::TcpListener;

use common::testkit::{Pair, Sandbox};
use nix::sys::signal::Signal::{SIGCONT, SIGINT, SIGKILL, SIGSTOP};

const UNIX: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_rpc-producer"),
    consumer: env!("CARGO_BIN_EXE_rpc-consumer"),
    both: &[],
    only_producer: &["--in-flight", "32"],
    only_consumer: &[],
};
const TCP: Pair = Pair { both: &["--transport", "tcp", "--addr", "127.0.0.1:{port}"], ..UNIX };
const BOTH: [Pair; 2] = [UNIX, TCP];
const FAST: [&str; 4] = ["--interval", "0", "--quiet", "--json"];
const JSON: [&str; 2] = ["--quiet", "--json"];

/// Bytes as docs/wire-format.md says.
fn frame(kind: u32, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..], &kind.to_le_bytes(), body].concat()
}

fn hello() -> Vec<u8> {
    frame(3, &[b"call".as_slice(), &2u32.to_le_bytes(), &4096u32.to_le_bytes(), &[0; 4]].concat())
}

/// What a put of `bytes` bytes returns.
fn receipt(call: u64, bytes: u64) -> Vec<u8> {
    let header = [&call.to_le_bytes()[..], &5u32.to_le_bytes(), &0u32.to_le_bytes()].concat();
    frame(5, &[header, call.to_le_bytes().to_vec(), bytes.to_le_bytes().to_vec()].concat())
}

/// Kind, call and attempt of the next frame; zeros where there are none.
fn read_frame(stream: &mut impl Read) -> (u32, u64, u32) {
    let mut header = [0; 8];
    stream.read_exact(&mut header).expect("a frame's header");
    let word = |i: usize| u32::from_le_bytes(header[i..i + 4].try_into().expect("four bytes"));
    let mut body = vec![0; word(0) as usize];
    stream.read_exact(&mut body).expect("a frame's body");
    let call = body.get(8..16).map_or(0, |b| u64::from_le_bytes(b.try_into().expect("eight bytes")));
    let attempt = body.get(24..28).map_or(0, |b| u32::from_le_bytes(b.try_into().expect("four bytes")));
    (word(4), call, attempt)
}

#[test]
fn every_item_is_put_once_and_in_order() {
    for pair in BOTH {
        for (calls, nonblocking) in [("2", false), ("32", false), ("64", true)] {
            let sandbox = Sandbox::new();
            let flag = |given: bool| if given { &["--nonblocking"][..] } else { &[] };
            let server = sandbox.consumer(&pair, &[&JSON[..], flag(nonblocking)].concat());
            server.wait_for_stderr("waiting for a producer");
            let pair = Pair { only_producer: &[], ..pair };
            let args = [&FAST[..], &["--count", "20000", "--in-flight", calls], flag(nonblocking)].concat();
            let client = sandbox.producer(&pair, &args).end().expect(0);
            assert_eq!((client.number("items"), client.number("late_replies")), (20_000, 0));
            let server = server.end().expect(0);
            server.all_well(20_000);
            assert_eq!((server.number("executed"), server.number("executed_twice")), (20_000, 0));
        }
    }
}

#[test]
fn several_clients_at_once_and_items_that_are_large() {
    for pair in BOTH {
        let sandbox = Sandbox::new();
        let server = sandbox.consumer(&pair, &[&JSON[..], &["--forever"]].concat());
        server.wait_for_stderr("waiting for a producer");
        let clients: Vec<_> = ["1", "64", "5000", "1MiB"]
            .into_iter()
            .map(|size| sandbox.producer(&pair, &[&FAST[..], &["--count", "300", "--size", size]].concat()))
            .collect();
        for client in clients {
            assert_eq!(client.end().expect(0).number("items"), 300);
        }
        server.signal(SIGINT);
        server.end().expect(130).all_well(1200);
    }
}

#[test]
fn what_makes_no_sense_is_wrong_usage() {
    let sandbox = Sandbox::new();
    let alone = Pair { only_producer: &[], ..UNIX };
    for args in [
        &["--in-flight", "0", "--interval", "0"][..],
        &["--in-flight", "65", "--interval", "0"],
        &["--in-flight", "many", "--interval", "0"],
        &["--in-flight", "2"],
        &["--in-flight", "2", "--interval", "1ms"],
        &["--in-flight", "2", "--interval", "0", "--call", "stats"],
        &["--in-flight", "2", "--interval", "0", "--trace"],
    ] {
        let ended = sandbox.producer(&alone, args).end().expect(2);
        assert!(ended.stderr.contains("error: ") && ended.stderr.contains("--in-flight"), "{ended:?}");
    }
    assert!(sandbox.left().is_empty());
    sandbox.producer(&alone, &["--in-flight", "2"]).end().expect(2).says("--interval 0");
}

#[test]
fn replies_are_matched_by_number_in_whatever_order_they_come() {
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind(("127.0.0.1", sandbox.port())).expect("listen");
    let client = sandbox.producer(&TCP, &["--interval", "0", "--count", "64", "--json"]);
    let (mut server, _) = listener.accept().expect("accept");
    assert_eq!(read_frame(&mut server).0, 3);
    server.write_all(&hello()).expect("write");
    // So many come before the first is answered, and no more; then the other half.
    for half in [0, 32] {
        let calls: Vec<_> = (0..32).map(|_| read_frame(&mut server)).collect();
        assert_eq!(calls, (half + 1..=half + 32).map(|call| (4, call, 1)).collect::<Vec<_>>());
        if half == 0 {
            // The oldest is not answered yet: the window stays where it is, however many others have come back.
            let others: Vec<u8> = (2..=32).rev().flat_map(|call| receipt(call, 96)).collect();
            server.write_all(&others).expect("write");
            client.wait_for_stdout("sent #1  ");
            server.set_nonblocking(true).expect("fcntl");
            assert!(server.read(&mut [0]).is_err(), "call 33 was sent while call 1 was under way");
            server.set_nonblocking(false).expect("fcntl");
            // Stale, of a call that is not begun, and twice: but for one they are thrown away.
            server
                .write_all(&[receipt(5, 96), receipt(1000, 96), receipt(1, 96), receipt(1, 96)].concat())
                .expect("write");
        } else {
            let all: Vec<u8> = (33..=64).rev().flat_map(|call| receipt(call, 96)).collect();
            server.write_all(&all).expect("write");
        }
    }
    assert_eq!(read_frame(&mut server).0, 2);
    let ended = client.end().expect(0);
    assert_eq!((ended.number("items"), ended.number("late_replies")), (64, 3));
    let order: Vec<_> = ended.stdout.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!((order[0], order[31], order[63]), ("#31", "#0", "#32"));
}

#[test]
fn a_wrong_receipt_is_bad_data() {
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind(("127.0.0.1", sandbox.port())).expect("listen");
    let client = sandbox.producer(&TCP, &["--interval", "0", "--count", "3"]);
    let (mut server, _) = listener.accept().expect("accept");
    server.write_all(&[hello(), receipt(2, 95)].concat()).expect("write");
    client.end().expect(4).says("for an item of 96 bytes");
}

#[test]
fn calls_whose_replies_are_lost_are_sent_again_and_run_as_they_ask() {
    for (semantics, twice) in [("at-most-once", false), ("at-least-once", true)] {
        for pair in BOTH {
            let sandbox = Sandbox::new();
            let server = sandbox.consumer(&pair, &["--drop-replies", "20", "--quiet", "--json"]);
            server.wait_for_stderr("waiting for a producer");
            let retry = ["--count", "200", "--deadline", "300ms", "--retries", "9", "--semantics", semantics];
            let client = sandbox.producer(&pair, &[&FAST[..], &retry].concat()).end().expect(0);
            assert_eq!(client.number("items"), 200);
            assert!(client.number("retries") >= 10, "{}", client.json());
            let server = server.end().expect(if twice { 4 } else { 0 });
            let [again, remembered] = ["executed_twice", "remembered"].map(|key| server.number(key));
            assert!(if twice { again >= 10 } else { again == 0 && remembered >= 10 }, "{}", server.json());
            assert_eq!((server.number("lost"), server.number("duplicated")), (0, again));
        }
    }
}

#[test]
fn a_deadline_without_retries_ends_it_and_says_how_many_are_unknown() {
    let sandbox = Sandbox::new();
    let server = sandbox.consumer(&UNIX, &["--drop-replies", "1", "--quiet"]);
    server.wait_for_stderr("waiting for a producer");
    let client = sandbox.producer(&UNIX, &[&FAST[..], &["--count", "5", "--deadline", "200ms"]].concat());
    let ended = client.end().expect(3).says("no reply within 200.0ms; outcome unknown");
    assert_eq!(ended.number("items"), 0);
    ended.says("5 calls").says("--retries 3");
    server.end().expect(3);
}

#[test]
fn a_server_that_leaves_says_which_calls_it_ran() {
    for pair in BOTH {
        let sandbox = Sandbox::new();
        let server = sandbox.consumer(&pair, &["--count", "100", "--json"]);
        let client = sandbox.producer(&pair, &["--count", "0", "--interval", "0", "--json", "--quiet"]);
        server.end().expect(0).all_well(100);
        let client = client.end().expect(3).says("the server has gone after 100 calls; the call did not run");
        assert_eq!(client.number("items"), 100);
    }
}

#[test]
fn another_server_gets_what_the_first_certainly_did_not_run() {
    for pair in BOTH {
        let sandbox = Sandbox::new();
        let first = sandbox.consumer(&pair, &["--count", "1000", "--quiet", "--json"]);
        first.wait_for_stderr("waiting for a producer");
        let args = ["--count", "3000", "--deadline", "20s", "--retries", "1"];
        let client = sandbox.producer(&pair, &[&FAST[..], &args].concat());
        first.end().expect(0).all_well(1000);
        let second = sandbox.consumer(&pair, &JSON);
        assert_eq!(client.end().expect(0).number("items"), 3000);
        // Calls that were under way are not run twice, and none is left out.
        let second = second.end().expect(0);
        assert_eq!((second.number("items"), second.number("duplicated")), (2000, 0));
    }
}

#[test]
fn a_server_that_is_killed_leaves_calls_of_which_nobody_knows() {
    for (semantics, code) in [("at-most-once", 3), ("at-least-once", 0)] {
        let sandbox = Sandbox::new();
        let first = sandbox.consumer(&UNIX, &["--delay", "1h", "--quiet"]);
        first.wait_for_stderr("waiting for a producer");
        let args = ["--count", "50", "--deadline", "20s", "--retries", "1", "--semantics", semantics];
        let client = sandbox.producer(&UNIX, &[&["--interval", "0", "--json"][..], &args].concat());
        client.wait_for_stderr("no reply yet from");
        first.signal(SIGKILL);
        first.end().expect(137);
        let second = sandbox.consumer(&UNIX, &JSON);
        let ended = client.end().expect(code).says("outcome unknown");
        if code == 0 {
            assert_eq!(ended.number("items"), 50);
            second.end().expect(0).all_well(50);
        } else {
            assert_eq!(ended.number("items"), 0);
            second.end().expect(3);
        }
    }
    let sandbox = Sandbox::new();
    let server = sandbox.consumer(&TCP, &["--delay", "1h", "--quiet"]);
    server.wait_for_stderr("waiting for a producer");
    let client = sandbox.producer(&TCP, &["--interval", "0", "--count", "0", "--json"]);
    client.wait_for_stderr("no reply yet from").wait_for_stderr("to 32 calls");
    server.signal(SIGKILL);
    let ended = client.end().expect(3).says("the server has gone after 0 calls; outcome unknown");
    ended.says("32 calls");
}

#[test]
fn ctrl_c_with_calls_under_way_is_a_goodbye() {
    for pair in BOTH {
        let sandbox = Sandbox::new();
        let server = sandbox.consumer(&pair, &["--delay", "20ms", "--json", "--quiet"]);
        server.wait_for_stderr("waiting for a producer");
        let client = sandbox.producer(&pair, &["--interval", "0", "--count", "0", "--json"]);
        client.wait_for_stdout("sent #9  ");
        server.signal(SIGSTOP);
        client.signal(SIGINT);
        let answered = client.end().expect(130).number("items");
        server.signal(SIGCONT);
        let server = server.end();
        // Over TCP the replies that nobody reads any more may reset the connection before the goodbye is read.
        assert!(server.code == 0 || pair.both == TCP.both && server.code == 3, "{server:?}");
        assert!(
            (answered..=answered + 64).contains(&server.number("items")),
            "{answered}: {}",
            server.json()
        );
    }
}

#[test]
fn what_was_read_is_put_before_more_is_read() {
    let mut sandbox = Sandbox::new();
    let from = sandbox.file("from");
    std::fs::write(&from, "short\n".repeat(100) + "much too long\n").expect("write the file");
    let server = sandbox.consumer(&UNIX, &JSON);
    let from = from.to_str().expect("UTF-8");
    let client = sandbox.producer(&UNIX, &["--input", from, "--lines", "--size", "8", "--json", "--quiet"]);
    assert_eq!(client.end().expect(1).says("give a larger --size").number("items"), 100);
    assert_eq!(server.end().expect(3).number("items"), 100);
}
