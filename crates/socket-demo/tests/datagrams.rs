//! UDP promises nothing: what is lost is counted, and what can be done about the rest.

use std::net::UdpSocket;
use std::time::Duration;

use common::testkit::{Pair, Process, Sandbox};
use nix::sys::signal::Signal::{SIGINT, SIGKILL};

const UDP: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_socket-producer"),
    consumer: env!("CARGO_BIN_EXE_socket-consumer"),
    both: &["--transport", "udp", "--addr", "127.0.0.1:{port}"],
    only_producer: &[],
    only_consumer: &[],
};

const DATA: u32 = 1;
const GOODBYE: u32 = 2;
const HELLO: u32 = 3;
const GONE: u32 = 6;

/// As docs/wire-format.md says.
fn datagram(kind: u32, stream: u64, body: &[u8]) -> Vec<u8> {
    [b"udp1", &kind.to_le_bytes()[..], &stream.to_le_bytes(), body].concat()
}

/// A test's own side.
struct Raw(UdpSocket);

impl Raw {
    /// In the consumer's place.
    fn consumer(sandbox: &Sandbox) -> Raw {
        Raw::with_patience(UdpSocket::bind(("127.0.0.1", sandbox.port())).expect("bind"))
    }

    /// In a producer's place.
    fn producer(sandbox: &Sandbox) -> Raw {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
        socket.connect(("127.0.0.1", sandbox.port())).expect("connect");
        Raw::with_patience(socket)
    }

    fn with_patience(socket: UdpSocket) -> Raw {
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        Raw(socket)
    }

    fn say(&self, kind: u32, stream: u64, body: &[u8]) {
        self.0.send(&datagram(kind, stream, body)).expect("send");
    }

    /// The next datagram: its kind, stream and body.
    fn hear(&self) -> (u32, u64, Vec<u8>) {
        let mut bytes = [0; 2000];
        let (n, from) = self.0.recv_from(&mut bytes).expect("something comes");
        let _ = self.0.connect(from);
        assert!(n >= 16 && bytes.starts_with(b"udp1"), "{:?}", &bytes[..n]);
        let kind = u32::from_le_bytes(*bytes[4..].first_chunk().expect("four"));
        let stream = u64::from_le_bytes(*bytes[8..].first_chunk().expect("eight"));
        (kind, stream, bytes[16..n].to_vec())
    }

    /// What comes next that is not of this kind, which is said again and again.
    fn hear_other_than(&self, kind: u32) -> (u32, u64, Vec<u8>) {
        loop {
            match self.hear() {
                heard if heard.0 != kind => return heard,
                _ => {}
            }
        }
    }
}

#[test]
fn who_sends_too_fast_loses_items_and_learns_how_many() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&UDP, &["--delay", "1ms", "--quiet", "--json"]);
    consumer.wait_for_stderr("waiting for a producer");
    let args = ["--count", "5000", "--interval", "0", "--quiet", "--json"];
    let producer = sandbox.producer(&UDP, &args).end().expect(4).says("have not come: UDP repeats nothing");
    assert_eq!(producer.number("items"), 5000);
    let ended = consumer.end().expect(4).says("the socket's buffer was full");
    assert!(ended.number("lost") > 0 && ended.number("dropped") > 0, "{}", ended.stdout);
    assert_eq!(ended.number("items") + ended.number("lost"), 5000);
    let said = format!("{} of 5000 datagrams have not come", ended.number("lost"));
    assert!(producer.stderr.contains(&said), "{said}: {}", producer.stderr);
}

#[test]
fn who_takes_its_time_loses_nothing() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&UDP, &["--forever", "--quiet", "--json"]);
    // Fewer at once than the buffer holds, however long the consumer is kept from running.
    let args = ["--count", "60", "--interval", "1ms", "--quiet"];
    let producers = [(); 3].map(|()| sandbox.producer(&UDP, &args));
    let _ = producers.map(|p| p.end().expect(0));
    consumer.signal(SIGINT);
    consumer.end().expect(130).all_well(180);
}

#[test]
fn a_datagram_has_a_size() {
    let sandbox = Sandbox::new();
    sandbox.producer(&UDP, &["--size", "65460"]).end().expect(2).says("holds up to 65491");
    let consumer = sandbox.consumer(&UDP, &["--json"]);
    sandbox.producer(&UDP, &["--size", "65459", "--count", "2", "--interval", "1ms"]).end().expect(0);
    consumer.end().expect(0).all_well(2);
}

#[test]
fn a_goodbye_that_was_lost_is_said_again() {
    let sandbox = Sandbox::new();
    let raw = Raw::consumer(&sandbox);
    let producer = sandbox.producer(&UDP, &["--count", "3", "--interval", "0"]);
    let (kind, stream, body) = raw.hear();
    assert_eq!((kind, body.len()), (HELLO, 0));
    // Nor does the first HELLO arrive.
    assert_eq!(raw.hear(), (HELLO, stream, vec![]));
    raw.say(HELLO, stream, &[]);
    for seq in 0..3 {
        let (kind, of, body) = raw.hear_other_than(HELLO);
        assert_eq!((kind, of), (DATA, stream));
        let header = common::item::open(&body).expect("an item").0;
        assert_eq!((header.stream, header.seq), (stream, seq));
    }
    for _ in 0..3 {
        assert_eq!(raw.hear(), (GOODBYE, stream, 3u64.to_le_bytes().to_vec()));
    }
    producer.wait_for_stderr("the goodbye after 3 items is not answered yet");
    raw.say(GOODBYE, stream, &3u64.to_le_bytes());
    producer.end().expect(0);

    drop(raw);

    let fresh = Raw::consumer(&sandbox);
    let producer = sandbox.producer(&UDP, &["--count", "1", "--timeout", "500ms"]);
    let (_, stream, _) = fresh.hear();
    fresh.say(HELLO, stream, &[]);
    producer.end().expect(3).says("--timeout");
}

#[test]
fn an_answer_that_was_lost_is_given_again() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&UDP, &["--json"]);
    consumer.wait_for_stderr("waiting for a producer");
    let (raw, other) = (Raw::producer(&sandbox), Raw::producer(&sandbox));
    for raw in [&raw, &raw, &other] {
        raw.say(HELLO, if std::ptr::eq(raw, &other) { 8 } else { 7 }, &[]);
        assert_eq!(raw.hear().0, HELLO);
    }
    // The goodbye says two; one has come.
    let item = {
        let mut item = vec![0; 40];
        let header = common::item::Header { stream: 7, seq: 0, sent_ns: 1, pid: 1, crc: 0 };
        common::item::seal(&mut item, &header);
        item
    };
    raw.say(DATA, 7, &item);
    for _ in 0..2 {
        raw.say(GOODBYE, 7, &2u64.to_le_bytes());
        for _ in 0..3 {
            assert_eq!(raw.hear(), (GOODBYE, 7, 1u64.to_le_bytes().to_vec()));
        }
    }
    other.say(GOODBYE, 8, &0u64.to_le_bytes());
    let ended = consumer.end().expect(4);
    assert_eq!((ended.number("items"), ended.number("lost")), (1, 1), "counted once");
}

#[test]
fn what_is_not_ours_is_no_item() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&UDP, &["--json"]);
    consumer.wait_for_stderr("waiting for a producer");
    let raw = Raw::producer(&sandbox);
    for foreign in
        [&b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03org\0"[..], b"", b"udp1", &[0xff; 60_000]]
    {
        raw.0.send(foreign).expect("send");
    }
    consumer.wait_for_stderr("a foreign datagram of 25 B from 127.0.0.1:");
    raw.say(DATA, 99, &[1; 100]);
    assert_eq!(raw.hear(), (GONE, 99, 0u64.to_le_bytes().to_vec()), "told that it is not known here");
    let producer = sandbox.producer(&UDP, &["--count", "20", "--interval", "0"]);
    producer.end().expect(0);
    consumer.end().expect(0).all_well(20);
}

#[test]
fn who_sends_in_anothers_name_is_not_heard() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&UDP, &["--json"]);
    consumer.wait_for_stderr("waiting for a producer");
    let (raw, liar) = (Raw::producer(&sandbox), Raw::producer(&sandbox));
    raw.say(HELLO, 7, &[]);
    assert_eq!(raw.hear().0, HELLO);
    liar.say(GOODBYE, 7, &0u64.to_le_bytes());
    liar.say(DATA, 7, &[1; 100]);
    consumer.wait_for_stderr("sends in the name of another");
    raw.say(GOODBYE, 7, &0u64.to_le_bytes());
    let ended = consumer.end().expect(0);
    assert_eq!(ended.number("items"), 0);
}

#[test]
fn the_consumer_is_killed_and_started_again() {
    let sandbox = Sandbox::new();
    let endless = ["--count", "0", "--interval", "10ms", "--quiet", "--json"];
    let producer = sandbox.producer(&UDP, &endless);
    let consumer = sandbox.consumer(&UDP, &[]);
    consumer.wait_for_stdout("received #0").signal(SIGKILL);
    consumer.end().expect(137);
    producer.end().expect(3).says("has gone");
    let consumer = sandbox.consumer(&UDP, &["--json"]);
    sandbox.producer(&UDP, &["--count", "5", "--interval", "0"]).end().expect(0);
    consumer.end().expect(0).all_well(5);
}

#[test]
fn a_consumer_that_has_enough_says_how_many_came() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&UDP, &["--count", "10", "--json"]);
    let producer = sandbox.producer(&UDP, &["--count", "0", "--interval", "1ms", "--quiet"]);
    consumer.end().expect(0).all_well(10);
    producer.end().expect(3).says("10 of them have come");
    let consumer = sandbox.consumer(&UDP, &["--count", "10"]);
    let producer = sandbox.producer(&UDP, &["--count", "10", "--interval", "0"]);
    consumer.end().expect(0);
    producer.end().expect(0);
}

#[test]
fn a_death_is_not_noticed_but_a_leave_is() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&UDP, &["--timeout", "1s", "--json"]);
    let killed = sandbox.producer(&UDP, &["--interval", "1h"]);
    consumer.wait_for_stdout("received #0");
    killed.signal(SIGKILL);
    consumer.end().expect(3).says("UDP tells nobody of a death").says("--timeout");

    // Ctrl-C is a goodbye.
    let consumer = sandbox.consumer(&UDP, &["--json"]);
    let producer = sandbox.producer(&UDP, &["--interval", "1h"]);
    consumer.wait_for_stdout("received #0");
    producer.signal(SIGINT);
    producer.end_within(Duration::from_secs(2)).expect(130);
    consumer.end().expect(0).all_well(1);

    // An error of its own is none, and said as well.
    let consumer = sandbox.consumer(&UDP, &["--json"]);
    consumer.wait_for_stderr("waiting for a producer");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("open /dev/full");
    let mut command = sandbox.command(UDP.producer);
    command.args(sandbox.args_of(UDP.both, &[])).args(["--count", "3", "--interval", "10ms"]);
    command.stdout(full).stderr(std::process::Stdio::piped());
    Process::follow(command).end().expect(1);
    consumer.end().expect(3).says("gone without a goodbye");
}

#[test]
fn a_port_belongs_to_one() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&UDP, &["--json"]);
    consumer.wait_for_stderr("waiting for a producer");
    sandbox.consumer(&UDP, &[]).end().expect(1).says("take another --addr");
    sandbox.producer(&UDP, &["--count", "1"]).end().expect(0);
    consumer.end().expect(0).all_well(1);
    for (addr, code) in [("0.0.0.0:7999", 2), ("127.0.0.1:0", 2), ("nonsense", 2)] {
        let ended = sandbox.consumer(&UDP, &["--addr", addr]).end();
        assert_eq!(ended.code, code, "{addr}: {}", ended.stderr);
    }
}

#[test]
fn forever_is_for_the_next_producer() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&UDP, &["--forever", "--json"]);
    for _ in 0..3 {
        sandbox.producer(&UDP, &["--count", "5", "--interval", "0"]).end().expect(0);
    }
    consumer.signal(SIGINT);
    assert_eq!(consumer.end().expect(130).number("items"), 15);
}

#[test]
fn an_ordinary_user_can_run_it() {
    let sandbox = Sandbox::as_nobody();
    let consumer = sandbox.consumer(&UDP, &["--nonblocking", "--quiet", "--json"]);
    consumer.wait_for_stderr("waiting for a producer");
    sandbox.producer(&UDP, &["--nonblocking", "--count", "5", "--interval", "100ms"]).end().expect(0);
    consumer.end().expect(0).says("null message").all_well(5);
}

#[test]
fn thousands_of_producers_one_after_the_other_are_no_more_than_one() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&UDP, &["--json", "--quiet"]);
    consumer.wait_for_stderr("waiting for a producer");
    let raw = Raw::producer(&sandbox);
    raw.say(HELLO, 0, &[]);
    assert_eq!(raw.hear().0, HELLO);
    for stream in 1..5000 {
        raw.say(HELLO, stream, &[]);
        assert_eq!(raw.hear(), (HELLO, stream, vec![]));
        raw.say(GOODBYE, stream, &0u64.to_le_bytes());
        for _ in 0..3 {
            assert_eq!(raw.hear(), (GOODBYE, stream, 0u64.to_le_bytes().to_vec()));
        }
    }
    raw.say(GOODBYE, 0, &0u64.to_le_bytes());
    consumer.end().expect(0);
}
