//! What a learner is to see of sockets: each test fails if it does not happen.

use std::fs;
use std::io::{PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::Stdio;
use std::time::Duration;

use common::testkit::{Pair, Process, Sandbox};
use nix::sys::signal::Signal::{SIGCONT, SIGINT, SIGSTOP};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::unistd::geteuid;

const fn pair(both: &'static [&'static str]) -> Pair {
    Pair {
        producer: env!("CARGO_BIN_EXE_socket-producer"),
        consumer: env!("CARGO_BIN_EXE_socket-consumer"),
        both,
        only_producer: &[],
        only_consumer: &[],
    }
}

const UNIX: Pair = pair(&[]);
const ABSTRACT: Pair = pair(&["--transport", "abstract"]);
const SEQPACKET: Pair = pair(&["--transport", "seqpacket"]);
const TCP: Pair = pair(&["--transport", "tcp", "--addr", "127.0.0.1:{port}"]);
const UDP: Pair = pair(&["--transport", "udp", "--addr", "127.0.0.1:{port}"]);
const STREAMS: [Pair; 3] = [UNIX, ABSTRACT, TCP];

/// A producer that sends a line for each line that is written into the pipe.
fn by_hand(sandbox: &Sandbox, pair: &Pair, args: &[&str]) -> (Process, PipeWriter) {
    let (reader, writer) = std::io::pipe().expect("pipe");
    let mut command = sandbox.command(pair.producer);
    command.args(sandbox.args_of(pair.both, pair.only_producer)).args(["--name", sandbox.name()]);
    command.args(["--input", "-", "--lines"]).args(args);
    command.stdin(reader).stdout(Stdio::piped()).stderr(Stdio::piped());
    (Process::follow(command), writer)
}

/// A name in the abstract namespace, for the processes of a user.
fn abstract_name(sandbox: &Sandbox, uid: u32) -> SocketAddr {
    SocketAddr::from_abstract_name(format!("ipc-lab-{uid}-{}.sock", sandbox.name())).expect("short enough")
}

#[test]
fn every_transport_in_either_order() {
    for (pair, variant) in
        [(UNIX, "unix"), (ABSTRACT, "abstract"), (SEQPACKET, "seqpacket"), (TCP, "tcp"), (UDP, "udp")]
    {
        for consumer_first in [true, false] {
            let sandbox = Sandbox::new();
            // So few that also UDP has room for all of them.
            let send = || sandbox.producer(&pair, &["--count", "100", "--interval", "0", "--json"]);
            let (consumer, producer) = if consumer_first {
                let consumer = sandbox.consumer(&pair, &["--json"]);
                consumer.wait_for_stderr("waiting for a producer");
                (consumer, send())
            } else {
                let producer = send();
                producer.wait_for_stderr("waiting for a consumer");
                (sandbox.consumer(&pair, &["--json"]), producer)
            };
            assert_eq!(producer.end().expect(0).json()["variant"], variant);
            let ended = consumer.end().expect(0);
            ended.all_well(100);
            assert_eq!(ended.json()["variant"], variant);
        }
    }
}

#[test]
fn an_abstract_name_is_in_no_directory() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&ABSTRACT, &["--json"]);
    consumer.wait_for_stderr("waiting for a producer");
    assert_eq!(sandbox.left(), Vec::<String>::new());
    let shown = format!("@ipc-lab-{}-{}.sock", geteuid(), sandbox.name());
    let table = fs::read_to_string("/proc/net/unix").expect("the kernel's table");
    assert!(table.contains(&shown), "{shown}");
    sandbox.producer(&ABSTRACT, &["--count", "3", "--interval", "0"]).end().expect(0);
    consumer.end().expect(0).all_well(3);
}

#[test]
fn an_abstract_name_has_no_permissions_so_both_sides_look_who_is_there() {
    if !geteuid().is_root() {
        eprintln!("skipped: only root can be two users");
        return;
    }
    let sandbox = Sandbox::as_nobody();
    let consumer = sandbox.consumer(&ABSTRACT, &["--json"]);
    consumer.wait_for_stderr("waiting for a producer");
    // No permission keeps us out, and yet we are not let in.
    let mut other = UnixStream::connect_addr(&abstract_name(&sandbox, 65534)).expect("nothing forbids it");
    other.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    assert_eq!(other.read(&mut [0; 64]).expect("closed at once"), 0);
    consumer.wait_for_stderr("belongs to another user (uid 0)");
    sandbox.producer(&ABSTRACT, &["--count", "3", "--interval", "0"]).end().expect(0);
    consumer.end().expect(0).all_well(3);

    // The name is nobody's: another user can have it first.
    let squatter = UnixListener::bind_addr(&abstract_name(&sandbox, 65534)).expect("nothing forbids it");
    sandbox.producer(&ABSTRACT, &[]).end().expect(1).says("belongs to another user (uid 0)");
    sandbox.consumer(&ABSTRACT, &[]).end().expect(1).says("is in use, by whatever user");
    drop(squatter);
}

#[test]
fn a_packet_needs_no_length() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&SEQPACKET, &["--json"]);
    consumer.wait_for_stderr("waiting for a producer");
    // Byte by byte as docs/wire-format.md says.
    let raw = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::empty(), None).expect("a socket");
    let path = sandbox.dir().join(format!("{}.sock", sandbox.name()));
    connect(raw.as_raw_fd(), &UnixAddr::new(&path).expect("short enough")).expect("connect");
    let send = |kind: u32, body: &[u8]| {
        let packet = [&kind.to_le_bytes()[..], body].concat();
        assert_eq!(nix::unistd::write(&raw, &packet).expect("room"), packet.len());
    };
    send(3, &[b"item".as_slice(), &1u32.to_le_bytes(), &8u32.to_le_bytes(), &[0; 4]].concat());
    let mut answer = [0; 256];
    assert_eq!(nix::unistd::read(&raw, &mut answer).expect("its HELLO"), 4 + 16);
    assert_eq!(answer[..8], *b"\x03\0\0\0item");
    // No item, but each a message: it is its checksum that does not fit.
    send(1, b"x");
    send(1, &[7; 100_000]);
    consumer.wait_for_stdout("received a corrupted item  99968 B");
    send(2, &2u64.to_le_bytes());
    assert_eq!(nix::unistd::read(&raw, &mut answer).expect("its goodbye"), 4 + 8);
    let ended = consumer.end().expect(4);
    assert_eq!((ended.number("items"), ended.number("corrupted")), (2, 2));
}

#[test]
fn a_packet_has_a_size_that_the_senders_buffer_sets() {
    let sandbox = Sandbox::new();
    let ended = sandbox.producer(&SEQPACKET, &["--size", "16MiB"]).end().expect(2);
    assert!(ended.stderr.contains("net.core.wmem_default") && sandbox.left().is_empty(), "{}", ended.stderr);
    // The same goes through a stream, which has no such limit.
    let consumer = sandbox.consumer(&UNIX, &["--json"]);
    sandbox.producer(&UNIX, &["--size", "16MiB", "--count", "1"]).end().expect(0);
    consumer.end().expect(0).all_well(1);
}

#[test]
fn a_stream_and_a_packet_socket_do_not_meet() {
    for (first, second) in [(UNIX, SEQPACKET), (SEQPACKET, UNIX)] {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&first, &["--json"]);
        consumer.wait_for_stderr("waiting for a producer");
        sandbox.producer(&second, &[]).end().expect(1).says("say the same --transport to both sides");
        sandbox.consumer(&second, &[]).end().expect(1).says("in use");
        sandbox.producer(&first, &["--count", "1"]).end().expect(0);
        consumer.end().expect(0).all_well(1);
    }
}

#[test]
fn a_dripping_item_is_received_with_its_last_byte() {
    for pair in STREAMS {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--json"]);
        consumer.wait_for_stderr("waiting for a producer");
        // 8 bytes of frame, 32 of item and its payload.
        let args = ["--drip", "20ms", "--size", "10", "--count", "1", "--json"];
        let producer = sandbox.producer(&pair, &args);
        consumer.wait_for_stderr("bytes of a frame have come");
        assert!(!consumer.stdout().contains("received"), "{}", consumer.stdout());
        assert_eq!(producer.end().expect(0).number("items"), 1);
        let ended = consumer.end().expect(0);
        ended.all_well(1);
        let latency = ended.json()["latency_ns"]["max"].as_u64().expect("a number");
        assert!(latency >= 49 * 20_000_000, "{latency} ns from the first byte to the last");
    }
}

#[test]
fn a_nonblocking_consumer_hears_of_each_part_but_gets_the_whole() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&UNIX, &["--json", "--nonblocking"]);
    consumer.wait_for_stderr("waiting for a producer");
    let producer = sandbox.producer(&UNIX, &["--drip", "30ms", "--size", "10", "--count", "1"]);
    consumer.wait_for_stderr("of 50 bytes of a frame have come");
    producer.end().expect(0);
    let ended = consumer.end().expect(0).says("null message: ");
    ended.all_well(1);
}

#[test]
fn ctrl_c_in_the_middle_of_a_dripping_item() {
    for pair in STREAMS {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--json"]);
        let producer = sandbox.producer(&pair, &["--drip", "100ms", "--interval", "0"]);
        consumer.wait_for_stderr("bytes of a frame have come");
        producer.signal(SIGINT);
        producer.end_within(Duration::from_secs(2)).expect(130);
        consumer.end().expect(4).says("frame truncated after");
    }
    let sandbox = Sandbox::new();
    for pair in [SEQPACKET, UDP] {
        sandbox.producer(&pair, &["--drip", "1s"]).end().expect(2).says("keeps the boundaries");
    }
}

#[test]
fn without_frames_a_read_is_not_a_message() {
    for pair in STREAMS {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--unframed", "--delay", "20ms", "--json"]);
        consumer.wait_for_stderr("waiting for a producer");
        let many = ["--count", "1000", "--interval", "0", "--quiet", "--json"];
        let producer = sandbox.producer(&pair, &[&many[..], &["--unframed"]].concat());
        let sends = producer.end().expect(0).number("writes");
        let ended = consumer.end().expect(4).says("drop --unframed").says("corrupted");
        let [reads, joined, cut] = ["reads", "joined", "cut"].map(|key| ended.number(key));
        assert!(reads < sends && joined > 0 && cut > 0, "{}", ended.stdout);
        // Not one byte was lost: all items are in there, but a read is no item.
        assert_eq!(ended.number("whole_items"), 1000);
        assert!(ended.stdout.contains(": 42 items, #") || ended.stdout.contains(", and 42 items, #"));
        assert!(ended.stdout.contains(" B of #"), "{}", ended.stdout);

        // The fix is one switch away.
        let consumer = sandbox.consumer(&pair, &["--delay", "100us", "--json"]);
        sandbox.producer(&pair, &many).end().expect(0);
        consumer.end().expect(0).all_well(1000);
    }
}

#[test]
fn without_frames_it_goes_well_as_long_as_nobody_is_in_a_hurry() {
    for pair in STREAMS {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--unframed", "--json"]);
        let (producer, mut input) = by_hand(&sandbox, &pair, &["--unframed"]);
        for (i, line) in ["a line\n", "another, longer\n", "\n"].iter().enumerate() {
            input.write_all(line.as_bytes()).expect("write");
            consumer
                .wait_for_stdout(&format!("item #{i}, whole"))
                .wait_for_stdout(&format!("received #{i} "));
        }
        drop(input);
        producer.end().expect(0);
        let ended = consumer.end().expect(0);
        ended.all_well(3);
        assert_eq!(["reads", "whole", "joined", "cut"].map(|key| ended.number(key)), [3, 3, 0, 0]);
    }
}

#[test]
fn without_frames_there_is_nothing_on_the_wire_but_items() {
    let sandbox = Sandbox::new();
    let path = sandbox.dir().join(format!("{}.sock", sandbox.name()));
    let listener = UnixListener::bind(&path).expect("bind");
    let producer =
        sandbox.producer(&UNIX, &["--unframed", "--count", "20", "--interval", "0", "--size", "64"]);
    let (mut connection, _) = listener.accept().expect("accept");
    let mut hello = [0; 24];
    connection.read_exact(&mut hello).expect("its HELLO");
    assert_eq!(hello[8..16], *b"bare\x01\0\0\0");
    connection.write_all(&hello).expect("answer");
    let mut bytes = Vec::new();
    connection.read_to_end(&mut bytes).expect("it shuts down its half");
    drop(connection);
    producer.end().expect(0);
    fs::remove_file(path).expect("remove");
    assert_eq!(bytes.len(), 20 * 96);
    for (i, item) in bytes.chunks(96).enumerate() {
        assert_eq!(common::item::open(item).expect("an item").0.seq, i as u64);
    }
}

#[test]
fn unframed_is_said_to_both_sides() {
    for pair in STREAMS {
        for (first, second) in [(&["--unframed", "--json"][..], &[][..]), (&["--json"], &["--unframed"])] {
            let sandbox = Sandbox::new();
            let consumer = sandbox.consumer(&pair, first);
            consumer.wait_for_stderr("waiting for a producer");
            sandbox
                .producer(&pair, second)
                .end()
                .expect(1)
                .says("say --unframed to both sides, or to neither");
            consumer.wait_for_stderr("say --unframed to both sides, or to neither");
            let same =
                if second.is_empty() { &["--unframed", "--count", "1"][..] } else { &["--count", "1"] };
            sandbox.producer(&pair, same).end().expect(0);
            consumer.end().expect(0);
        }
    }
    let sandbox = Sandbox::new();
    for pair in [SEQPACKET, UDP] {
        sandbox.producer(&pair, &["--unframed"]).end().expect(2).says("keeps the boundaries");
        sandbox.consumer(&pair, &["--unframed"]).end().expect(2).says("keeps the boundaries");
    }
}

#[test]
fn nonblocking_send_and_receive() {
    for pair in [UNIX, ABSTRACT, SEQPACKET, TCP] {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--nonblocking", "--json"]);
        let (held, input) = by_hand(&sandbox, &pair, &[]);
        consumer.wait_for_stderr("null message: nothing has come from 1 connected producer(s)");
        let args = ["--count", "20000", "--size", "4000", "--interval", "0", "--json", "--quiet"];
        let producer = sandbox.producer(&pair, &[&args[..], &["--nonblocking"]].concat());
        // Nobody reads for a while: 80 MB are more than any socket takes.
        consumer.wait_for_stdout("received #0").signal(SIGSTOP);
        producer.wait_for_stderr("would block: socket full");
        consumer.signal(SIGCONT);
        drop(input);
        held.end().expect(0);
        assert!(producer.end().expect(0).number("would_block") > 0);
        let ended = consumer.end().expect(0);
        ended.all_well(20_000);
        assert!(ended.number("would_block") > 0);
    }
}
