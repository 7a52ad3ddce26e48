//! What only a mapped file does: it stays, it is resumed, it can be damaged, foreign or cut.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::testkit::{Pair, Process, Sandbox};
use nix::sys::signal::Signal::{SIGINT, SIGKILL};

const MMAP: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_mmap-producer"),
    consumer: env!("CARGO_BIN_EXE_mmap-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};

const FAST: [&str; 4] = ["--interval", "0", "--quiet", "--json"];
const COUNTED: [&str; 2] = ["--quiet", "--json"];

fn produce(sandbox: &Sandbox, args: &[&str]) -> Process {
    sandbox.producer(&MMAP, &[&FAST, args].concat())
}

fn consume(sandbox: &Sandbox, args: &[&str]) -> Process {
    sandbox.consumer(&MMAP, &[&COUNTED, args].concat())
}

fn map_of(sandbox: &Sandbox) -> PathBuf {
    sandbox.dir().join(format!("{}.map", sandbox.name()))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Names of the attached, living or dead, that are there.
fn names(sandbox: &Sandbox) -> Vec<String> {
    let entries = fs::read_dir(sandbox.dir()).expect("read the sandbox").flatten();
    entries.map(|e| e.file_name().to_string_lossy().into_owned()).filter(|n| !n.ends_with(".map")).collect()
}

/// Waits until a consumer has processed as much as the ring holds.
fn has_gone_round(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut header = [0; 192];
    loop {
        let _ = fs::File::open(path).and_then(|f| f.read_exact_at(&mut header, 0));
        let u64_at = |i: usize| u64::from_le_bytes(header[i..i + 8].try_into().expect("eight bytes"));
        if u64_at(16) > 0 && u64_at(128) > u64_at(16) {
            return;
        }
        assert!(Instant::now() < deadline, "{} does not move", path.display());
        std::thread::yield_now();
    }
}

#[test]
fn the_file_stays_and_is_drained_later() {
    let sandbox = Sandbox::new();
    let said = produce(&sandbox, &["--count", "1000"]).end().expect(0);
    said.says(&format!("rm {}", map_of(&sandbox).display()));
    assert!(names(&sandbox).is_empty() && map_of(&sandbox).exists());
    let mode = fs::metadata(map_of(&sandbox)).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let consumer = consume(&sandbox, &[]).end().expect(0);
    consumer.clone().says("all of it read").all_well(1000);
    assert!(names(&sandbox).is_empty() && map_of(&sandbox).exists());
    // Nothing unread is a fresh start: another capacity, and a consumer that waits.
    let consumer = consume(&sandbox, &[]);
    consumer.wait_for_stderr("waiting for a producer");
    produce(&sandbox, &["--count", "10", "--capacity", "8KiB"]).end().expect(0);
    consumer.end().expect(0).all_well(10);
    assert_eq!(fs::metadata(map_of(&sandbox)).expect("the file").len(), 4096 + 8192);
}

#[test]
fn a_consumer_started_again_goes_on_after_the_last_item_it_finished() {
    let sandbox = Sandbox::new();
    produce(&sandbox, &["--count", "1000"]).end().expect(0);
    let first = consume(&sandbox, &["--count", "400"]).end().expect(0);
    first.all_well(400);
    let second = consume(&sandbox, &[]).end().expect(0);
    assert_eq!((second.number("items"), second.number("gaps"), second.number("lost")), (600, 400, 0));
}

#[test]
fn items_of_many_mib_are_never_held_whole() {
    let mut sandbox = Sandbox::new();
    let (from, to) = (sandbox.file("from"), sandbox.file("to"));
    let bytes: Vec<u8> = (0..100_000_000u64).map(|i| (i.wrapping_mul(0x9E37_79B9) >> 13) as u8).collect();
    fs::write(&from, &bytes).expect("write the file");
    let consumer = consume(&sandbox, &["--output", text(&to), "--delay", "20ms"]);
    let producer = produce(&sandbox, &["--input", text(&from), "--size", "20MiB"]);
    let (mut held, mut p, mut c) = (0, Some(producer), Some(consumer));
    while p.is_some() || c.is_some() {
        for process in [&mut p, &mut c] {
            if let Some(running) = process {
                held = held.max(running.private_kib());
                if !running.is_running() {
                    process.take().expect("some").end().expect(0);
                }
            }
        }
    }
    assert!(fs::read(&to).expect("read the copy") == bytes, "the copy differs");
    assert!(held > 0 && held < 32 * 1024, "{held} KiB");
}

#[test]
fn an_item_that_never_fits_is_wrong_usage() {
    let sandbox = Sandbox::new();
    let refused = produce(&sandbox, &["--size", "5000", "--capacity", "4KiB"]).end().expect(2);
    refused.says("needs a --capacity of 8192");
    assert!(!map_of(&sandbox).exists());
    produce(&sandbox, &["--size", "99GiB"]).end().expect(2);
    sandbox.producer(&MMAP, &["--capacity", "-1"]).end().expect(2);
    assert!(!map_of(&sandbox).exists() && names(&sandbox).is_empty());
}

#[test]
fn an_item_as_large_as_the_ring_goes_through() {
    let sandbox = Sandbox::new();
    let consumer = consume(&sandbox, &[]);
    // 16 + 32 + 4048 = 4096: with every second item the ring's end is in the way.
    produce(&sandbox, &["--size", "4048", "--capacity", "4KiB", "--count", "1000"]).end().expect(0);
    consumer.end().expect(0).all_well(1000);
    let consumer = consume(&sandbox, &[]);
    produce(&sandbox, &["--size", "3000", "--capacity", "4KiB", "--count", "1000"]).end().expect(0);
    consumer.end().expect(0).all_well(1000);
}

#[test]
fn another_capacity_is_refused_while_items_are_unread() {
    let sandbox = Sandbox::new();
    produce(&sandbox, &["--count", "5", "--capacity", "64KiB"]).end().expect(0);
    let refused = produce(&sandbox, &["--count", "5", "--capacity", "128KiB"]).end().expect(1);
    refused.says("its capacity is 65536, not 131072");
    assert!(names(&sandbox).is_empty());
    // The same capacity goes on behind them.
    produce(&sandbox, &["--count", "5", "--capacity", "64KiB"]).end().expect(0).says("going on");
    consume(&sandbox, &[]).end().expect(0).all_well(10);
}

#[test]
fn unread_items_without_a_goodbye_are_taken_and_then_it_waits() {
    let sandbox = Sandbox::new();
    let producer = sandbox.producer(&MMAP, &["--count", "0", "--interval", "10ms"]);
    producer.wait_for_stdout("sent #5").signal(SIGKILL);
    producer.end().expect(128 + 9);
    let mut consumer = sandbox.consumer(&MMAP, &["--json"]);
    consumer.wait_for_stdout("received #5").wait_for_stderr("no producer is attached");
    assert!(consumer.is_running());
    produce(&sandbox, &["--count", "100"]).end().expect(0);
    let consumer = consumer.end().expect(0);
    assert!(consumer.number("items") >= 106, "{}", consumer.json());
    assert_eq!((consumer.number("lost"), consumer.number("corrupted")), (0, 0));
}

#[test]
fn an_extra_process_is_refused_and_the_pair_unharmed() {
    let mut sandbox = Sandbox::new();
    let consumer = consume(&sandbox, &[]);
    consumer.wait_for_stderr("waiting for a producer");
    let producer = sandbox.producer(&MMAP, &["--count", "0", "--interval", "1ms"]);
    producer.wait_for_stdout("sent #0");
    let path = map_of(&sandbox);
    for args in [&[][..], &["--name", "other", "--file", text(&path)]] {
        consume(&sandbox, args).end().expect(1).says("in use by consumer");
        produce(&sandbox, args).end().expect(1).says("in use by producer");
    }
    // Another run-time directory sees no names, but the file's locks.
    let file = sandbox.file("elsewhere.ring");
    let here = sandbox.producer(&MMAP, &["--file", text(&file), "--count", "0"]);
    here.wait_for_stdout("sent #0");
    let other = Sandbox::new();
    produce(&other, &["--file", text(&file)]).end().expect(1).says("in use");
    here.signal(SIGINT);
    here.end().expect(130);
    producer.signal(SIGINT);
    let sent = producer.end().expect(130);
    let consumer = consumer.end().expect(0);
    assert_eq!((consumer.number("lost"), consumer.number("duplicated")), (0, 0), "{sent:?}");
}

#[test]
fn two_names_meet_at_one_file() {
    let mut sandbox = Sandbox::new();
    let file = sandbox.file("meeting.ring");
    let link = sandbox.file("way");
    std::os::unix::fs::symlink(sandbox.dir(), &link).expect("link");
    let consumer = consume(&sandbox, &["--name", "one", "--file", text(&file)]);
    consumer.wait_for_stderr(&format!("--name one --file {}", file.display()));
    let other_way = link.join("meeting.ring");
    produce(&sandbox, &["--name", "two", "--file", text(&other_way), "--count", "1000"]).end().expect(0);
    consumer.end().expect(0).all_well(1000);
}

#[test]
fn a_producer_killed_is_noticed_when_all_is_read() {
    let sandbox = Sandbox::new();
    let consumer = consume(&sandbox, &[]);
    consumer.wait_for_stderr("waiting for a producer");
    let producer = sandbox.producer(&MMAP, &["--count", "0", "--interval", "1ms"]);
    producer.wait_for_stdout("sent #20").signal(SIGKILL);
    let sent = producer.end().stdout.lines().count() as u64;
    let ended = consumer.end().expect(3).says("without a goodbye");
    assert!(ended.number("items") >= sent && ended.number("lost") == 0, "{}", ended.json());
    pair_completes(&sandbox);
}

#[test]
fn a_consumer_killed_makes_the_producer_wait_for_the_next() {
    let sandbox = Sandbox::new();
    let producer = produce(&sandbox, &["--count", "2000", "--capacity", "16KiB"]);
    let first = sandbox.consumer(&MMAP, &["--delay", "1ms"]);
    first.wait_for_stdout("received #20").signal(SIGKILL);
    first.end();
    producer.wait_for_stderr("no consumer is attached, start one with: cargo run --bin mmap-consumer");
    let second = consume(&sandbox, &[]).end().expect(0);
    producer.end().expect(0);
    // What the first has finished is not here; nothing else is missing.
    let (items, gaps) = (second.number("items"), second.number("gaps"));
    assert!(items + gaps == 2000 && second.number("lost") == 0 && gaps >= 20, "{}", second.json());
}

#[test]
fn forever_is_for_the_next_producer() {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&MMAP, &["--forever", "--json"]);
    for n in [3, 5, 7] {
        produce(&sandbox, &["--count", n.to_string().as_str(), "--capacity", "4KiB"]).end().expect(0);
        consumer.wait_for_stdout(&format!("received #{}", n - 1));
    }
    consumer.signal(SIGINT);
    consumer.end().expect(130).all_well(15);
}

/// Starts both at once and expects them to complete, with what was left over.
fn pair_completes(sandbox: &Sandbox) {
    let producer = produce(sandbox, &["--count", "100", "--timeout", "20s"]);
    let consumer = consume(sandbox, &["--timeout", "20s"]);
    producer.end().expect(0);
    let consumer = consumer.end().expect(0);
    assert!(consumer.number("items") >= 1, "{}", consumer.json());
    assert_eq!((consumer.number("lost"), consumer.number("corrupted")), (0, 0));
    assert!(names(sandbox).is_empty(), "{:?}", names(sandbox));
}

#[test]
fn killed_at_any_moment_both_can_be_started_again() {
    let sandbox = Sandbox::new();
    let mut dice = 0x2545_F491_4F6C_DD1D_u64;
    for round in 0..24 {
        let producer = produce(&sandbox, &["--count", "0"]);
        let consumer = consume(&sandbox, &[]);
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        let moment = Instant::now() + Duration::from_micros(dice % 60_000);
        while Instant::now() < moment {
            std::thread::yield_now();
        }
        let (victim, survivor) = if round % 2 == 0 { (producer, consumer) } else { (consumer, producer) };
        victim.signal(SIGKILL);
        victim.end();
        if round % 2 == 0 {
            // It may not have known the producer yet: then it takes what is there, and waits.
            survivor.signal(SIGINT);
            let ended = survivor.end();
            assert!([3, 130].contains(&ended.code), "{ended:?}");
        } else {
            survivor.signal(SIGKILL);
            survivor.end();
        }
        pair_completes(&sandbox);
    }
}

#[test]
fn a_damaged_header_is_named_and_left_alone() {
    let sandbox = Sandbox::new();
    let path = map_of(&sandbox);
    let damages: [(u64, &[u8], &str); 7] = [
        (0, b"IPC-MAP\n", "magic is"),
        (8, &[2, 0, 0, 0], "version is 2, not 1"),
        (12, &[0, 0, 0, 0], "header length is 0"),
        (16, &[0xff; 8], "capacity is"),
        (16, &[0, 0, 2, 0, 0, 0, 0, 0], "file shrank to 69632 bytes"),
        (64, &[0xff; 8], "tail is"),
        (128, &[0x10; 8], "head is"),
    ];
    for (at, bytes, named) in damages {
        let _ = fs::remove_file(&path);
        produce(&sandbox, &["--count", "5", "--capacity", "64KiB"]).end().expect(0);
        let file = fs::OpenOptions::new().write(true).open(&path).expect("open the file");
        file.write_all_at(bytes, at).expect("damage it");
        let before = fs::read(&path).expect("read it");
        produce(&sandbox, &["--capacity", "64KiB"]).end().expect(4).says(named);
        consume(&sandbox, &[]).end().expect(4).says(named).says("rm ");
        assert!(fs::read(&path).expect("read it") == before, "{named}: the file was changed");
    }
    // A record that cannot be: tag, length, position.
    for (at, bytes) in [(4096, 9u32), (4100, 1 << 20), (4104, 16)] {
        let _ = fs::remove_file(&path);
        produce(&sandbox, &["--count", "5", "--capacity", "64KiB"]).end().expect(0);
        let file = fs::OpenOptions::new().write(true).open(&path).expect("open the file");
        file.write_all_at(&bytes.to_le_bytes(), at).expect("damage it");
        consume(&sandbox, &[]).end().expect(4).says("record at 0");
    }
    // A payload that is not what was written.
    let _ = fs::remove_file(&path);
    produce(&sandbox, &["--count", "5"]).end().expect(0);
    let file = fs::OpenOptions::new().write(true).open(&path).expect("open the file");
    file.write_all_at(b"?", 4096 + 16 + 32 + 7).expect("damage it");
    let consumer = consume(&sandbox, &[]).end().expect(4).says("corrupted item");
    assert_eq!((consumer.number("items"), consumer.number("corrupted")), (5, 1));
}

#[test]
fn what_is_not_ours_is_never_touched() {
    let mut sandbox = Sandbox::new();
    let victim = sandbox.file("letter.txt");
    fs::write(&victim, "dear diary").expect("write");
    let link = sandbox.file("link.map");
    std::os::unix::fs::symlink(&victim, &link).expect("link");
    let open_to_all = sandbox.file("open.map");
    fs::write(&open_to_all, "x").expect("write");
    fs::set_permissions(&open_to_all, fs::Permissions::from_mode(0o666)).expect("chmod");
    let empty = sandbox.file("empty.map");
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&empty).expect("create");
    let dir = sandbox.file("dir.map");
    fs::create_dir(&dir).expect("mkdir");
    let linked = sandbox.file("linked.map");
    produce(&sandbox, &["--count", "1", "--file", text(&linked)]).end().expect(0);
    let second_name = sandbox.file("second.map");
    fs::hard_link(&linked, &second_name).expect("link");
    for (path, code, named) in [
        (&victim, 4, "letter.txt: "),
        (&link, 1, "symbolic link"),
        (&open_to_all, 1, "not a private file"),
        (&empty, 4, "it has 0 bytes"),
        (&dir, 1, "dir.map"),
        (&linked, 1, "not a private file"),
    ] {
        produce(&sandbox, &["--file", text(path)]).end().expect(code).says(named);
        consume(&sandbox, &["--file", text(path)]).end().expect(code).says(named);
    }
    assert_eq!(fs::read_to_string(&victim).expect("read"), "dear diary");
    assert_eq!(fs::metadata(&empty).expect("stat").len(), 0);
    produce(&sandbox, &["--file", "/no/such/directory/x"]).end().expect(1);
    assert!(names(&sandbox).iter().all(|n| !n.contains(".map.")), "{:?}", names(&sandbox));
}

#[test]
fn another_users_file_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        return; // nobody else's file could be made
    }
    let sandbox = Sandbox::new();
    produce(&sandbox, &["--count", "1"]).end().expect(0);
    std::os::unix::fs::chown(map_of(&sandbox), Some(65534), Some(65534)).expect("chown");
    produce(&sandbox, &[]).end().expect(1).says("not a private file");
    consume(&sandbox, &[]).end().expect(1).says("not a private file");
}

#[test]
fn a_file_cut_under_a_running_pair_is_an_error_and_no_sigbus() {
    // To nothing, inside the header's page, inside the ring; in the run-time directory and elsewhere.
    for (len, elsewhere) in [(0, false), (0, true), (100, false), (20_000, false), (20_000, true)] {
        let mut sandbox = Sandbox::new();
        let path = if elsewhere { sandbox.file("cut.ring") } else { map_of(&sandbox) };
        let file = if elsewhere { vec!["--file", text(&path)] } else { vec![] };
        let consumer = consume(&sandbox, &file);
        consumer.wait_for_stderr("waiting for a producer");
        let producer = produce(&sandbox, &[&["--count", "0", "--capacity", "256KiB"], &file[..]].concat());
        has_gone_round(&path);
        let cut = fs::OpenOptions::new().write(true).open(&path).expect("open the file");
        cut.set_len(len).expect("cut it");
        drop(cut);
        for process in [producer, consumer] {
            let ended = process.end_within(Duration::from_secs(20)).expect(4);
            assert!(
                ended.stderr.contains(&format!("file shrank to {len} bytes"))
                    || len < 4096 && ended.stderr.contains(&format!("it has {len} bytes")),
                "{}",
                ended.stderr
            );
        }
    }
}

#[test]
fn a_waiting_pair_notices_that_its_file_was_cut() {
    let sandbox = Sandbox::new();
    let producer = sandbox.producer(&MMAP, &["--count", "0", "--interval", "1s"]);
    let consumer = sandbox.consumer(&MMAP, &[]);
    consumer.wait_for_stdout("received #0").wait_for_stderr("blocked");
    fs::OpenOptions::new().write(true).open(map_of(&sandbox)).expect("open").set_len(5000).expect("cut");
    consumer.end_within(Duration::from_secs(20)).expect(4).says("file shrank to 5000 bytes");
    producer.end_within(Duration::from_secs(20)).expect(4).says("file shrank to 5000 bytes");
}

#[test]
fn random_bytes_over_the_header_do_no_worse_than_an_error() {
    for round in 0..6u64 {
        let sandbox = Sandbox::new();
        let consumer = consume(&sandbox, &["--timeout", "2s"]);
        consumer.wait_for_stderr("waiting for a producer");
        let producer = produce(&sandbox, &["--count", "0", "--capacity", "64KiB", "--timeout", "2s"]);
        has_gone_round(&map_of(&sandbox));
        let mut file = fs::OpenOptions::new().write(true).open(map_of(&sandbox)).expect("open");
        let (mut dice, until) = (0x9E37_79B9_7F4A_7C15 ^ round, Instant::now() + Duration::from_millis(500));
        while Instant::now() < until {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            // Half of the time single words, so that it does not end with the first write.
            let (at, len) = if round % 2 == 0 { (dice % 330, 1) } else { (8 * (dice % 41), 8) };
            file.seek(SeekFrom::Start(at)).expect("seek");
            file.write_all(&dice.to_le_bytes()[..len]).expect("scribble");
        }
        for process in [producer, consumer] {
            assert!(process.private_kib() < 32 * 1024);
            let ended = process.end_within(Duration::from_secs(20));
            assert!([0, 3, 4].contains(&ended.code), "{ended:?}");
        }
    }
}

#[test]
fn a_limit_on_file_sizes_is_an_error_and_no_sigxfsz() {
    let sandbox = Sandbox::new();
    let mut shell = sandbox.command("/bin/sh");
    let script = format!("ulimit -f 100; exec {} --name {}", MMAP.producer, sandbox.name());
    shell.args(["-c", &script]);
    Process::spawn(shell).end().expect(1).says("ulimit -f");
    assert!(names(&sandbox).is_empty() && !map_of(&sandbox).exists());
}

#[test]
fn the_futex_stands_in_two_crates_and_is_the_same() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("crates/");
    let of = |name: &str| fs::read_to_string(crates.join(name).join("src/futex.rs")).expect("read it");
    assert!(of("mmap-demo") == of("shm-demo"), "two lessons need it, and neither layer explains the other");
}

#[test]
fn a_producer_without_an_item_ends_the_stream_all_the_same() {
    let mut sandbox = Sandbox::new();
    let empty = sandbox.file("empty");
    fs::write(&empty, "").expect("write");
    // No file yet, then one that is read to its end.
    for _ in 0..2 {
        let consumer = sandbox.consumer(&MMAP, &["--json"]);
        consumer.wait_for_stderr("waiting for a producer");
        sandbox.producer(&MMAP, &["--input", text(&empty)]).end().expect(0);
        consumer.end_within(Duration::from_secs(20)).expect(0).all_well(0);
    }
}
