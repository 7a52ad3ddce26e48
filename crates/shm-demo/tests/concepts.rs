//! What the study notes say about shared memory, each of it seen to happen between real processes.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::testkit::{Outcome, Pair, Process, SOON, Sandbox};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::Signal::SIGINT;
use serde_json::Value;

const fn pair(both: &'static [&'static str]) -> Pair {
    Pair {
        producer: env!("CARGO_BIN_EXE_shm-producer"),
        consumer: env!("CARGO_BIN_EXE_shm-consumer"),
        both,
        only_producer: &[],
        only_consumer: &[],
    }
}

const SEMAPHORE: Pair = pair(&["--sync", "semaphore"]);
const MUTEX: Pair = pair(&["--sync", "mutex"]);
const RING: Pair = pair(&["--sync", "ring"]);
const NONE: Pair = pair(&["--sync", "none"]);
const ALL: [Pair; 4] = [SEMAPHORE, MUTEX, RING, NONE];

// Row 2: the producer stores in a buffer, the consumer takes from it, at the same time.

#[test]
fn row_2_the_gauge_shows_the_buffer_fill_and_empty_on_both_sides() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let args = ["--slots", "4", "--count", "6", "--interval", "0", "--gauge"];
        let producer = sandbox.producer(&pair, &args);
        producer.wait_for_stderr("[####] 4/4  FULL: waiting");
        // Slow enough that each state lasts for several drawings.
        let consumer = sandbox.consumer(&pair, &["--delay", "400ms", "--gauge", "--json"]);
        for state in ["[####] 4/4  FULL\n", "[###·] 3/4\n", "[##··] 2/4\n", "[#···] 1/4\n"] {
            consumer.wait_for_stderr(state);
        }
        producer.end().expect(0).says("sent 6 items");
        consumer.end().expect(0).all_well(6);

        let producer =
            sandbox.producer(&pair, &["--slots", "4", "--count", "3", "--interval", "500ms", "--gauge"]);
        let consumer = sandbox.consumer(&pair, &["--gauge"]);
        consumer.wait_for_stderr("[····] 0/4  EMPTY: waiting");
        producer.wait_for_stderr("[····] 0/4  EMPTY\n");
        assert!(!producer.end().expect(0).stderr.contains("EMPTY: waiting"), "it is not the producer's wait");
        consumer.end().expect(0);
    }
}

/// A terminal of a number of columns, and all that was written to it.
struct Terminal {
    slave: File,
    written: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    fn new(columns: u16) -> Terminal {
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).expect("a pseudo-terminal");
        let mut master = File::from(pty.master);
        let written = Arc::new(Mutex::new(Vec::new()));
        let screen = written.clone();
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // EIO when the last process has closed the other end.
            while let Ok(n @ 1..) = master.read(&mut piece) {
                screen.lock().expect("nobody panics with it").extend_from_slice(&piece[..n]);
            }
        });
        Terminal { slave: pty.slave.into(), written, reader }
    }

    fn run(&self, sandbox: &Sandbox, binary: &str, args: &[&str]) -> Process {
        let mut command = sandbox.command(binary);
        command.args(args).args(["--name", sandbox.name()]).stdin(Stdio::null());
        let stream = || self.slave.try_clone().expect("dup");
        command.stdout(stream()).stderr(stream());
        Process::follow(command)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().expect("nobody panics with it")).into_owned()
    }

    fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + SOON;
        while !self.text().contains(text) {
            assert!(Instant::now() < deadline, "{text:?} did not come:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The lines that a user sees at the end.
    fn end(self) -> Vec<String> {
        drop(self.slave);
        self.reader.join().expect("read it all");
        let all = String::from_utf8_lossy(&self.written.lock().expect("text")).into_owned();
        let (mut lines, mut row, mut column) = (vec![Vec::new()], 0, 0);
        let mut chars = all.chars();
        while let Some(c) = chars.next() {
            match c {
                '\r' => column = 0,
                '\n' => row += 1,
                '\x1b' => {
                    let sequence: String = chars.by_ref().take(2).collect();
                    assert_eq!(sequence, "[K", "what else is written is not understood here");
                    lines[row].truncate(column);
                }
                c => {
                    let length = lines[row].len().max(column + 1);
                    lines[row].resize(length, ' ');
                    lines[row][column] = c;
                    column += 1;
                }
            }
            lines.resize(lines.len().max(row + 1), Vec::new());
        }
        let text = |line: &Vec<char>| line.iter().collect::<String>().trim_end().to_owned();
        lines.iter().map(text).filter(|l| !l.is_empty()).collect()
    }
}

#[test]
fn row_2_the_gauge_is_drawn_in_place_and_leaves_nothing_on_the_terminal() {
    for (columns, flags, interrupt) in
        [(80, &[][..], false), (80, &["--quiet"], false), (30, &[], true), (12, &["--quiet"], true)]
    {
        let sandbox = Sandbox::new();
        let [one, two] = [(); 2].map(|()| Terminal::new(columns));
        let consumer = [&["--gauge", "--delay", "150ms"], flags].concat();
        let count = if interrupt { "0" } else { "8" };
        let producer = [&["--gauge", "--slots", "4", "--count", count, "--interval", "0"], flags].concat();
        let consumer = one.run(&sandbox, SEMAPHORE.consumer, &consumer);
        let producer = two.run(&sandbox, SEMAPHORE.producer, &producer);
        let drawn = if columns >= 30 { "\r\x1b[K[###" } else { "\r\x1b[K4/4  FULL" };
        for terminal in [&one, &two] {
            terminal.wait_for(drawn);
        }
        let code = if interrupt { 130 } else { 0 };
        for process in [producer, consumer] {
            if interrupt {
                process.signal(SIGINT);
            }
            process.end().expect(code);
        }
        for (terminal, item, summary) in [(one, "received #", "received "), (two, "sent #", "sent ")] {
            let seen = terminal.end();
            let gauges: Vec<_> =
                seen.iter().filter(|l| l.contains("/4") && !l.contains("blocked: ")).collect();
            assert!(gauges.is_empty(), "left or mixed up: {gauges:?} in {seen:#?}");
            let items = seen.iter().filter(|l| l.starts_with(item) && l.contains("  64 B")).count();
            if flags.is_empty() {
                assert!(if interrupt { items > 0 } else { items == 8 }, "{seen:#?}");
            }
            assert!(seen.iter().any(|l| l.starts_with(summary) && l.contains(" items, ")), "{seen:#?}");
        }
    }
}

#[test]
fn row_2_the_gauge_says_no_more_than_some_tens_of_lines_a_second() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&RING, &["--quiet", "--gauge", "--json"]);
    let args = ["--count", "2000000", "--interval", "0", "--quiet", "--gauge", "--json", "--slots", "1000"];
    let producer = sandbox.producer(&RING, &args).end().expect(0);
    let consumer = consumer.end().expect(0);
    consumer.all_well(2_000_000);
    for ended in [producer, consumer] {
        let lines: Vec<_> = ended.stderr.lines().filter(|l| l.contains("/1000")).collect();
        let (n, seconds) = (lines.len() as f64, ended.json()["elapsed_s"].as_f64().expect("a number"));
        assert!(n >= 1.0 && n <= 2.0 + 21.0 * seconds, "{n} in {seconds} s");
        assert!(lines.iter().all(|l| l.chars().count() <= 80), "{lines:#?}");
    }
}

// Row 3: the application must synchronise; collisions are possible.

/// Two producers that push 100,000 items each, and two consumers: the consumers' ends, then the producers'.
fn two_and_two(pair: &Pair, each: &str) -> [Vec<Outcome>; 2] {
    let sandbox = Sandbox::new();
    let consumers = [(); 2].map(|()| sandbox.consumer(pair, &["--quiet", "--json"]));
    for consumer in &consumers {
        consumer.wait_for_stderr("waiting for a producer");
    }
    // What a race needs: many slots, so that nobody sleeps after every few items and is awake alone; and long
    // items, in whose copying another process can come in between, also where all share one core.
    let race = ["--slots", "128", "--size", "4KiB", "--interval", "0"];
    let args = [&race[..], &["--count", each, "--quiet", "--json"]].concat();
    let producers = [(); 2].map(|()| sandbox.producer(pair, &args));
    let producers = producers.map(Process::end).to_vec();
    [consumers.map(Process::end).to_vec(), producers]
}

fn sum(of: &[Outcome], key: &str) -> u64 {
    of.iter().map(|o| o.json()[key].as_u64().unwrap_or(0)).sum()
}

#[test]
fn row_3_without_synchronisation_items_and_updates_are_lost() {
    let (mut happened, mut seen) = (0, String::new());
    for _ in 0..10 {
        let [consumers, producers] = two_and_two(&NONE, "100000");
        assert_eq!(sum(&producers, "items"), 200_000);
        let intact = sum(&consumers, "items") - sum(&consumers, "duplicated") - sum(&consumers, "corrupted");
        let bad =
            sum(&consumers, "duplicated") + sum(&consumers, "corrupted") + 200_000_u64.saturating_sub(intact);
        let increments: Vec<u64> = consumers
            .iter()
            .map(|c| c.json()["increments"].as_u64().expect("every consumer knows"))
            .collect();
        assert_eq!(increments[0], increments[1], "one counter");
        seen += &format!("{increments:?} of 200000 increments, {bad} bad items\n");
        if bad == 0 || increments[0] == 200_000 {
            continue;
        }
        happened += 1;
        // Everybody who can know says so, and what helps.
        let known = producers.iter().filter(|p| p.json()["increments"] != Value::Null);
        for process in consumers.iter().chain(known) {
            let process = process.clone().expect(4).says("lost update: ");
            assert!(process.stderr.contains(" of 200,000 increments are there (--sync semaphore or mutex)"));
        }
    }
    println!("{seen}");
    assert!(happened >= 9, "it happened {happened} times of 10:\n{seen}");
}

#[test]
fn row_3_with_semaphores_or_a_mutex_nothing_is_lost() {
    for pair in [SEMAPHORE, MUTEX] {
        let [consumers, producers] = two_and_two(&pair, "100000");
        assert_eq!((sum(&producers, "items"), sum(&consumers, "items")), (200_000, 200_000));
        for process in consumers.iter().chain(&producers) {
            let ended = process.clone().expect(0);
            assert!(!ended.stderr.contains("lost update"), "{}", ended.stderr);
        }
        for key in ["lost", "duplicated", "reordered", "corrupted"] {
            assert_eq!(sum(&consumers, key), 0, "{key} {:?}", pair.both);
        }
    }
}

#[test]
fn row_3_an_item_is_torn_when_two_use_its_slot_at_the_same_time() {
    for _ in 0..50 {
        // So many that no producer is done before the other comes: the consumers would end with it.
        let [consumers, _] = two_and_two(&NONE, "100000");
        if let Some(consumer) = consumers.iter().find(|c| c.number("corrupted") > 0) {
            let said = consumer.clone().expect(4).says("corrupted item: ").says("torn items: ");
            said.says("(--sync semaphore or mutex)");
            return;
        }
    }
    panic!("not one of 10,000,000 items was torn");
}

#[test]
fn row_3_who_is_lucky_is_told_that_it_was_luck() {
    // One producer: nobody else writes the counter.
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&NONE, &["--json"]);
    let args = ["--count", "3", "--interval", "50ms", "--json"];
    let producer = sandbox.producer(&NONE, &args).end().expect(0);
    let consumer = consumer.end().expect(0);
    for ended in [producer, consumer] {
        assert_eq!((ended.number("pushed"), ended.number("increments")), (3, 3));
        ended.says("no update was lost this time: all 3 increments are there");
    }
}

#[test]
fn row_3_a_ring_refuses_a_second_producer_and_loses_nothing() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&RING, &["--quiet", "--json"]);
    consumer.wait_for_stderr("waiting for a producer");
    let args = ["--count", "200000", "--interval", "0", "--quiet"];
    let first = sandbox.producer(&RING, &[&args[..], &["--slots", "2"]].concat());
    first.wait_for_stderr("");
    sandbox
        .consumer(&RING, &[])
        .end()
        .expect(1)
        .says("there is one consumer")
        .says("--sync semaphore or mutex");
    first.end().expect(0);
    consumer.end().expect(0).all_well(200_000);
}

// Row 4: form and place are the processes' own affair; the kernel hardly helps.

type Calls = Vec<(String, u64)>;

/// The system calls of a consumer by name, counted by strace while it takes `items`.
fn system_calls(items: &str, slots: &str, wait: &str) -> Calls {
    let mut sandbox = Sandbox::new();
    let file = sandbox.file("calls");
    let mut command = sandbox.command("strace");
    command.args(["-f", "-c", "-o"]).arg(&file).args([RING.consumer, "--name", sandbox.name()]);
    command.args(RING.both).args(["--quiet", "--json", "--wait", wait]);
    let consumer = Process::spawn(command);
    consumer.wait_for_stderr("waiting for a producer");
    let args = ["--count", items, "--slots", slots, "--wait", wait, "--interval", "0", "--quiet"];
    sandbox.producer(&RING, &args).end().expect(0);
    consumer.end().expect(0).all_well(items.parse().expect("a number"));
    let table = std::fs::read_to_string(file).expect("strace's table");
    // % time, seconds, usecs/call, calls, errors (if there were), syscall
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some((words.last()?.to_string(), words.get(3)?.parse().ok()?))
    };
    table.lines().filter_map(row).filter(|(name, _)| name != "total").collect()
}

#[test]
fn row_4_a_ring_makes_no_system_call_for_an_item() {
    match Command::new("strace").args(["-o", "/dev/null", "true"]).output() {
        Ok(done) if done.status.success() => {}
        failed => {
            println!("skipped: strace cannot be used here: {failed:?}");
            return;
        }
    }
    let all = |calls: &Calls| calls.iter().map(|(_, n)| n).sum::<u64>();
    let calls = system_calls("1000000", "1024", "adaptive");
    println!("1,000,000 items, 1024 slots: {} calls: {calls:?}", all(&calls));
    assert!(all(&calls) < 100_000, "{calls:?}");
    // With one slot each side has to wait for every item, and who does not look sleeps, for which it needs the kernel.
    let calls = system_calls("5000", "1", "block");
    println!("5,000 items, 1 slot: {} calls: {calls:?}", all(&calls));
    assert!(all(&calls) > 2_500, "{calls:?}");
}

#[test]
fn row_4_the_object_can_be_decoded_as_the_wire_format_says() {
    for (pair, kind, first_slot, header) in
        [(SEMAPHORE, 1, 448, 8), (MUTEX, 2, 320, 24), (RING, 3, 256, 8), (NONE, 4, 192, 8)]
    {
        let sandbox = Sandbox::new();
        let producer = sandbox.producer(&pair, &["--slots", "4", "--count", "4", "--interval", "0"]);
        producer.wait_for_stderr("waiting for a consumer");
        let object = PathBuf::from(format!("/dev/shm/ipc-lab-{}-{}", nix::unistd::geteuid(), sandbox.name()));
        let bytes = std::fs::read(object).expect("the object is a file in /dev/shm");
        let word = |at: usize| u32::from_ne_bytes(*bytes[at..].first_chunk().expect("four bytes"));
        assert_eq!(&bytes[..8], b"IPCLABSH");
        assert_eq!([8, 12, 16, 20].map(word), [1, kind, 4, 96], "{:?}", pair.both);
        let stride = (header + 96_usize).next_multiple_of(64);
        for i in 0..4 {
            let slot = first_slot + i * stride;
            let length = if kind == 2 { slot + 8 } else { slot };
            assert_eq!(word(length), 96, "{:?}", pair.both);
            let text = format!("item {i:010} ");
            let item = slot + header;
            assert_eq!(&bytes[item + 32..][..text.len()], text.as_bytes(), "{:?}", pair.both);
            assert_eq!(word(item + 24), producer.pid());
        }
        producer.signal(SIGINT);
        producer.end().expect(130);
    }
}

// Row 5: consumption only when an item is available.

#[test]
fn row_5_an_empty_buffer_blocks_the_consumer_and_a_full_one_the_producer() {
    for pair in ALL {
        let blocked = |ended: &Outcome, times: u64, seconds: f64| {
            let json = ended.json();
            let (n, time) = (json["blocked"].as_u64(), json["blocked_s"].as_f64());
            assert!(n >= Some(times) && time >= Some(seconds), "{json}");
            assert!(ended.stderr.contains(&format!("blocked {}× for ", n.unwrap_or(0))), "{}", ended.stderr);
        };
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--json"]);
        let producer = sandbox.producer(&pair, &["--count", "4", "--interval", "200ms"]);
        producer.end().expect(0);
        let consumer = consumer.end().expect(0).says("blocked: buffer empty 0/8");
        consumer.all_well(4);
        // Three pauses; the clock by which it waits may begin a little after the producer's.
        blocked(&consumer, 3, 0.5);

        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--delay", "200ms", "--json"]);
        let args = ["--count", "6", "--slots", "2", "--interval", "0", "--json"];
        let producer = sandbox.producer(&pair, &args).end().expect(0).says("blocked: buffer full 2/2");
        consumer.end().expect(0).all_well(6);
        blocked(&producer, 3, 0.5);
    }
}

// Rows 10 and 12: non-blocking send and receive.

#[test]
fn row_10_a_nonblocking_push_into_a_full_buffer_would_block_and_goes_on() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let args = ["--nonblocking", "--slots", "2", "--count", "5", "--interval", "0", "--json"];
        let producer = sandbox.producer(&pair, &args);
        producer.wait_for_stderr("would block: buffer full 2/2");
        sandbox.consumer(&pair, &["--json"]).end().expect(0).all_well(5);
        let producer = producer.end().expect(0).says("would have blocked");
        assert!(producer.number("would_block") > 0);
        assert!(!producer.stderr.contains("\nblocked: "), "{}", producer.stderr);
    }
}

#[test]
fn row_12_a_nonblocking_pop_from_an_empty_buffer_is_a_null_message() {
    for pair in ALL {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(&pair, &["--nonblocking", "--json"]);
        sandbox.producer(&pair, &["--count", "3", "--interval", "300ms"]).end().expect(0);
        let consumer = consumer.end().expect(0).says("null message: buffer empty 0/8");
        consumer.all_well(3);
        assert!(consumer.number("would_block") > 2, "{}", consumer.json());
        assert!(!consumer.stderr.contains("\nblocked: "), "{}", consumer.stderr);
    }
}
