//! Who begins a frame and does not end it: half a frame and then silence, a byte now and then, a death in the middle.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::testkit::{Pair, SOON, Sandbox};
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

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A connection to the consumer, over which nothing has been said.
fn stranger(sandbox: &Sandbox, pair: &Pair) -> Box<dyn Stream> {
    if pair.both.is_empty() {
        let path = sandbox.dir().join(format!("{}.sock", sandbox.name()));
        let stream = UnixStream::connect(path).expect("connect");
        stream.set_read_timeout(Some(SOON)).expect("set");
        Box::new(stream)
    } else {
        let stream = TcpStream::connect(("127.0.0.1", sandbox.port())).expect("connect");
        stream.set_read_timeout(Some(SOON)).expect("set");
        Box::new(stream)
    }
}

/// A connection to the consumer, that has said HELLO as docs/wire-format.md says, and has been answered.
fn connect(sandbox: &Sandbox, pair: &Pair) -> Box<dyn Stream> {
    let mut stream = stranger(sandbox, pair);
    let hello = [b"item".as_slice(), &1u32.to_le_bytes(), &8u32.to_le_bytes(), &[0; 4]].concat();
    stream.write_all(&frame(3, &hello)).expect("say HELLO");
    stream.read_exact(&mut [0; 24]).expect("the consumer's HELLO");
    stream
}

/// Whether the other side closes a connection: an end, or a reset, but not the end of our patience.
fn is_closed(stream: &mut Box<dyn Stream>) -> bool {
    match stream.read(&mut [0]) {
        Ok(n) => n == 0,
        Err(e) => e.kind() == ErrorKind::ConnectionReset,
    }
}

fn frame(kind: u32, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..], &kind.to_le_bytes(), body].concat()
}

#[test]
fn half_a_frame_and_then_silence_is_closed_and_others_are_served() {
    for pair in BOTH {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--frame-deadline", "1s", "--json"]);
        consumer.wait_for_stderr("waiting for a producer");
        let mut half = connect(&sandbox, &pair);
        half.write_all(&frame(1, &[7; 100])[..50]).expect("write half of it");
        let since = Instant::now();
        let other = sandbox.producer(&pair, &["--count", "300", "--interval", "10ms", "--quiet"]);
        assert!(is_closed(&mut half), "it is still open");
        assert!(since.elapsed() >= Duration::from_secs(1), "closed after {:?}", since.elapsed());
        consumer.wait_for_stderr("truncated after 50 of 108 bytes: the rest has not come within 1.0s");
        other.end().expect(0);
        consumer.end().expect(4).all_well(300);
    }
}

#[test]
fn a_byte_now_and_then_is_closed_too() {
    for pair in BOTH {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--frame-deadline", "1s", "--json"]);
        consumer.wait_for_stderr("waiting for a producer");
        let mut drip = connect(&sandbox, &pair);
        let bytes = frame(1, &[7; 1000]);
        let since = Instant::now();
        let took = bytes.iter().position(|byte| {
            std::thread::sleep(Duration::from_millis(50));
            drip.write_all(&[*byte]).is_err()
        });
        let took = took.expect("it was never closed");
        assert!(since.elapsed() >= Duration::from_secs(1) && took > 2, "closed after {took} bytes");
        consumer.end().expect(4).says("the rest has not come within 1.0s");

        // The same with a producer of ours; what it says of it is that the other side is gone.
        let consumer = sandbox.consumer(&pair, &["--frame-deadline", "500ms"]);
        let producer = sandbox.producer(&pair, &["--drip", "100ms", "--count", "1"]);
        producer.end().expect(3);
        consumer.end().expect(4).says("the rest has not come within 500.0ms");
    }
}

#[test]
fn who_never_says_hello_is_closed_and_others_are_served() {
    for pair in BOTH {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--frame-deadline", "1s", "--json"]);
        consumer.wait_for_stderr("waiting for a producer");
        let since = Instant::now();
        let mut silent = stranger(&sandbox, &pair);
        let mut slow = stranger(&sandbox, &pair);
        slow.write_all(&frame(3, b"item")[..6]).expect("write half a HELLO");
        let other = sandbox.producer(&pair, &["--count", "300", "--interval", "10ms", "--quiet"]);
        for stranger in [&mut silent, &mut slow] {
            assert!(is_closed(stranger), "it is still open");
            assert!(since.elapsed() >= Duration::from_secs(1), "closed after {:?}", since.elapsed());
        }
        consumer.wait_for_stderr("its HELLO has not come within 1.0s");
        other.end().expect(0);
        // Neither was a producer, so nothing of the stream is lost.
        consumer.end().expect(0).all_well(300);

        // 0 means no deadline, also for who has said nothing.
        let consumer = sandbox.consumer(&pair, &["--frame-deadline", "0", "--json"]);
        consumer.wait_for_stderr("waiting for a producer");
        let mut silent = stranger(&sandbox, &pair);
        sandbox.producer(&pair, &["--count", "2", "--interval", "500ms"]).end().expect(0);
        let ended = consumer.end().expect(0);
        assert!(!ended.stderr.contains("HELLO"), "{ended:?}");
        assert!(is_closed(&mut silent), "it goes with the consumer");
    }
}

#[test]
fn a_consumer_that_was_busy_or_stopped_blames_nobody() {
    for pair in BOTH {
        let sandbox = Sandbox::new();
        // Each frame is longer than the sockets hold, and each item takes longer than the deadline.
        let slow = ["--frame-deadline", "2s", "--delay", "3s", "--quiet", "--json"];
        let consumer = sandbox.consumer(&pair, &slow);
        let large = ["--count", "2", "--interval", "0", "--size", "10MiB", "--quiet"];
        let producers = [(); 2].map(|()| sandbox.producer(&pair, &large));
        consumer.wait_for_stderr("").signal(SIGSTOP);
        std::thread::sleep(Duration::from_millis(2500));
        consumer.signal(SIGCONT);
        let _ = producers.map(|producer| producer.end().expect(0));
        consumer.end().expect(0).all_well(4);

        // Half a frame is in the socket, and nobody waits for the rest for ever: 0 means no deadline.
        let consumer = sandbox.consumer(&pair, &["--frame-deadline", "0", "--json"]);
        let producer = sandbox.producer(&pair, &["--drip", "10ms", "--count", "1"]);
        producer.end().expect(0);
        consumer.end().expect(0).all_well(1);
    }
}

#[test]
fn a_producer_killed_in_the_middle_of_a_frame_is_a_truncated_frame() {
    for pair in BOTH {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--json"]);
        let producer = sandbox.producer(&pair, &["--drip", "50ms"]);
        consumer.wait_for_stderr("bytes of a frame have come");
        producer.signal(SIGKILL);
        let ended = consumer.end().expect(4).says("truncated after");
        assert!(ended.stderr.contains(" bytes"), "{}", ended.stderr);
        let consumer = sandbox.consumer(&pair, &["--json"]);
        sandbox.producer(&pair, &["--count", "3", "--interval", "0"]).end().expect(0);
        consumer.end().expect(0).all_well(3);
    }
}

#[test]
fn who_has_said_hello_may_be_silent_between_frames() {
    for pair in BOTH {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--frame-deadline", "100ms", "--json"]);
        let producer = sandbox.producer(&pair, &["--count", "2", "--interval", "1s"]);
        producer.end().expect(0);
        consumer.signal(SIGINT);
        let ended = consumer.end();
        assert!([0, 130].contains(&ended.code), "{ended:?}");
        assert_eq!(ended.number("items"), 2);
    }
}
