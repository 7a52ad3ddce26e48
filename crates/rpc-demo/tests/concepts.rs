//! What a learner must see: the function lives in the server, the stubs carry calls there, and a call can be lost.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use common::testkit::{Outcome, Pair, Process, Sandbox};
use nix::sys::signal::Signal::{SIGCONT, SIGINT, SIGKILL, SIGSTOP};

const UNIX: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_rpc-producer"),
    consumer: env!("CARGO_BIN_EXE_rpc-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};
const TCP: Pair = Pair { both: &["--transport", "tcp", "--addr", "127.0.0.1:{port}"], ..UNIX };
const BOTH: [Pair; 2] = [UNIX, TCP];

const AT_LEAST_ONCE: [&str; 2] = ["--semantics", "at-least-once"];
const AT_MOST_ONCE: [&str; 2] = ["--semantics", "at-most-once"];

fn number(outcome: &Outcome, keys: &[&str]) -> Vec<u64> {
    keys.iter().map(|key| outcome.number(key)).collect()
}

#[test]
fn row_26_the_function_lives_in_the_server() {
    let sandbox = Sandbox::new();
    let server = sandbox.consumer(&UNIX, &["--forever", "--json"]);
    for (call, code, result) in [
        (&["sum", "1", "2", "3"][..], 0, "6\n"),
        (&["divide", "7", "2"], 0, "3\n"),
        (&["divide", "7", "0"], 1, ""),
        (&["stats"], 0, "calls 4, faults 1, items 0, bytes 0\n"),
    ] {
        let client = sandbox.producer(&UNIX, &[&["--call"], call].concat());
        let (here, there) = (client.pid(), server.pid());
        let client =
            client.end().expect(code).says(&format!("ran in process {there}; this is process {here}"));
        assert_eq!(client.stdout, result, "{call:?}");
        assert!(!client.stderr.contains("items"), "no items were sent: {}", client.stderr);
    }
    let client = sandbox.producer(&UNIX, &["--count", "2", "--interval", "0", "--json"]).end().expect(0);
    let shown = format!("sent #1  64 B  ran in process {}\n", server.pid());
    assert!(client.stdout.contains(&shown), "{shown:?} is missing from:\n{}", client.stdout);
    assert_eq!(client.number("ran_in"), u64::from(server.pid()));
    // Where the function is, there it is stopped.
    server.signal(SIGSTOP);
    let mut client = sandbox.producer(&UNIX, &["--call", "sum", "1"]);
    client.wait_for_stderr("blocked");
    assert!(client.is_running() && client.stdout().is_empty());
    server.signal(SIGCONT);
    assert_eq!(client.end().expect(0).stdout, "1\n");
    server.signal(SIGINT);
    assert_eq!(number(&server.end().expect(130), &["executed", "faults", "items"]), [7, 1, 2]);
}

/// The bytes in a trace's lines from `from` to `to`: offset, up to 16 bytes in hex, and what they mean.
fn bytes_between(text: &str, from: &str, to: &str) -> Vec<u8> {
    let start = text.find(from).unwrap_or_else(|| panic!("{from:?} is missing from:\n{text}"));
    let end = start + text[start..].find(to).unwrap_or_else(|| panic!("{to:?} is missing from:\n{text}"));
    text[start..end]
        .lines()
        .filter(|line| line.starts_with("    "))
        .flat_map(|line| line.get(11..).unwrap_or_default().split("  ").next().expect("bytes").split(' '))
        .map(|byte| u8::from_str_radix(byte, 16).unwrap_or_else(|e| panic!("{e}: {byte:?} in:\n{text}")))
        .collect()
}

/// As docs/wire-format.md says, which knows nothing of this crate's marshalling.
fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}

#[test]
fn row_27_the_four_steps_of_a_call() {
    let sandbox = Sandbox::new();
    let server = sandbox.consumer(&UNIX, &["--trace", "--forever"]);
    let client = sandbox.producer(&UNIX, &["--trace", "--call", "sum", "1", "-2", "300"]);
    let (here, there) = (client.pid(), server.pid());
    let client = client.end().expect(0);
    let steps = [
        format!("1 arguments    sum(1, -2, 300), in process {here}\n"),
        format!("2 client stub  marshals them, and sends 64 bytes to pid {there}:\n"),
        "3 server stub  unmarshalled them".into(),
        format!("4 function     ran in process {there}\n"),
        "  server stub  marshalled the result: 32 bytes came back:\n".into(),
        format!("  result       299, in process {here}\n"),
    ];
    let mut rest = client.stderr.as_str();
    for step in &steps {
        rest =
            rest.split_once(step).unwrap_or_else(|| panic!("{step:?} is missing from:\n{}", client.stderr)).1;
    }

    let sent = bytes_between(&client.stderr, "2 client stub", "3 server stub");
    assert_eq!(sent.len(), 64);
    assert_eq!((u32_at(&sent, 0), u32_at(&sent, 4)), (56, 4), "the frame's header: length, REQUEST");
    let body = &sent[8..];
    assert_eq!(u64_at(body, 8), 1, "call");
    assert_eq!(
        (u32_at(body, 16), u32_at(body, 20), u32_at(body, 24)),
        (2, 2, 1),
        "sum, at most once, attempt 1"
    );
    assert_eq!(u32_at(body, 28), 3, "three numbers");
    let numbers: Vec<i64> = (0..3).map(|i| u64_at(body, 32 + 8 * i) as i64).collect();
    assert_eq!(numbers, [1, -2, 300]);

    let came = bytes_between(&client.stderr, "  server stub", "  result");
    assert_eq!((came.len(), u32_at(&came, 0), u32_at(&came, 4)), (32, 24, 5), "REPLY");
    let body = &came[8..];
    assert_eq!((u64_at(body, 0), u32_at(body, 8), u32_at(body, 12)), (1, there, 0), "call, pid, status");
    assert_eq!(u64_at(body, 16), 299);

    // The server shows its steps where they happen: the same bytes came, and the same bytes went back.
    server.wait_for_stderr("marshals the result").wait_for_stderr("result\n");
    let text = server.stderr() + "end";
    assert_eq!(bytes_between(&text, "3 server stub", "  server stub  unmarshals"), sent);
    assert_eq!(bytes_between(&text, "  server stub  marshals", "end"), came);
    for step in [
        "unmarshals them: sum(1, -2, 300)",
        &format!("4 function     runs in process {there}, and returns 299"),
    ] {
        assert!(text.contains(step), "{step:?} is missing from:\n{text}");
    }

    // An item, which docs/wire-format.md takes apart too; and a call that fails there.
    let client = sandbox.producer(&UNIX, &["--trace", "--count", "1", "--size", "5"]);
    let here = client.pid();
    let sent = bytes_between(&client.end().expect(0).stderr, "2 client stub", "3 server stub");
    let (body, item) = (&sent[8..], &sent[36..]);
    assert_eq!((u32_at(body, 16), item.len()), (1, 37), "put");
    assert_eq!(
        (u64_at(item, 0), u64_at(item, 8), u32_at(item, 24)),
        (u64_at(body, 0), 0, here),
        "stream, seq, pid"
    );
    let client = sandbox.producer(&UNIX, &["--trace", "--call", "divide", "1", "0"]).end().expect(1);
    client.says(&format!("4 function     ran in process {there}: division by zero"));
    server.signal(SIGINT);
    server.end().expect(130);
}

#[test]
fn row_28_the_same_stubs_locally_and_remotely() {
    let traces = BOTH.map(|pair| {
        let sandbox = Sandbox::new();
        let server = sandbox.consumer(&pair, &["--forever", "--trace"]);
        server.wait_for_stderr("waiting");
        let socket = sandbox.dir().join(format!("{}.rpc.sock", sandbox.name()));
        let listeners = std::fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
        let listens = listeners.contains(&format!("0100007F:{:04X}", sandbox.port()));
        let client = sandbox.producer(&pair, &["--trace", "--call", "divide", "-7", "2"]).end().expect(0);
        assert_eq!(client.stdout, "-3\n");
        let (kind, to) = match socket.exists() {
            true => ("a local procedure call", format!("to pid {}", server.pid())),
            false => ("a remote procedure call", format!("to 127.0.0.1:{}", sandbox.port())),
        };
        assert_eq!(listens, !socket.exists(), "it is one of the two");
        let client = client.says(kind).says(&to);
        let mut sent = bytes_between(&client.stderr, "2 client stub", "3 server stub");
        sent[8..16].fill(0); // the stream, a random number
        let mut came = bytes_between(&client.stderr, "  server stub", "  result");
        assert_eq!(u32_at(&came, 16), server.pid());
        came[16..20].fill(0);
        server.signal(SIGINT);
        server.end().expect(130);
        (kind, sent, came)
    });
    let [(unix, unix_sent, unix_came), (tcp, tcp_sent, tcp_came)] = traces;
    assert_ne!(unix, tcp);
    assert_eq!((unix_sent, unix_came), (tcp_sent, tcp_came), "the stubs do not know what is below them");
}

/// A run with every third reply lost: producer and consumer.
fn lost_replies(pair: &Pair, deadline: &str, more: &[&str]) -> (Outcome, Outcome) {
    let sandbox = Sandbox::new();
    let server = sandbox.consumer(pair, &["--drop-replies", "3", "--json"]);
    let args = ["--count", "9", "--interval", "0", "--json", "--deadline", deadline];
    let client = sandbox.producer(pair, &[&args[..], more].concat());
    (client.end(), server.end())
}

#[test]
fn row_29_at_least_once_runs_a_lost_call_twice() {
    for pair in BOTH {
        let (client, server) =
            lost_replies(&pair, "400ms", &[&["--retries", "20"][..], &AT_LEAST_ONCE].concat());
        let client = client.expect(0).says("retry: 1 of 20");
        // The producer has its receipts; the consumer has items twice, and says why and what helps.
        let server = server.expect(4).says("executed again: put").says("say --semantics at-most-once");
        let [executed, twice, items, duplicated, dropped] =
            ["executed", "executed_twice", "items", "duplicated", "replies_dropped"]
                .map(|k| server.number(k));
        assert!(dropped >= 3 && twice >= dropped, "{}", server.json());
        assert_eq!((executed, duplicated, items), (9 + twice, twice, 9 + twice));
        assert_eq!(client.number("items"), 9);
        assert!(client.number("retries") >= dropped);
    }
}

#[test]
fn row_29_at_most_once_answers_a_lost_call_from_memory() {
    for pair in BOTH {
        let (client, server) =
            lost_replies(&pair, "400ms", &[&["--retries", "20"][..], &AT_MOST_ONCE].concat());
        let client = client.expect(0).says("retry: 1 of 20");
        let server = server.expect(0).says("not executed again: put");
        server.all_well(9);
        assert_eq!(number(&server, &["executed", "executed_twice"]), [9, 0]);
        assert!(server.number("replies_dropped") >= 3);
        assert!(server.number("remembered") >= server.number("replies_dropped"));
        assert_eq!(client.number("items"), 9);
    }
}

#[test]
fn row_29_a_deadline_alone_leaves_the_outcome_unknown() {
    for pair in BOTH {
        let (client, server) = lost_replies(&pair, "3s", &[]);
        let client = client.expect(3).says("no reply within 3.0s; outcome unknown").says("--retries");
        // The procedure has run, and its client will never know.
        assert_eq!((client.number("items"), client.number("retries")), (2, 0));
        assert_eq!(server.expect(3).number("executed"), 3);
    }
}

#[test]
fn row_29_retries_come_to_an_end() {
    let sandbox = Sandbox::new();
    let server = sandbox.consumer(&UNIX, &["--drop-replies", "1", "--json"]);
    let args = ["--json", "--deadline", "150ms", "--retries", "3"];
    let client = sandbox.producer(&UNIX, &args).end().expect(3).says("outcome unknown");
    assert_eq!(client.number("retries"), 3);
    let server = server.end().expect(3);
    assert_eq!(number(&server, &["executed", "remembered", "replies_dropped"]), [1, 3, 4]);
}

#[test]
fn row_29_an_idempotent_procedure_may_run_twice() {
    let sandbox = Sandbox::new();
    let server = sandbox.consumer(&UNIX, &["--drop-replies", "2", "--forever", "--json"]);
    let args =
        ["--deadline", "400ms", "--retries", "20", "--semantics", "at-least-once", "--call", "sum", "1", "2"];
    for _ in 0..2 {
        assert_eq!(sandbox.producer(&UNIX, &args).end().expect(0).stdout, "3\n");
    }
    server.wait_for_stderr("harmless, because it is idempotent").signal(SIGINT);
    let server = server.end().expect(130);
    assert!(server.number("executed_twice") >= 1);
}

#[test]
fn row_29_a_late_reply_is_thrown_away() {
    for pair in BOTH {
        let sandbox = Sandbox::new();
        // Nothing is lost here: the procedure takes longer than its client is willing to wait.
        let server = sandbox.consumer(&pair, &["--delay", "700ms", "--json"]);
        let args = ["--count", "3", "--interval", "0", "--json", "--deadline", "200ms", "--retries", "1000"];
        let client = sandbox.producer(&pair, &args).end().expect(0);
        let server = server.end().expect(0);
        server.all_well(3);
        assert_eq!(number(&server, &["executed", "executed_twice"]), [3, 0]);
        // One reply for each attempt, one of them for each call; the rest came late.
        assert!(client.number("late_replies") >= 3, "{}", client.json());
        assert_eq!(client.number("late_replies"), server.number("remembered"));
        assert!(client.number("late_replies") <= client.number("retries"));
    }
}

#[test]
fn row_29_half_a_request_goes_on_where_it_stopped() {
    // A Unix socket holds some hundred KiB, where TCP's buffers may grow to hold all of it.
    let sandbox = Sandbox::new();
    let server = sandbox.consumer(&UNIX, &["--json"]);
    let args =
        ["--count", "2", "--size", "8MiB", "--interval", "5s", "--deadline", "300ms", "--retries", "1000"];
    let client = sandbox.producer(&UNIX, &args);
    client.wait_for_stdout("sent #0");
    server.signal(SIGSTOP);
    client.wait_for_stderr("the call did not run").wait_for_stderr("retry: 3 of 1000");
    server.signal(SIGCONT);
    client.end().expect(0);
    let server = server.end().expect(0);
    server.all_well(2);
    assert_eq!(server.number("executed_twice"), 0);
}

/// A server that is killed in the middle of the first call, and another that comes in its place.
fn killed_in_a_call(pair: &Pair, semantics: [&str; 2]) -> (Outcome, Process, Sandbox) {
    let sandbox = Sandbox::new();
    let server = sandbox.consumer(pair, &["--delay", "1h"]);
    let args = ["--count", "4", "--interval", "0", "--deadline", "20s", "--retries", "3", "--json"];
    let client = sandbox.producer(pair, &[&args[..], &semantics].concat());
    server.wait_for_stdout("received #0");
    server.signal(SIGKILL);
    client.wait_for_stderr("retry: 1 of 3");
    let server = sandbox.consumer(pair, &["--forever", "--json"]);
    (client.end(), server, sandbox)
}

#[test]
fn row_29_another_server_cannot_know_what_the_dead_one_ran() {
    for pair in BOTH {
        let (client, server, _sandbox) = killed_in_a_call(&pair, AT_MOST_ONCE);
        client.expect(3).says("outcome unknown").says("it knows nothing of the first time");
        server.wait_for_stderr("gone without a goodbye").signal(SIGINT);
        assert_eq!(server.end().expect(130).number("executed"), 0);
        // At least once does not ask: item 0 was received by both.
        let (client, server, _sandbox) = killed_in_a_call(&pair, AT_LEAST_ONCE);
        assert_eq!(client.expect(0).number("items"), 4);
        server.signal(SIGINT);
        server.end().expect(130).all_well(4);
    }
}

#[test]
fn row_29_a_server_that_comes_between_two_calls_goes_on() {
    for pair in BOTH {
        let sandbox = Sandbox::new();
        let server = sandbox.consumer(&pair, &[]);
        let args = ["--count", "2", "--interval", "5s", "--deadline", "20s", "--retries", "3", "--json"];
        let client = sandbox.producer(&pair, &args);
        client.wait_for_stdout("sent #0");
        server.signal(SIGKILL);
        server.end();
        let server = sandbox.consumer(&pair, &["--json"]);
        // It was certain that call 1 had not run anywhere: so at most once holds.
        let client = client.end().expect(0).says("the call did not run");
        assert_eq!(client.number("items"), 2);
        let server = server.end().expect(0);
        assert_eq!(number(&server, &["executed", "lost", "gaps"]), [1, 0, 1], "item 0 went to the other");
    }
}

#[test]
fn row_29_nobody_comes_in_time() {
    let sandbox = Sandbox::new();
    let start = |retries| {
        let server = sandbox.consumer(&UNIX, &["--delay", "1h"]);
        let client =
            sandbox.producer(&UNIX, &["--deadline", "300ms", "--retries", retries, "--interval", "0"]);
        server.wait_for_stdout("received #0");
        server.signal(SIGKILL);
        client
    };
    let client = start("2");
    client.end().expect(3).says("waiting for a consumer").says("outcome unknown");
    let client = start("1000");
    client.wait_for_stderr("waiting for a consumer").signal(SIGINT);
    client.end().expect(130);
    // The next pair finds what the dead server left, and needs no cleaning by hand.
    let server = sandbox.consumer(&UNIX, &["--json"]);
    sandbox.producer(&UNIX, &["--count", "1"]).end().expect(0);
    server.end().expect(0).all_well(1);
}

/// Between client and server: cuts the first connection when the reply to its first call passes.
fn cut_first_reply(proxy: TcpListener, server: u16) {
    const HELLO: usize = 8 + 16;
    for round in 0..2 {
        let (mut client, _) = proxy.accept().expect("a client");
        let mut server = TcpStream::connect(("127.0.0.1", server)).expect("the server");
        let (mut from, mut to) = (client.try_clone().expect("dup"), server.try_clone().expect("dup"));
        let there = thread::spawn(move || std::io::copy(&mut from, &mut to));
        let mut bytes = [0; HELLO];
        server.read_exact(&mut bytes).expect("HELLO");
        client.write_all(&bytes).expect("write");
        if round == 0 {
            server.read_exact(&mut bytes[..8]).expect("the reply's header");
        } else {
            let _ = std::io::copy(&mut server, &mut client);
        }
        for end in [&client, &server] {
            let _ = end.shutdown(Shutdown::Both);
        }
        let _ = there.join();
    }
}

#[test]
fn row_29_the_request_id_holds_over_another_connection() {
    const LISTENS: Pair =
        Pair { both: &["--transport", "tcp"], only_consumer: &["--addr", "127.0.0.1:{port}"], ..UNIX };
    for (semantics, executed, calls) in [(AT_MOST_ONCE, 1, 1), (AT_LEAST_ONCE, 2, 2)] {
        let sandbox = Sandbox::new();
        let server = sandbox.consumer(&LISTENS, &["--forever", "--json"]);
        server.wait_for_stderr("waiting");
        let proxy = TcpListener::bind("127.0.0.1:0").expect("listen");
        let addr = proxy.local_addr().expect("an address").to_string();
        let port = sandbox.port();
        let proxy = thread::spawn(move || cut_first_reply(proxy, port));
        let args = ["--addr", &addr, "--deadline", "20s", "--retries", "3", "--call", "stats"];
        let client = sandbox.producer(&LISTENS, &[&semantics[..], &args].concat()).end().expect(0);
        proxy.join().expect("the proxy");
        assert!(client.stdout.starts_with(&format!("calls {calls},")), "{}", client.stdout);
        server.signal(SIGINT);
        let server = server.end().expect(130);
        assert_eq!(number(&server, &["executed", "executed_twice"]), [executed, executed - 1]);
    }
}

#[test]
fn row_29_wrong_combinations() {
    let sandbox = Sandbox::new();
    for args in [
        &["--retries", "3"][..],
        &["--deadline", "1s", "--semantics", "at-least-once"],
        &["--deadline", "1s", "--retries", "3", "--semantics", "exactly-once"],
        &["--drop-replies", "3"],
    ] {
        sandbox.producer(&UNIX, args).end().expect(2);
    }
    for args in [&["--drop-replies", "0"][..], &["--drop-replies"], &["--semantics", "at-most-once"]] {
        sandbox.consumer(&UNIX, args).end().expect(2);
    }
    assert!(sandbox.left().is_empty());
}
