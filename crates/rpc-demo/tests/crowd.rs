//! A crowd of clients: what one of them costs does not depend on how many others there are.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::testkit::{Pair, Process, Sandbox};
use nix::sys::signal::Signal::SIGINT;

const UNIX: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_rpc-producer"),
    consumer: env!("CARGO_BIN_EXE_rpc-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};
/// As many as fit into the descriptors that a process is often given (1024), beside what else the tests open.
const CROWD: usize = 500;

/// Bytes as docs/wire-format.md says.
fn frame(kind: u32, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..], &kind.to_le_bytes(), body].concat()
}

/// A client that has said HELLO and has been answered.
fn connect(sandbox: &Sandbox) -> UnixStream {
    let path = sandbox.dir().join(format!("{}.rpc.sock", sandbox.name()));
    let mut client = UnixStream::connect(path).expect("connect");
    let hello = [b"call".as_slice(), &2u32.to_le_bytes(), &1024u32.to_le_bytes(), &[0; 4]].concat();
    client.write_all(&frame(3, &hello)).expect("say HELLO");
    client.read_exact(&mut [0; 24]).expect("the server's HELLO");
    client
}

/// What the server's CPU does for so many calls of `stats`, one after the other: its reply is a frame of 56 bytes.
fn cost(server: &Process, client: &mut UnixStream, calls: std::ops::Range<u64>) -> Duration {
    let before = server.usage().cpu;
    for call in calls {
        let [stats, at_most_once, attempt] = [3u32, 2, 1].map(u32::to_le_bytes);
        let request =
            [&7u64.to_le_bytes()[..], &call.to_le_bytes(), &stats, &at_most_once, &attempt].concat();
        client.write_all(&frame(4, &request)).expect("call");
        client.read_exact(&mut [0; 56]).expect("the reply");
    }
    server.usage().cpu - before
}

#[test]
fn a_call_costs_the_server_the_same_beside_five_hundred_silent_clients() {
    let sandbox = Sandbox::new();
    let server = sandbox.consumer(&UNIX, &["--forever"]);
    server.wait_for_stderr("waiting for a producer");
    let mut client = connect(&sandbox);
    const CALLS: u64 = 20_000;
    let alone = cost(&server, &mut client, 1..CALLS);
    let memory = server.private_kib();
    let crowd: Vec<_> = (0..CROWD).map(|_| connect(&sandbox)).collect();
    let each = server.private_kib().saturating_sub(memory) / CROWD as u64;
    assert!(each < 16, "each connection takes {each} KiB");
    let among_them = cost(&server, &mut client, CALLS..2 * CALLS);
    // To look at each connection for each call makes it ten times as much. A clock that ticks 100 times a second, and
    // caches that others use, do not make it four times.
    let most = 4 * alone + Duration::from_millis(100);
    assert!(among_them < most, "{CALLS} calls: {alone:?} alone, {among_them:?} beside {CROWD} others");
    drop(crowd);
    server.signal(SIGINT);
    server.end().expect(130);
}

#[test]
fn a_client_that_found_its_server_takes_no_inotify_instance() {
    // Of which a user has 128, as a rule.
    let sandbox = Sandbox::new();
    let server = sandbox.consumer(&UNIX, &[]);
    server.wait_for_stderr("waiting for a producer");
    let client = sandbox.producer(&UNIX, &["--interval", "1h"]);
    client.wait_for_stdout("sent #0");
    let open = std::fs::read_dir(format!("/proc/{}/fd", client.pid())).expect("it runs");
    let open: Vec<_> = open.flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok()).collect();
    assert!(open.iter().any(|what| what.to_string_lossy().starts_with("socket:")), "{open:?}");
    assert!(!open.iter().any(|what| what.to_string_lossy().contains("inotify")), "{open:?}");
    client.signal(SIGINT);
    client.end().expect(130);
    server.end().expect(0);
}
