//! What only a socket can suffer: strangers, garbage, cut frames, lost peers, names in use.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::testkit::{Pair, Process, Sandbox};
use nix::sys::signal::Signal::{SIGCONT, SIGINT, SIGKILL, SIGSTOP};

const UNIX: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_socket-producer"),
    consumer: env!("CARGO_BIN_EXE_socket-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};
const TCP: Pair = Pair { both: &["--transport", "tcp", "--addr", "127.0.0.1:{port}"], ..UNIX };
const BOTH: [Pair; 2] = [UNIX, TCP];
const ABSTRACT: Pair = Pair { both: &["--transport", "abstract"], ..UNIX };
const SEQPACKET: Pair = Pair { both: &["--transport", "seqpacket"], ..UNIX };
/// All with connections.
const ALL: [Pair; 4] = [UNIX, ABSTRACT, SEQPACKET, TCP];

/// A test's own connection to a consumer, byte by byte as docs/wire-format.md says.
enum Raw {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Raw {
    /// Connects to the consumer in `sandbox`, which must be listening.
    fn connect(sandbox: &Sandbox, pair: &Pair) -> Raw {
        if pair.both.is_empty() {
            let path = sandbox.dir().join(format!("{}.sock", sandbox.name()));
            Raw::Unix(UnixStream::connect(path).expect("connect"))
        } else {
            Raw::Tcp(TcpStream::connect(("127.0.0.1", sandbox.port())).expect("connect"))
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        match self {
            Raw::Unix(s) => s.write_all(bytes),
            Raw::Tcp(s) => s.write_all(bytes),
        }
        .expect("write to the consumer")
    }

    /// All that comes until the consumer closes the connection.
    fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = match self {
            Raw::Unix(s) => s.read_to_end(&mut bytes),
            Raw::Tcp(s) => s.read_to_end(&mut bytes),
        };
        bytes
    }

    fn greet(&mut self) {
        self.write(&hello(1));
        let mut answer = [0; 24];
        match self {
            Raw::Unix(s) => s.read_exact(&mut answer),
            Raw::Tcp(s) => s.read_exact(&mut answer),
        }
        .expect("the consumer's HELLO");
        assert_eq!(&answer[..16], &hello(1)[..16]);
    }
}

fn frame(kind: u32, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..], &kind.to_le_bytes(), body].concat()
}

fn hello(version: u32) -> Vec<u8> {
    frame(3, &[b"item".as_slice(), &version.to_le_bytes(), &8u32.to_le_bytes(), &[0; 4]].concat())
}

/// A producer that stays connected until the returned pipe is closed, and then sends what was written to it.
fn held_producer(sandbox: &Sandbox, pair: &Pair) -> (Process, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().expect("pipe");
    let mut command = sandbox.command(pair.producer);
    command.args(sandbox.args_of(pair.both, pair.only_producer)).args(["--name", sandbox.name()]);
    command.args(["--input", "-", "--lines", "--json"]);
    command.stdin(reader).stdout(Stdio::piped()).stderr(Stdio::piped());
    (Process::follow(command), writer)
}

#[test]
fn several_producers_at_once() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--json"]);
        let (held, mut input) = held_producer(&sandbox, &pair);
        input.write_all(b"first\n").expect("write");
        consumer.wait_for_stdout("received #0");
        let args = ["--count", "20000", "--interval", "0", "--quiet"];
        let others: Vec<_> = (0..3).map(|_| sandbox.producer(&pair, &args)).collect();
        for other in others {
            other.end().expect(0);
        }
        drop(input);
        held.end().expect(0);
        consumer.end().expect(0).all_well(60_001);
    }
}

#[test]
fn a_stranger_who_comes_and_goes_or_stays_silent_is_no_producer() {
    for pair in BOTH {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--json"]);
        consumer.wait_for_stderr("waiting for a producer");
        drop(Raw::connect(&sandbox, &pair));
        consumer.wait_for_stderr("left without a word");
        let _silent = Raw::connect(&sandbox, &pair);
        sandbox.producer(&pair, &["--count", "100", "--interval", "0"]).end().expect(0);
        consumer.end().expect(0).all_well(100);
    }
}

#[test]
fn garbage_closes_its_connection_and_no_other() {
    let random: Vec<u8> = (0..1000u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    let claims = [u32::MAX, 1 << 31, 0, 17 << 20];
    for pair in BOTH {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--json"]);
        let (held, mut input) = held_producer(&sandbox, &pair);
        input.write_all(b"first\n").expect("write");
        consumer.wait_for_stdout("received #0");
        let before = consumer.private_kib();
        let mut all: Vec<Vec<u8>> =
            claims.iter().map(|c| [c.to_le_bytes(), 1u32.to_le_bytes()].concat()).collect();
        all.push(random.clone());
        all.push(b"GET / HTTP/1.1\r\n\r\n".to_vec());
        for garbage in &all {
            let mut stranger = Raw::connect(&sandbox, &pair);
            stranger.write(garbage);
            assert!(stranger.read_to_end().is_empty(), "closed without an answer");
        }
        consumer.wait_for_stderr("refused");
        let grown = consumer.private_kib().saturating_sub(before);
        assert!(grown < 1024, "{grown} KiB for garbage");
        drop(input);
        held.end().expect(0);
        consumer.end().expect(0).all_well(1);
    }
}

#[test]
fn a_producer_that_turns_to_garbage_is_bad_data_and_others_go_on() {
    for pair in BOTH {
        for claim in [u32::MAX, 1 << 31, 0] {
            let sandbox = Sandbox::new();
            let consumer = sandbox.consumer(&pair, &["--json"]);
            let (held, mut input) = held_producer(&sandbox, &pair);
            input.write_all(b"first\n").expect("write");
            consumer.wait_for_stdout("received #0");
            let mut bad = Raw::connect(&sandbox, &pair);
            bad.greet();
            bad.write(&[claim.to_le_bytes(), 1u32.to_le_bytes()].concat());
            assert!(bad.read_to_end().is_empty(), "closed");
            consumer.wait_for_stderr("was lost: a frame of kind 1 claims");
            input.write_all(b"second\n").expect("write");
            drop(input);
            held.end().expect(0);
            consumer.end().expect(4).all_well(2);
        }
    }
}

#[test]
fn a_cut_frame_is_named_with_its_lengths() {
    for pair in BOTH {
        for (cut, said) in
            [(3, "truncated after 3 of at least 8 bytes"), (50, "truncated after 50 of 108 bytes")]
        {
            let sandbox = Sandbox::new();
            let consumer = sandbox.consumer(&pair, &[]);
            consumer.wait_for_stderr("waiting for a producer");
            let mut producer = Raw::connect(&sandbox, &pair);
            producer.greet();
            producer.write(&frame(1, &[7; 100])[..cut]);
            drop(producer);
            consumer.end().expect(4).says(said);
        }
    }
}

#[test]
fn another_version_is_told_apart() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&UNIX, &[]);
    consumer.wait_for_stderr("waiting for a producer");
    let mut other = Raw::connect(&sandbox, &UNIX);
    other.write(&hello(2));
    assert_eq!(other.read_to_end()[..16], hello(1)[..16], "it is told which version is spoken here");
    consumer.wait_for_stderr("speaks \"item\" version 2, this program \"item\" version 1");
    sandbox.producer(&UNIX, &["--count", "1"]).end().expect(0);
    consumer.end().expect(0);

    let listener = TcpListener::bind(("127.0.0.1", sandbox.port())).expect("listen");
    let producer = sandbox.producer(&TCP, &[]);
    let (mut foreign, _) = listener.accept().expect("accept");
    foreign.write_all(&hello(7)).expect("answer");
    producer.end().expect(4).says("version 7");
    let producer = sandbox.producer(&TCP, &[]);
    let (mut foreign, _) = listener.accept().expect("accept");
    foreign.write_all(b"220 mail.example.org ESMTP\r\n").expect("answer");
    producer.end().expect(4).says("has no place here");
}

#[test]
fn the_consumer_is_killed() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let producer = sandbox.producer(&pair, &["--count", "0", "--interval", "0", "--quiet", "--json"]);
        let consumer = sandbox.consumer(&pair, &[]);
        consumer.wait_for_stdout("received #9");
        consumer.signal(SIGKILL);
        consumer.end().expect(137);
        let ended = producer.end().expect(3).says("items were handed over");
        let said = format!("{} items were handed over", ended.number("items"));
        assert!(ended.stderr.contains(&said), "{said}: {}", ended.stderr);
        // Its socket and its name are still there, and in nobody's way.
        let producer = sandbox.producer(&pair, &["--count", "1000", "--interval", "0", "--quiet"]);
        let consumer = sandbox.consumer(&pair, &["--json", "--quiet"]);
        producer.end().expect(0);
        consumer.end().expect(0).all_well(1000);
    }
}

#[test]
fn a_producer_is_killed_beside_another() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--json"]);
        let (held, mut input) = held_producer(&sandbox, &pair);
        input.write_all(b"first\n").expect("write");
        consumer.wait_for_stdout("received #0");
        let killed = sandbox.producer(&pair, &["--interval", "1h"]);
        killed.wait_for_stdout("sent #0").signal(SIGKILL);
        consumer.wait_for_stderr("was lost: gone without a goodbye");
        input.write_all(b"second\n").expect("write");
        drop(input);
        held.end().expect(0);
        consumer.end().expect(3).all_well(3);
    }
}

#[test]
fn ctrl_c_on_an_idle_producer_is_a_goodbye() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--json"]);
        let producer = sandbox.producer(&pair, &["--interval", "1h"]);
        consumer.wait_for_stdout("received #0");
        producer.signal(SIGINT).wait_for_stderr("SIGINT");
        producer.end().expect(130);
        consumer.end().expect(0).all_well(1);
    }
}

#[test]
fn a_consumer_that_has_enough_says_how_much_it_took() {
    // Several times: which of its calls the producer is in when the consumer goes is a matter of luck.
    for pair in ALL.iter().cycle().take(10 * ALL.len()) {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(pair, &["--count", "10", "--json"]);
        let producer = sandbox.producer(pair, &["--count", "0", "--interval", "0", "--quiet"]);
        consumer.end().expect(0).all_well(10);
        producer.end().expect(3).says("it took 10 of them");
        // All of them is all that a producer wants to hear.
        let consumer = sandbox.consumer(pair, &["--count", "10"]);
        let producer = sandbox.producer(pair, &["--count", "10", "--interval", "0"]);
        consumer.end().expect(0);
        producer.end().expect(0);
    }
}

#[test]
fn a_stopped_consumer_is_waited_for() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--delay", "1ms", "--json"]);
        let args = ["--count", "1500", "--interval", "0", "--size", "16KiB", "--quiet"];
        let producer = sandbox.producer(&pair, &args);
        consumer.wait_for_stdout("received #10 ").signal(SIGSTOP);
        producer.wait_for_stderr("blocked");
        consumer.signal(SIGCONT);
        producer.end().expect(0);
        consumer.end().expect(0).all_well(1500);

        let consumer = sandbox.consumer(&pair, &["--quiet"]);
        consumer.wait_for_stderr("waiting for a producer").signal(SIGSTOP);
        let producer = sandbox.producer(&pair, &["--timeout", "300ms", "--count", "1"]);
        producer.end().expect(3).says("--timeout");
        // The producer had said HELLO, and no goodbye.
        consumer.signal(SIGCONT);
        consumer.end().expect(3).says("was lost");
    }
}

#[test]
fn two_servers_at_once_and_exactly_one_wins() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        for _ in 0..5 {
            let mut both = [0, 1].map(|_| sandbox.consumer(&pair, &["--json"]));
            let deadline = Instant::now() + Duration::from_secs(20);
            let loser = loop {
                match both.iter_mut().position(|c| !c.is_running()) {
                    Some(loser) => break loser,
                    None => assert!(Instant::now() < deadline, "both go on"),
                }
            };
            let [a, b] = both;
            let (winner, loser) = if loser == 0 { (b, a) } else { (a, b) };
            loser.end().expect(1).says("in use");
            winner.wait_for_stderr("waiting for a producer");
            sandbox.producer(&pair, &["--count", "3", "--interval", "0"]).end().expect(0);
            winner.end().expect(0).all_well(3);
        }
    }
}

#[test]
fn a_stale_socket_is_replaced_and_nothing_else_is() {
    let mut sandbox = Sandbox::new();
    let path = sandbox.dir().join(format!("{}.sock", sandbox.name()));
    drop(UnixListener::bind(&path).expect("a socket that nobody listens to"));
    assert!(fs::symlink_metadata(&path).expect("it stays").file_type().is_socket());
    let consumer = sandbox.consumer(&UNIX, &["--json"]);
    sandbox.producer(&UNIX, &["--count", "1"]).end().expect(0);
    consumer.end().expect(0).all_well(1);

    let name = format!("{}.sock", sandbox.name());
    let treasure = sandbox.file("treasure");
    fs::write(&treasure, "gold").expect("write");
    fs::write(&path, "mine").expect("write");
    sandbox.consumer(&UNIX, &[]).end().expect(1).says("not a socket");
    assert_eq!(fs::read_to_string(&path).expect("unchanged"), "mine");
    fs::remove_file(&path).expect("remove");
    std::os::unix::fs::symlink(&treasure, &path).expect("plant a link");
    sandbox.consumer(&UNIX, &[]).end().expect(1).says("not a socket");
    assert_eq!(fs::read_to_string(&treasure).expect("unchanged"), "gold");
    sandbox.may_stay(&name);
}

#[test]
fn a_path_that_no_socket_can_have() {
    let mut sandbox = Sandbox::new();
    let long = sandbox.file(&"d".repeat(100));
    fs::create_dir(&long).expect("make it");
    fs::set_permissions(&long, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("chmod");
    let sandbox = sandbox.env("XDG_RUNTIME_DIR", long.to_str().expect("UTF-8"));
    sandbox.consumer(&UNIX, &[]).end().expect(2).says("107");
    sandbox.producer(&UNIX, &[]).end().expect(2).says("107");
    assert_eq!(fs::read_dir(&long).expect("read").count(), 0, "nothing was created");
}

#[test]
fn addresses_that_cannot_be() {
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind(("127.0.0.1", sandbox.port())).expect("listen");
    sandbox.consumer(&TCP, &[]).end().expect(1).says("in use");
    drop(listener);
    for (addr, code) in [("0.0.0.0:7999", 2), ("127.0.0.1:0", 2), ("127.0.0.1", 2), ("nonsense", 2)] {
        let ended = sandbox.consumer(&UNIX, &["--transport", "tcp", "--addr", addr]).end();
        assert_eq!(ended.code, code, "{addr}: {}", ended.stderr);
    }
    sandbox.consumer(&UNIX, &["--addr", "127.0.0.1:7999"]).end().expect(2).says("--transport tcp");
    let open = format!("0.0.0.0:{}", sandbox.port());
    let consumer = sandbox.consumer(&UNIX, &["--transport", "tcp", "--addr", &open, "--allow-remote"]);
    consumer.wait_for_stderr("no authentication");
    sandbox.producer(&TCP, &["--count", "1"]).end().expect(0);
    consumer.end().expect(0);
}

#[test]
fn an_item_that_is_too_long() {
    let sandbox = Sandbox::new();
    sandbox.producer(&UNIX, &["--size", "101", "--max-frame", "100"]).end().expect(2).says("--max-frame");
    let consumer = sandbox.consumer(&UNIX, &["--max-frame", "100"]);
    sandbox.producer(&UNIX, &["--size", "101"]).end().expect(1).says("the consumer takes up to 132");
    consumer.end().expect(0);
    let consumer = sandbox.consumer(&UNIX, &["--max-frame", "100", "--json"]);
    sandbox.producer(&UNIX, &["--size", "100", "--count", "3", "--interval", "0"]).end().expect(0);
    consumer.end().expect(0).all_well(3);
}

#[test]
fn forever_is_for_the_next_producer() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--forever", "--json"]);
        for _ in 0..2 {
            sandbox.producer(&pair, &["--count", "5", "--interval", "0"]).end().expect(0);
        }
        let killed = sandbox.producer(&pair, &["--interval", "1h"]);
        killed.wait_for_stdout("sent #0").signal(SIGKILL);
        consumer.wait_for_stderr("was lost");
        sandbox.producer(&pair, &["--count", "5", "--interval", "0"]).end().expect(0);
        consumer.signal(SIGINT);
        assert_eq!(consumer.end().expect(130).number("items"), 16);
    }
}

#[test]
fn no_descriptors_left() {
    for pair in BOTH {
        let sandbox = Sandbox::new();
        let mut command = sandbox.command("prlimit");
        command.args(["--nofile=20", pair.consumer]).args(sandbox.args_of(pair.both, &[]));
        command.args(["--name", sandbox.name(), "--json"]);
        let consumer = Process::spawn(command);
        consumer.wait_for_stderr("waiting for a producer");
        let crowd: Vec<Raw> = (0..50).map(|_| Raw::connect(&sandbox, &pair)).collect();
        consumer.wait_for_stderr("a connection has to wait");
        let before = consumer.usage();
        std::thread::sleep(Duration::from_secs(1));
        let after = consumer.usage();
        assert!(
            after.cpu - before.cpu <= Duration::from_millis(20),
            "it spins: {:?}",
            after.cpu - before.cpu
        );
        drop(crowd);
        sandbox.producer(&pair, &["--count", "10", "--interval", "0"]).end().expect(0);
        consumer.end().expect(0).all_well(10);
    }
}
