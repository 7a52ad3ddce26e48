//! Who comes to a server and means no good, or comes at a bad time: half requests, cut ones, another version, a crowd,
//! a second server.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use common::testkit::{Pair, Process, SOON, Sandbox};
use nix::sys::signal::Signal::{SIGINT, SIGKILL};

const UNIX: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_rpc-producer"),
    consumer: env!("CARGO_BIN_EXE_rpc-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};
const TCP: Pair = Pair { both: &["--transport", "tcp", "--addr", "127.0.0.1:{port}"], ..UNIX };
const BOTH: [Pair; 2] = [UNIX, TCP];

/// Bytes as docs/wire-format.md says.
fn frame(kind: u32, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..], &kind.to_le_bytes(), body].concat()
}

fn hello(version: u32) -> Vec<u8> {
    frame(3, &[b"call".as_slice(), &version.to_le_bytes(), &1024u32.to_le_bytes(), &[0; 4]].concat())
}

/// A connection to the server at `port`, that has said HELLO and has been answered.
fn connect(sandbox: &Sandbox) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", sandbox.port())).expect("connect");
    client.write_all(&hello(2)).expect("say HELLO");
    let mut answer = [0; 24];
    client.read_exact(&mut answer).expect("the server's HELLO");
    assert_eq!(answer[..16], hello(2)[..16]);
    client
}

#[test]
fn half_a_request_and_then_silence_is_closed_and_others_are_served() {
    let sandbox = Sandbox::new();
    let server = sandbox.consumer(&TCP, &["--frame-deadline", "1s", "--json"]);
    server.wait_for_stderr("waiting for a producer");
    let mut half = connect(&sandbox);
    half.write_all(&frame(4, &[7; 100])[..60]).expect("write half of it");
    let since = Instant::now();
    let other = sandbox.producer(&TCP, &["--count", "300", "--interval", "10ms", "--quiet"]);
    assert_eq!(half.read(&mut [0]).unwrap_or(0), 0, "closed");
    assert!(since.elapsed() >= Duration::from_secs(1), "closed after {:?}", since.elapsed());
    server.wait_for_stderr("truncated after 60 of 108 bytes: the rest has not come within 1.0s");
    other.end().expect(0);
    server.end().expect(4).all_well(300);
}

#[test]
fn a_byte_now_and_then_is_closed_too() {
    let sandbox = Sandbox::new();
    let server = sandbox.consumer(&TCP, &["--frame-deadline", "1s"]);
    server.wait_for_stderr("waiting for a producer");
    let mut drip = connect(&sandbox);
    let since = Instant::now();
    let took = frame(4, &[7; 1000]).iter().position(|byte| {
        std::thread::sleep(Duration::from_millis(50));
        drip.write_all(&[*byte]).is_err()
    });
    assert!(took.expect("it was never closed") > 2 && since.elapsed() >= Duration::from_secs(1));
    server.end().expect(4).says("the rest has not come within 1.0s");
}

#[test]
fn who_never_says_hello_is_closed_and_others_are_served() {
    let sandbox = Sandbox::new();
    let server = sandbox.consumer(&TCP, &["--frame-deadline", "1s", "--json"]);
    server.wait_for_stderr("waiting for a producer");
    let since = Instant::now();
    let mut silent = TcpStream::connect(("127.0.0.1", sandbox.port())).expect("connect");
    silent.set_read_timeout(Some(SOON)).expect("set");
    let other = sandbox.producer(&TCP, &["--count", "300", "--interval", "10ms", "--quiet"]);
    assert_eq!(silent.read(&mut [0]).expect("closed, and not by a reset: nothing was on its way"), 0);
    assert!(since.elapsed() >= Duration::from_secs(1), "closed after {:?}", since.elapsed());
    server.wait_for_stderr("its HELLO has not come within 1.0s");
    other.end().expect(0);
    server.end().expect(0).all_well(300);
}

#[test]
fn a_client_that_dies_in_the_middle_of_a_request() {
    for (cut, said) in [(3, "truncated after 3 of at least 8 bytes"), (50, "truncated after 50 of 108 bytes")]
    {
        let sandbox = Sandbox::new();
        let server = sandbox.consumer(&TCP, &[]);
        server.wait_for_stderr("waiting for a producer");
        let mut client = connect(&sandbox);
        client.write_all(&frame(4, &[7; 100])[..cut]).expect("write");
        drop(client);
        server.end().expect(4).says(said);
    }
}

#[test]
fn another_version_is_told_apart_on_both_sides() {
    let sandbox = Sandbox::new();
    let server = sandbox.consumer(&TCP, &[]);
    server.wait_for_stderr("waiting for a producer");
    let mut other = TcpStream::connect(("127.0.0.1", sandbox.port())).expect("connect");
    other.write_all(&hello(9)).expect("write");
    let mut answer = Vec::new();
    let _ = other.read_to_end(&mut answer);
    assert_eq!(answer[..16], hello(2)[..16], "it is told which version is spoken here");
    server.wait_for_stderr("speaks \"call\" version 9, this program \"call\" version 2");
    sandbox.producer(&TCP, &["--count", "1"]).end().expect(0);
    server.end().expect(0);

    let listener = TcpListener::bind(("127.0.0.1", sandbox.port())).expect("listen");
    let client = sandbox.producer(&TCP, &["--call", "sum", "1"]);
    let (mut foreign, _) = listener.accept().expect("accept");
    foreign.write_all(&hello(9)).expect("answer");
    client.end().expect(4).says("version 9");
}

/// Replies to a call that nobody makes, as many as the client takes, until it has gone.
fn flood(mut server: TcpStream) {
    let stale = frame(5, &[&[0xee; 8][..], &[0; 16]].concat()).repeat(2000);
    while server.write_all(&stale).is_ok() {}
}

#[test]
fn a_flood_of_stale_replies_ends_the_call_and_not_the_patience() {
    for in_flight in ["1", "32"] {
        let sandbox = Sandbox::new();
        let listener = TcpListener::bind(("127.0.0.1", sandbox.port())).expect("listen");
        let args = ["--interval", "0", "--in-flight", in_flight, "--deadline", "1s", "--retries", "9"];
        let client = sandbox.producer(&TCP, &args);
        let (mut server, _) = listener.accept().expect("accept");
        server.write_all(&hello(2)).expect("say HELLO");
        let flooding = std::thread::spawn(|| flood(server));
        client.end_within(SOON).expect(4).says("not a reply: one of ");
        flooding.join().expect("it ends with the client");
    }
}

#[test]
fn a_second_server_is_refused_and_the_first_unharmed() {
    for pair in BOTH {
        let sandbox = Sandbox::new();
        let first = sandbox.consumer(&pair, &["--json"]);
        let client = sandbox.producer(&pair, &["--count", "100", "--interval", "5ms"]);
        client.wait_for_stdout("sent #0");
        sandbox.consumer(&pair, &[]).end().expect(1).says("in use");
        client.end().expect(0);
        first.end().expect(0).all_well(100);
    }
}

#[test]
fn addresses_that_cannot_be() {
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind(("127.0.0.1", sandbox.port())).expect("listen");
    sandbox.consumer(&TCP, &[]).end().expect(1).says("in use");
    drop(listener);
    let open = format!("0.0.0.0:{}", sandbox.port());
    let tcp = ["--transport", "tcp", "--addr", &open];
    sandbox.consumer(&UNIX, &tcp).end().expect(2).says("--allow-remote");
    let server = sandbox.consumer(&UNIX, &[&tcp[..], &["--allow-remote"]].concat());
    server.wait_for_stderr("there is no authentication").wait_for_stderr("waiting for a producer");
    sandbox.producer(&TCP, &["--count", "1"]).end().expect(0);
    server.end().expect(0);
}

#[test]
fn no_descriptors_left() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command("prlimit");
    command.args(["--nofile=20", TCP.consumer]).args(sandbox.args_of(TCP.both, &[]));
    command.args(["--name", sandbox.name(), "--json"]);
    let server = Process::spawn(command);
    server.wait_for_stderr("waiting for a producer");
    let connect = || TcpStream::connect(("127.0.0.1", sandbox.port())).expect("connect");
    let crowd: Vec<TcpStream> = (0..50).map(|_| connect()).collect();
    server.wait_for_stderr("a connection has to wait").wait_for_stderr("ulimit -n");
    let before = server.usage();
    // Time is the subject: what it uses in a second.
    std::thread::sleep(Duration::from_secs(1));
    let used = server.usage().cpu - before.cpu;
    assert!(used <= Duration::from_millis(20), "it spins: {used:?}");
    drop(crowd);
    sandbox.producer(&TCP, &["--count", "10", "--interval", "0"]).end().expect(0);
    server.end().expect(0).all_well(10);
}

#[test]
fn a_server_that_is_killed_is_followed_by_another() {
    for pair in BOTH {
        let sandbox = Sandbox::new();
        let server = sandbox.consumer(&pair, &["--forever"]);
        server.wait_for_stderr("waiting for a producer").signal(SIGKILL);
        server.end().expect(137);
        let server = sandbox.consumer(&pair, &["--forever", "--json"]);
        sandbox.producer(&pair, &["--count", "10", "--interval", "0"]).end().expect(0);
        server.signal(SIGINT);
        server.end().expect(130).all_well(10);
    }
}
