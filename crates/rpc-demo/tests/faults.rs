//! What only a call can suffer: faults of its own, lost outcomes, requests that are none.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use common::testkit::{Pair, Process, Sandbox};
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

fn call(sandbox: &Sandbox, pair: &Pair, words: &[&str]) -> Process {
    sandbox.producer(pair, &[&["--call"], words].concat())
}

/// Bytes as docs/wire-format.md says.
fn frame(kind: u32, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..], &kind.to_le_bytes(), body].concat()
}

fn hello() -> Vec<u8> {
    frame(3, &[b"call".as_slice(), &2u32.to_le_bytes(), &1024u32.to_le_bytes(), &[0; 4]].concat())
}

/// A request that is to run at most once, and is sent for the first time.
fn request(id: u64, procedure: u32, args: &[u8]) -> Vec<u8> {
    request_of(7, id, procedure, 2, 1, args)
}

fn request_of(stream: u64, id: u64, procedure: u32, semantics: u32, attempt: u32, args: &[u8]) -> Vec<u8> {
    let [procedure, semantics, attempt] = [procedure, semantics, attempt].map(u32::to_le_bytes);
    frame(4, &[&stream.to_le_bytes()[..], &id.to_le_bytes(), &procedure, &semantics, &attempt, args].concat())
}

fn reply(id: u64, pid: u32, status: u32, result: &[u8]) -> Vec<u8> {
    frame(5, &[&id.to_le_bytes()[..], &pid.to_le_bytes(), &status.to_le_bytes(), result].concat())
}

fn read_frame(stream: &mut impl Read) -> (u32, Vec<u8>) {
    let mut header = [0; 8];
    stream.read_exact(&mut header).expect("a frame's header");
    let word = |i: usize| u32::from_le_bytes(header[i..i + 4].try_into().expect("four bytes"));
    let mut body = vec![0; word(0) as usize];
    stream.read_exact(&mut body).expect("a frame's body");
    (word(4), body)
}

#[test]
fn procedures_run_over_there() {
    for pair in BOTH {
        let sandbox = Sandbox::new();
        let server = sandbox.consumer(&pair, &["--forever", "--json"]);
        for (words, result) in [
            (&["sum", "1", "2", "3"][..], "6\n"),
            (&["sum"], "0\n"),
            (&["sum", "9223372036854775807", "1", "-1"], "9223372036854775807\n"),
            (&["divide", "-7", "2"], "-3\n"),
        ] {
            let ended = call(&sandbox, &pair, words).end().expect(0);
            assert_eq!(ended.stdout, result, "{words:?}");
            assert!(ended.stderr.contains(&format!("ran in process {}", server.pid())), "{}", ended.stderr);
        }
        for (words, fault) in [
            (&["divide", "7", "0"][..], "divide(7, 0): the server answered: division by zero"),
            (&["divide", "-9223372036854775808", "-1"], "overflow"),
            (&["sum", "9223372036854775807", "1"], "overflow"),
        ] {
            let ended = call(&sandbox, &pair, words).end().expect(1).says(fault);
            assert_eq!(ended.stdout, "");
        }
        sandbox.producer(&pair, &["--count", "5", "--interval", "0"]).end().expect(0);
        let ended = call(&sandbox, &pair, &["stats"]).end().expect(0);
        assert_eq!(ended.stdout, "calls 13, faults 3, items 5, bytes 480\n");
        server.signal(SIGINT);
        let server = server.end().expect(130);
        assert_eq!((server.number("executed"), server.number("faults"), server.number("items")), (13, 3, 5));
    }
}

#[test]
fn a_call_is_a_producer_and_its_end_the_servers() {
    let sandbox = Sandbox::new();
    let server = sandbox.consumer(&UNIX, &["--json"]);
    call(&sandbox, &UNIX, &["sum", "1"]).end().expect(0);
    assert_eq!(server.end().expect(0).number("items"), 0);
    // The other order, and a call that fails.
    let client = call(&sandbox, &UNIX, &["divide", "1", "0"]);
    client.wait_for_stderr("waiting for a consumer");
    let server = sandbox.consumer(&UNIX, &[]);
    client.end().expect(1);
    server.end().expect(0);
}

#[test]
fn what_cannot_be_called() {
    let sandbox = Sandbox::new();
    for words in
        [&["nosuch"][..], &["divide", "1"], &["sum", "x"], &["put", "x"], &["sum", "9223372036854775808"]]
    {
        call(&sandbox, &UNIX, words).end().expect(2).says("error: ");
    }
    call(&sandbox, &UNIX, &["nosuch"]).end().expect(2).says("there are: sum N…, divide N N, stats");
    assert!(sandbox.left().is_empty());
}

#[test]
fn many_clients_at_once() {
    for pair in BOTH {
        let sandbox = Sandbox::new();
        let server = sandbox.consumer(&pair, &["--forever", "--quiet", "--json"]);
        server.wait_for_stderr("waiting for a producer");
        let args = ["--count", "2000", "--interval", "0", "--quiet", "--json"];
        let clients: Vec<_> = (0..8).map(|_| sandbox.producer(&pair, &args)).collect();
        for client in clients {
            assert_eq!(client.end().expect(0).number("items"), 2000);
        }
        server.signal(SIGINT);
        server.end().expect(130).all_well(16_000);
    }
}

#[test]
fn the_server_is_killed_during_a_call() {
    for pair in BOTH {
        let sandbox = Sandbox::new();
        let server = sandbox.consumer(&pair, &["--delay", "1h"]);
        let client = sandbox.producer(&pair, &["--interval", "0"]);
        server.wait_for_stdout("received #0");
        server.signal(SIGKILL);
        client.end().expect(3).says("after 0 calls; outcome unknown");
        // Nothing to be cleaned by hand.
        let server = sandbox.consumer(&pair, &["--json"]);
        sandbox.producer(&pair, &["--count", "10", "--interval", "0"]).end().expect(0);
        server.end().expect(0).all_well(10);
    }
}

#[test]
fn a_server_that_leaves_says_which_calls_it_ran() {
    for pair in BOTH {
        let sandbox = Sandbox::new();
        let server = sandbox.consumer(&pair, &["--count", "3", "--json"]);
        let client = sandbox.producer(&pair, &["--count", "0", "--interval", "0", "--json"]);
        server.end().expect(0).all_well(3);
        let client = client.end().expect(3);
        assert!(client.stderr.contains("; the call did not run"), "{}", client.stderr);
        assert!(client.stderr.contains("a call that did not run can be sent again"), "{}", client.stderr);
        assert_eq!(client.number("items"), 3);
    }
}

#[test]
fn a_client_is_killed() {
    for pair in BOTH {
        let sandbox = Sandbox::new();
        let server = sandbox.consumer(&pair, &["--json"]);
        let client = sandbox.producer(&pair, &["--interval", "1h"]);
        server.wait_for_stdout("received #0");
        client.signal(SIGKILL);
        server.end().expect(3).says("gone without a goodbye").all_well(1);
    }
}

#[test]
fn ctrl_c_between_two_calls_is_a_goodbye_and_within_one_too() {
    for pair in BOTH {
        let sandbox = Sandbox::new();
        let server = sandbox.consumer(&pair, &["--json"]);
        let client = sandbox.producer(&pair, &["--interval", "1h"]);
        client.wait_for_stdout("sent #0");
        client.signal(SIGINT);
        client.end().expect(130);
        server.end().expect(0).all_well(1);

        let server = sandbox.consumer(&pair, &["--json"]);
        server.wait_for_stderr("waiting for a producer");
        let client = sandbox.producer(&pair, &["--interval", "1h", "--count", "2"]);
        client.wait_for_stdout("sent #0");
        server.wait_for_stderr("blocked").signal(SIGSTOP);
        client.signal(SIGINT);
        client.end().expect(130);
        server.signal(SIGCONT);
        server.end().expect(0).all_well(1);
    }
}

#[test]
fn requests_that_are_none_are_answered_with_a_fault_or_refused() {
    let sandbox = Sandbox::new();
    let server = sandbox.consumer(&UNIX, &["--json"]);
    server.wait_for_stderr("waiting for a producer");
    let path = sandbox.dir().join(format!("{}.rpc.sock", sandbox.name()));
    let mut client = UnixStream::connect(&path).expect("connect");
    client.write_all(&hello()).expect("write");
    assert_eq!(read_frame(&mut client).1[..8], hello()[8..16]);
    let status = |body: &[u8]| u32::from_le_bytes(body[12..16].try_into().expect("four bytes"));
    let list_that_claims_much = u32::MAX.to_le_bytes();
    for (id, procedure, args, want) in [
        (7, 99, &b""[..], 1),
        (8, 0, b"", 1),
        (9, 2, b"\x01\0\0", 2),
        (10, 2, &list_that_claims_much, 2),
        (11, 4, &[0; 15], 2),
        (12, 4, &[0; 17], 2),
        (13, 3, b"surplus", 2),
        (14, 4, &[0; 16], 4),
        (15, 3, b"", 0),
    ] {
        client.write_all(&request(id, procedure, args)).expect("write");
        let (kind, body) = read_frame(&mut client);
        assert_eq!((kind, &body[..8], status(&body)), (5, &u64::to_le_bytes(id)[..], want), "call {id}");
        assert_eq!(body.len(), if want == 0 { 48 } else { 16 });
    }
    // Several requests in one write are all answered, and then a goodbye that miscounts is bad data.
    client.write_all(&[request(20, 3, b""), request(21, 3, b""), frame(2, &[0; 8])].concat()).expect("write");
    assert_eq!((read_frame(&mut client).0, read_frame(&mut client).0), (5, 5));
    assert_eq!(client.read(&mut [0]).expect("closed"), 0);
    server.end().expect(4).says("goodbye after");
}

#[test]
fn a_request_id_is_run_once_or_again_as_it_asks() {
    let sandbox = Sandbox::new();
    let server = sandbox.consumer(&UNIX, &["--json"]);
    server.wait_for_stderr("waiting for a producer");
    let path = sandbox.dir().join(format!("{}.rpc.sock", sandbox.name()));
    let mut client = UnixStream::connect(&path).expect("connect");
    client.write_all(&hello()).expect("write");
    read_frame(&mut client);
    let mut ask = |stream, id, semantics, attempt| {
        client.write_all(&request_of(stream, id, 3, semantics, attempt, b"")).expect("write");
        let (kind, body) = read_frame(&mut client);
        assert_eq!((kind, &body[..8]), (5, &u64::to_le_bytes(id)[..]));
        let calls = body.get(16..24).map(|b| u64::from_le_bytes(b.try_into().expect("eight bytes")));
        (body[12], calls)
    };
    const LEAST: u32 = 1;
    const MOST: u32 = 2;
    assert_eq!(ask(1, 1, MOST, 1), (0, Some(1)));
    assert_eq!(ask(1, 1, MOST, 2), (0, Some(1)), "answered from memory");
    assert_eq!(ask(2, 1, MOST, 1), (0, Some(2)), "another client's call 1");
    assert_eq!(ask(1, 2, MOST, 1), (0, Some(3)));
    assert_eq!(ask(1, 1, MOST, 3), (0, Some(1)), "several may be under way, so it is still there");
    assert_eq!(ask(1, 2, LEAST, 2), (0, Some(4)), "run again");
    assert_eq!(ask(1, 3, MOST, 2), (0, Some(5)), "the first attempt did not come here");
    assert_eq!(ask(9, 1, MOST, 2), (5, None), "who is that, and where was it sent first?");
    assert_eq!(ask(9, 1, LEAST, 2), (0, Some(6)));
    assert_eq!(ask(1, 4, 9, 1), (2, None), "no such semantics");
    assert_eq!(ask(1, 66, MOST, 1), (0, Some(7)));
    assert_eq!(ask(1, 2, MOST, 3), (5, None), "its client has gone on, so the reply has not been kept");
    assert_eq!(ask(1, 3, MOST, 3), (0, Some(5)), "the oldest of the newest 64");
    client.write_all(&frame(2, &13u64.to_le_bytes())).expect("write");
    let server = server.end().expect(0);
    let numbers = ["executed", "executed_twice", "remembered"].map(|key| server.number(key));
    assert_eq!(numbers, [7, 1, 3]);
}

#[test]
fn garbage_closes_its_connection_and_no_other() {
    for claim in [u32::MAX, 1 << 31, 0, 11] {
        let sandbox = Sandbox::new();
        let server = sandbox.consumer(&TCP, &["--json"]);
        let client = sandbox.producer(&TCP, &["--count", "2", "--interval", "1s"]);
        server.wait_for_stdout("received #0");
        let before = server.private_kib();
        let mut bad = TcpStream::connect(("127.0.0.1", sandbox.port())).expect("connect");
        bad.write_all(&[hello(), [claim.to_le_bytes(), 4u32.to_le_bytes()].concat()].concat())
            .expect("write");
        assert_eq!(read_frame(&mut bad).0, 3);
        assert_eq!(bad.read(&mut [0]).unwrap_or(0), 0, "closed");
        assert!(server.private_kib().saturating_sub(before) < 1024);
        client.end().expect(0);
        server.end().expect(4).says("claims").all_well(2);
    }
}

#[test]
fn stale_and_doubled_replies_are_thrown_away() {
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind(("127.0.0.1", sandbox.port())).expect("listen");
    let client = call(&sandbox, &TCP, &["sum", "1", "2"]);
    let (mut server, _) = listener.accept().expect("accept");
    assert_eq!(read_frame(&mut server).0, 3);
    server.write_all(&hello()).expect("write");
    let (kind, body) = read_frame(&mut server);
    assert_eq!((kind, &body[16..20]), (4, &2u32.to_le_bytes()[..]));
    let id = u64::from_le_bytes(body[8..16].try_into().expect("eight bytes"));
    let stale = reply(id.wrapping_sub(1), 5, 0, &99i64.to_le_bytes());
    let foreign = reply(id + 1, 5, 0, &98i64.to_le_bytes());
    let right = reply(id, 5, 0, &3i64.to_le_bytes());
    server.write_all(&[stale, foreign, right.clone(), right].concat()).expect("write");
    assert_eq!(client.end().expect(0).says("ran in process 5").stdout, "3\n");
}

#[test]
fn a_server_that_answers_nonsense() {
    for (answer, said) in [
        (reply(1, 5, 0, b"short"), "not a reply"),
        (reply(1, 5, 0, &[0; 16]), "not a reply"),
        (frame(5, b"too short"), "not a reply"),
        (reply(1, 5, 77, b""), "fault 77"),
        (vec![0xff; 8], "not a reply"),
    ] {
        let sandbox = Sandbox::new();
        let listener = TcpListener::bind(("127.0.0.1", sandbox.port())).expect("listen");
        let client = call(&sandbox, &TCP, &["sum", "1"]);
        let (mut server, _) = listener.accept().expect("accept");
        server.write_all(&[hello(), answer].concat()).expect("write");
        let _ = server.shutdown(Shutdown::Write);
        let code = if said == "fault 77" { 1 } else { 4 };
        client.end().expect(code).says(said);
    }
}

#[test]
fn sockets_and_calls_share_a_name_but_not_a_protocol() {
    let sandbox = Sandbox::new();
    let server = sandbox.consumer(&TCP, &[]);
    server.wait_for_stderr("waiting for a producer");
    let mut other = TcpStream::connect(("127.0.0.1", sandbox.port())).expect("connect");
    let mut hello = hello();
    hello[8..12].copy_from_slice(b"item");
    other.write_all(&hello).expect("write");
    server.wait_for_stderr("speaks \"item\" version 2, this program \"call\" version 2");
    server.signal(SIGINT);
    server.end().expect(130);
}
