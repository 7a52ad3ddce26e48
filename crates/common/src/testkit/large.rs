//! A large stream through a pair: identical at the other end, in little memory.

use std::io::{BufReader, Read};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{Pair, Process, SOON, Sandbox};

/// What each side may use beside the channel itself, in KiB.
const LITTLE: u64 = 32 * 1024;

/// Bytes without a period that a chunk could have, so that none can be lost, doubled or moved unseen.
struct Noise {
    state: u64,
    left: u64,
}

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.left.min(buffer.len() as u64 / 8 * 8);
        for word in buffer[..n as usize].chunks_exact_mut(8) {
            // Steele, Lea, Flood: "Fast splittable pseudorandom number generators" (2014), without the last mix.
            self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            word.copy_from_slice(&mixed.to_le_bytes());
        }
        self.left -= n;
        Ok(n as usize)
    }
}

/// `… | producer --input -` and `consumer --output - | …`: as many MiB as `IPC_TEST_MIB` says, else 256.
pub fn stream(pair: &Pair) {
    let mib = std::env::var("IPC_TEST_MIB").ok().and_then(|n| n.parse().ok()).unwrap_or(256u64);
    let noise = move || BufReader::with_capacity(65536, Noise { state: 7, left: mib << 20 });
    let sandbox = Sandbox::new();
    let name = ["--name", sandbox.name()];

    let (from, mut input) = std::io::pipe().expect("pipe");
    let mut source = sandbox.command(pair.producer);
    source.args(sandbox.args_of(pair.both, pair.only_producer)).args(name).args(["--input", "-", "--quiet"]);
    source.stdin(from).stdout(Stdio::null()).stderr(Stdio::piped());
    let source = Process::follow(source);

    let (mut output, to) = std::io::pipe().expect("pipe");
    let mut sink = sandbox.command(pair.consumer);
    sink.args(sandbox.args_of(pair.both, pair.only_consumer)).args(name).args(["--output", "-"]);
    sink.stdout(to).stderr(Stdio::piped());
    let sink = Process::follow(sink);

    let feeder =
        std::thread::spawn(move || std::io::copy(&mut noise(), &mut input).expect("feed the producer"));
    let mut expected = noise();
    let (mut got, mut want) = (vec![0; 65536], vec![0; 65536]);
    let (mut length, mut most, mut looked) = (0, 0, Instant::now());
    while let n @ 1.. = output.read(&mut got).expect("read from the consumer") {
        expected.read_exact(&mut want[..n]).expect("more came out than went in");
        assert!(got[..n] == want[..n], "the stream differs after {length} bytes");
        length += n as u64;
        if looked.elapsed() > Duration::from_millis(20) {
            most = most.max(source.private_kib()).max(sink.private_kib());
            looked = Instant::now();
        }
    }
    source.end_within(SOON).expect(0);
    sink.end_within(SOON).expect(0);
    assert_eq!((length, feeder.join().expect("the feeder")), (mib << 20, mib << 20), "all of it came");
    assert!(most > 0 && most < LITTLE, "{most} KiB resident");
}
