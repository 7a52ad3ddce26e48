//! `ipc-lab ps` and `ipc-lab clean`, with real pairs that live, are killed, and must not notice that they are
//! looked at.

mod binaries;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use common::testkit::{Outcome, Pair, Process, Sandbox};
use mq_demo::sysv::SysvQueue;
use nix::mqueue::{MQ_OFlag, MqAttr, mq_open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::Signal::{SIGINT, SIGKILL, SIGTERM};
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};
use serde_json::Value;

use binaries::directory;

/// The pair of a method, with arguments of both sides.
fn pair(method: &str, both: &'static [&'static str]) -> Pair {
    // A test's few pairs live as long as the test.
    let binary = |role: &str| -> &'static str {
        directory().join(format!("{method}-{role}")).to_str().expect("UTF-8").to_owned().leak()
    };
    Pair {
        producer: binary("producer"),
        consumer: binary("consumer"),
        both,
        only_producer: &[],
        only_consumer: &[],
    }
}

/// A pair, and what is to be seen of it.
struct Case {
    pair: Pair,
    /// How its object is called, in part.
    object: &'static str,
    /// The producer's arguments with which the channel becomes full.
    fill: &'static [&'static str],
    /// What is in it then, and what fits into it, where that is certain.
    full: Option<(u64, u64)>,
    /// What is to be thought of it when all are dead.
    state: &'static str,
}

fn cases() -> Vec<Case> {
    const FLOOD: &[&str] = &["--interval", "0", "--count", "0"];
    const SLOTS: &[&str] = &["--interval", "0", "--count", "0", "--slots", "4"];
    const THREE: &[&str] = &["--interval", "0", "--count", "0", "--capacity", "3"];
    let case = |method, both, object, fill| Case {
        pair: pair(method, both),
        object,
        fill,
        full: None,
        state: "dead",
    };
    let shm = |both, object| Case { full: Some((4, 4)), ..case("shm", both, object, SLOTS) };
    vec![
        case("pipe", &[], "FIFO", FLOOD),
        Case { full: Some((3, 3)), state: "kept", ..case("mq", &[], "System V queue", THREE) },
        Case { full: Some((3, 3)), state: "kept", ..case("mq", &["--api", "posix"], "POSIX queue", THREE) },
        // What the consumer has in hand is in no slot of the semaphore's buffer, and in one of the ring's.
        Case { full: None, ..shm(&["--sync", "semaphore"], "(semaphore)") },
        Case { full: None, ..shm(&["--sync", "mutex"], "(mutex)") },
        shm(&["--sync", "ring"], "(ring)"),
        Case { full: Some((1, 4)), ..shm(&["--sync", "ring", "--duplex"], "(ring --duplex)") },
        shm(&["--sync", "none"], "(none)"),
        Case { state: "kept", ..case("mmap", &[], "mapped file", FLOOD) },
        case("socket", &[], "Unix socket", FLOOD),
        case("rpc", &[], "Unix socket", FLOOD),
    ]
}

/// A run of ipc-lab on the sandbox's directory alone.
fn lab(sandbox: &Sandbox, args: &[&str]) -> Outcome {
    let mut command = Command::new(directory().join("ipc-lab"));
    command.args(args).arg("--dir").arg(sandbox.dir());
    Process::spawn(command).end().expect(0)
}

/// What `ps` says of a channel.
fn ps(sandbox: &Sandbox, name: &str) -> Vec<Value> {
    let all = lab(sandbox, &["ps", "--json", "--name", name]).json();
    all.as_array().expect("an array").clone()
}

/// The pids of those who live, or of those who do not.
fn pids(channel: &Value, alive: bool) -> Vec<u64> {
    let holders = channel["holders"].as_array().expect("an array").iter();
    let mut pids: Vec<u64> =
        holders.filter(|h| h["alive"] == alive).map(|h| h["pid"].as_u64().expect("a pid")).collect();
    pids.sort_unstable();
    pids
}

/// All names of a channel in the directory, and which files they are.
fn names(sandbox: &Sandbox, name: &str) -> BTreeMap<String, u64> {
    let prefix = format!("{name}.");
    let all = fs::read_dir(sandbox.dir()).expect("the directory").flatten();
    let named =
        all.map(|e| (e.file_name().to_string_lossy().into_owned(), e.metadata().expect("lstat").ino()));
    named.filter(|(file, _)| file.starts_with(&prefix)).collect()
}

/// Ends a pair that runs until it is told to, and fails unless every item came.
fn completes(producer: Process, consumer: Process) {
    producer.signal(SIGINT);
    let sent = producer.end().expect(130).number("items");
    consumer.end().expect(0).all_well_when_cut(sent);
}

#[test]
fn the_dead_are_seen_and_removed_and_the_living_are_left_alone() {
    for case in cases() {
        let mut sandbox = Sandbox::new();
        let (dead, living) = (format!("{}-dead", sandbox.name()), format!("{}-living", sandbox.name()));
        let named = |name, args: &[&'static str]| [&["--name", name], args].concat();

        let consumer = sandbox.consumer(&case.pair, &named(&living, &["--json", "--quiet"]));
        let forever = ["--count", "0", "--interval", "5ms", "--json", "--quiet"];
        let producer = sandbox.producer(&case.pair, &named(&living, &forever));
        let consumer_to_die = sandbox.consumer(&case.pair, &named(&dead, &["--delay", "1h"]));
        let producer_to_die = sandbox.producer(&case.pair, &named(&dead, case.fill));
        consumer_to_die.wait_for_stdout("received #0");
        if case.pair.producer.contains("mmap") {
            producer_to_die.wait_for_stdout("sent #100");
        } else {
            producer_to_die.wait_for_stderr("blocked");
        }

        let mut both = [u64::from(producer_to_die.pid()), consumer_to_die.pid().into()];
        both.sort_unstable();
        let seen = ps(&sandbox, &dead);
        let [channel] = &seen[..] else { panic!("one channel: {seen:?}") };
        assert_eq!(channel["state"], "alive", "{channel}");
        assert_eq!(pids(channel, true), both, "{channel}");
        assert!(channel["object"].as_str().expect("a text").contains(case.object), "{channel}");
        let level = &channel["level"];
        match case.full {
            Some((used, capacity)) => {
                assert!(level["used"] == used && level["capacity"] == capacity, "{channel}");
            }
            // A call's bytes have been read when it runs.
            None if case.pair.producer.contains("rpc") => assert_eq!(level["used"], 0, "{channel}"),
            None => assert!(level["used"].as_u64() > Some(0), "{channel}"),
        }

        for process in [producer_to_die, consumer_to_die] {
            process.signal(SIGKILL);
            process.end().expect(137);
        }
        let [channel] = &ps(&sandbox, &dead)[..] else { panic!("one channel") };
        assert_eq!(channel["state"], case.state, "{channel}");
        assert_eq!(pids(channel, true), [0u64; 0]);
        // Connections have no names: of them nobody is left.
        assert!(pids(channel, false).iter().all(|pid| both.contains(pid)), "{channel}");
        assert!(!pids(channel, false).is_empty(), "{channel}");

        let (before, others) = (names(&sandbox, &dead), names(&sandbox, &living));
        let dry = lab(&sandbox, &["clean", "--dry-run"]);
        assert!(dry.stdout.contains(&format!("would remove {dead}")), "{}", dry.stdout);
        assert_eq!(names(&sandbox, &dead), before);

        let cleaned = lab(&sandbox, &["clean"]);
        assert!(cleaned.stdout.contains(&format!("removed {dead}")), "{}", cleaned.stdout);
        assert!(cleaned.stdout.contains(&format!("left {living}")), "{}", cleaned.stdout);
        if case.state == "kept" {
            assert!(cleaned.stdout.contains("--kept"), "{}", cleaned.stdout);
            let [channel] = &ps(&sandbox, &dead)[..] else { panic!("it is kept") };
            assert!(channel["holders"].as_array().expect("an array").is_empty(), "{channel}");
            assert!(channel["remove"].is_string(), "{channel}");
            let cleaned = lab(&sandbox, &["clean", "--kept"]);
            assert!(cleaned.stdout.contains(&format!("removed {dead}")), "{}", cleaned.stdout);
        }
        assert_eq!(names(&sandbox, &dead), BTreeMap::new());
        assert_eq!(ps(&sandbox, &dead), [] as [Value; 0]);
        assert!(!Path::new("/dev/shm").join(format!("ipc-lab-{}-{dead}", geteuid())).exists());
        if case.object == "POSIX queue" {
            let queue = format!("/ipc-lab-{}-{dead}", geteuid());
            assert!(mq_demo::posix::PosixQueue::open(&queue).is_err(), "{queue} is left");
        }

        assert_eq!(names(&sandbox, &living), others, "{}", case.object);
        completes(producer, consumer);
        sandbox.may_stay(&format!("{living}.map"));
    }
}

/// Everything that happens in a directory, but for names that are listed and files that are opened for reading.
fn watch(dir: &Path) -> Inotify {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).expect("inotify");
    let events = AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MODIFY
        | AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_MOVE
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_OPEN;
    inotify.add_watch(dir, events).expect("watch");
    inotify
}

/// Fails if anything but an attachment or a registry was opened, or anything at all was changed.
fn nothing_happened(inotify: &Inotify, when: &str) {
    for event in inotify.read_events().unwrap_or_default() {
        let name = event.name.unwrap_or_default().to_string_lossy().into_owned();
        let opened = event.mask.difference(AddWatchFlags::IN_ISDIR) == AddWatchFlags::IN_OPEN;
        let special = [".fifo", ".back", ".sock", ".lock"].iter().any(|ending| name.ends_with(ending));
        assert!(opened && !special, "{when}: {:?} of {name:?}", event.mask);
    }
}

/// How often a process was put to sleep, if all of it sleeps now or has ended.
fn switches_asleep(pid: u32) -> Option<u64> {
    let mut switches = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let value = |key: &str| status.lines().find_map(|l| l.strip_prefix(key)).unwrap_or("").trim();
        if !["S", "Z", "X"].iter().any(|state| value("State:").starts_with(state)) {
            return None;
        }
        switches += value("voluntary_ctxt_switches:").parse::<u64>().unwrap_or(0);
    }
    Some(switches)
}

#[test]
fn who_is_looked_at_does_not_notice() {
    for case in cases() {
        for consumer_first in [true, false] {
            let sandbox = Sandbox::new();
            let look = |first: &Process, when: &str| {
                let inotify = watch(sandbox.dir());
                // What it is still doing by itself comes to rest first.
                loop {
                    let before = switches_asleep(first.pid());
                    std::thread::sleep(Duration::from_millis(100));
                    let is_quiet = inotify.read_events().is_err();
                    if before.is_some() && before == switches_asleep(first.pid()) && is_quiet {
                        break;
                    }
                }
                for _ in 0..5 {
                    assert!(
                        !ps(&sandbox, sandbox.name()).is_empty() || case.object == "Unix socket",
                        "{when}"
                    );
                }
                nothing_happened(&inotify, when);
            };
            let start = |is_consumer: bool| {
                if is_consumer {
                    sandbox.consumer(&case.pair, &["--json", "--quiet"])
                } else {
                    sandbox.producer(&case.pair, &["--count", "3", "--interval", "1ms", "--json", "--quiet"])
                }
            };
            let mut first = start(consumer_first);
            if consumer_first {
                first.wait_for_stderr("waiting for a producer");
            } else {
                // It waits for a consumer, or has put all into the channel and ended.
                while first.is_running() && !["waiting", "blocked"].iter().any(|w| first.stderr().contains(w))
                {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            look(&first, "one alone");
            if consumer_first {
                assert!(first.is_running(), "{}", case.object);
            }
            let second = start(!consumer_first);
            let (consumer, producer) = if consumer_first { (first, second) } else { (second, first) };
            producer.end().expect(0);
            consumer.end().expect(0).all_well(3);
        }
    }
}

#[test]
fn a_pair_at_full_speed_does_not_notice() {
    for case in cases().into_iter().filter(|case| case.object != "(none)") {
        let sandbox = Sandbox::new();
        let mut consumer = sandbox.consumer(&case.pair, &["--json", "--quiet"]);
        let many = ["--count", "20000", "--interval", "0", "--json", "--quiet"];
        let producer = sandbox.producer(&case.pair, &many);
        let mut looks = 0;
        while consumer.is_running() {
            ps(&sandbox, sandbox.name());
            looks += 1;
        }
        assert!(looks > 1);
        producer.end().expect(0);
        consumer.end().expect(0).all_well(20_000);
    }
}

/// Says to a thread that it is enough, also when the test fails.
struct Enough<'a>(&'a AtomicBool);

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Runs a test with message queues of its own, so that those that are left can be counted: if only root can make
/// them so, without.
fn with_own_queues(test: impl FnOnce(bool) + Send) {
    let run = || test(unshare(CloneFlags::CLONE_NEWIPC).is_ok());
    let ended = thread::scope(|scope| scope.spawn(run).join());
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// What is left of the channels whose names begin so: names, objects, and queues in the kernel but for `known` ones.
fn left(sandbox: &Sandbox, prefix: &str, known: Option<usize>) -> Vec<String> {
    let in_dirs = [sandbox.dir(), Path::new("/dev/shm")].into_iter().flat_map(|dir| {
        let names = fs::read_dir(dir).expect("list").flatten().map(|e| e.file_name().into_string());
        names.flatten().filter(|name| name.contains(prefix)).collect::<Vec<_>>()
    });
    let object = |round| format!("/ipc-lab-{}-{prefix}{round}", geteuid());
    let attributes = MqAttr::new(0, 0, 0, 0);
    let open = |name: &String| mq_open(&**name, MQ_OFlag::O_RDONLY, Mode::empty(), Some(&attributes)).is_ok();
    let mut left: Vec<_> = in_dirs.chain([0, 1].map(object).into_iter().filter(open)).collect();
    if let Some(known) = known {
        let queues = fs::read_to_string("/proc/sysvipc/msg").expect("list the queues");
        left.extend(queues.lines().skip(1 + known).map(str::to_owned));
    }
    left
}

#[test]
fn cleaned_all_the_time_the_living_notice_nothing_and_the_dead_are_gone() {
    const ROUNDS: u32 = 12;
    fn named<'a>(name: &'a str, args: &[&'a str]) -> Vec<&'a str> {
        [&["--name", name], args].concat()
    }
    for case in cases() {
        with_own_queues(|own_queues| {
            let sandbox = Sandbox::new();
            let (living, dead) = (format!("{}-living", sandbox.name()), format!("{}-dead", sandbox.name()));
            let consumer = sandbox.consumer(&case.pair, &named(&living, &["--json", "--quiet"]));
            let forever = ["--count", "0", "--interval", "5ms", "--json"];
            let producer = sandbox.producer(&case.pair, &named(&living, &forever));
            producer.wait_for_stdout("sent #0");
            let seed = fastrand::u64(..);
            let mut random = fastrand::Rng::with_seed(seed);
            let enough = AtomicBool::new(false);
            thread::scope(|scope| {
                let cleaner = scope.spawn(|| {
                    let mut runs = 0;
                    while !enough.load(Relaxed) {
                        lab(&sandbox, &["clean", "--kept"]);
                        runs += 1;
                    }
                    runs
                });
                let over = Enough(&enough);
                for round in 0..ROUNDS {
                    let name = format!("{dead}{}", round % 2);
                    let consumer = sandbox.consumer(&case.pair, &named(&name, &["--quiet"]));
                    let producer =
                        sandbox.producer(&case.pair, &[&named(&name, case.fill)[..], &["--quiet"]].concat());
                    // Time is the subject: any moment from the start on.
                    thread::sleep(Duration::from_micros(random.u64(0..30_000)));
                    let (killed, mut other) =
                        if random.bool() { (consumer, producer) } else { (producer, consumer) };
                    killed.signal(SIGKILL);
                    if round % 3 == 0 {
                        other.signal(SIGKILL);
                    } else {
                        // Time is the subject here too: a while in which it may notice the death by itself.
                        thread::sleep(Duration::from_millis(20));
                        if other.is_running() {
                            other.signal(SIGINT);
                        }
                    }
                    killed.end();
                    let other = other.end_within(Duration::from_secs(20));
                    // A frame can be cut in two; and without synchronisation there is no promise at all.
                    let bad = other.stderr.contains("truncated") || case.object == "(none)";
                    let usual = [0, 3, 130, 137].contains(&other.code) || bad && other.code == 4;
                    assert!(usual, "round {round} of seed {seed}: {other:?}");
                }
                drop(over);
                let runs = cleaner.join().expect("it never failed");
                assert!(runs > 3, "only {runs} times");
            });
            // What was just made when its maker died is left alone for two seconds.
            let deadline = Instant::now() + Duration::from_secs(20);
            let known = own_queues.then(|| usize::from(case.object.contains("System V")));
            loop {
                let said = lab(&sandbox, &["clean", "--kept"]);
                let left = left(&sandbox, &dead, known);
                if left.is_empty() {
                    break;
                }
                assert!(Instant::now() < deadline, "seed {seed}: {left:?}\n{said:?}");
                thread::sleep(Duration::from_millis(100));
            }
            completes(producer, consumer);
            lab(&sandbox, &["clean", "--kept"]);
        });
    }
}

#[test]
fn what_is_somebody_elses_is_neither_shown_nor_touched() {
    let mut sandbox = Sandbox::new();
    let nothing = lab(&sandbox, &["clean"]).stdout;
    assert!(nothing.contains("nothing to clean in"), "{nothing}");
    assert!(lab(&sandbox, &["ps"]).stdout.contains("no channel in"));

    let dir = sandbox.dir().to_owned();
    let living = UnixListener::bind(dir.join("docker.sock")).expect("bind");
    let with_guard = UnixListener::bind(dir.join("guarded.sock")).expect("bind");
    drop(UnixListener::bind(dir.join("stale.sock")).expect("bind"));
    mkfifo(&dir.join("other.fifo"), Mode::S_IRWXU).expect("mkfifo");
    for (name, text) in [
        ("guarded.sock.lock", ""),
        ("notes.map", "a map of the town"),
        ("music.mq", "q"),
        ("x.shm", "xml"),
        ("taken.fifo", "a file"),
        ("taken.fifo.producer.1", ""),
        ("taken.sock", "a file"),
        ("taken.sock.consumer.1", ""),
        ("y.fifo.producer.1.txt", ""),
        ("wayland-0.lock", ""),
    ] {
        let path = dir.join(name);
        fs::write(&path, text).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
    }
    let shown = lab(&sandbox, &["ps", "--json"]).json();
    let mut shown: Vec<_> =
        shown.as_array().expect("an array").iter().map(|c| c["name"].as_str().expect("a name")).collect();
    shown.sort_unstable();
    // A socket with a lock of our scheme beside it might be ours, but somebody is there.
    assert_eq!(shown, ["guarded", "taken", "taken"]);
    lab(&sandbox, &["clean", "--kept"]);
    let mut left: Vec<_> = fs::read_dir(&dir)
        .expect("list")
        .flatten()
        .map(|e| e.file_name().into_string().expect("UTF-8"))
        .collect();
    left.sort_unstable();
    let all = [
        "docker.sock",
        "guarded.sock",
        "guarded.sock.lock",
        "music.mq",
        "notes.map",
        "other.fifo",
        "stale.sock",
        "taken.fifo",
        "taken.sock",
        "wayland-0.lock",
        "x.shm",
        "y.fifo.producer.1.txt",
    ];
    assert_eq!(left, all, "only the names of the dead beside a foreign file go");
    assert!(fs::symlink_metadata(dir.join("docker.sock")).expect("lstat").file_type().is_socket());
    drop((living, with_guard));
    all.iter().for_each(|name| sandbox.may_stay(name));
}

#[test]
fn root_sees_other_users_channels_and_removes_none() {
    if !geteuid().is_root() {
        return eprintln!("not root: nothing to see of others");
    }
    for method in ["pipe", "mq", "shm"] {
        let pair = pair(method, &[]);
        let sandbox = Sandbox::as_nobody();
        let consumer = sandbox.consumer(&pair, &["--delay", "1h"]);
        let producer = sandbox.producer(&pair, &["--interval", "0", "--count", "0"]);
        consumer.wait_for_stdout("received #0");
        producer.wait_for_stderr("blocked");
        let [channel] = &ps(&sandbox, sandbox.name())[..] else { panic!("one channel") };
        assert_eq!((&channel["uid"], &channel["state"]), (&65534.into(), &"alive".into()), "{channel}");
        assert!(channel["level"]["used"].as_u64() > Some(0), "{channel}");

        for process in [producer, consumer] {
            process.signal(SIGKILL);
            process.end().expect(137);
        }
        let before = names(&sandbox, sandbox.name());
        let cleaned = lab(&sandbox, &["clean", "--kept"]).stdout;
        assert!(cleaned.contains("user 65534's") && !cleaned.contains("removed"), "{cleaned}");
        assert_eq!(names(&sandbox, sandbox.name()), before);

        // Its owner may, and cannot see root's.
        let copy = sandbox.dir().with_extension("bin").join("ipc-lab");
        fs::copy(directory().join("ipc-lab"), &copy).expect("copy");
        let nobodys = |args: &[&str]| {
            let mut command = sandbox.command(&copy);
            command.args(args);
            Process::spawn(command).end()
        };
        let roots = Sandbox::new();
        let refused = nobodys(&["ps", "--dir", roots.dir().to_str().expect("UTF-8")]).expect(1);
        assert!(refused.stderr.contains("another user's"), "{}", refused.stderr);
        let cleaned = nobodys(&["clean", "--kept", "--name", sandbox.name()]).expect(0).stdout;
        assert!(cleaned.contains(&format!("removed {}", sandbox.name())), "{cleaned}");
    }
}

#[test]
fn an_abstract_socket_is_seen_though_no_directory_names_it() {
    let pair = pair("socket", &["--transport", "abstract"]);
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(&pair, &["--delay", "1h"]);
    let producer = sandbox.producer(&pair, &["--interval", "0", "--count", "0"]);
    consumer.wait_for_stdout("received #0");
    producer.wait_for_stderr("blocked");
    let everywhere = |command: &str| {
        let mut ps = Command::new(directory().join("ipc-lab"));
        ps.args([command, "--name", sandbox.name()]);
        if command == "ps" {
            ps.arg("--json");
        }
        Process::spawn(ps).end().expect(0)
    };
    let seen = everywhere("ps").json();
    let [channel] = &seen.as_array().expect("an array")[..] else { panic!("one channel: {seen}") };
    let object = format!("abstract socket @ipc-lab-{}-{}.sock", geteuid(), sandbox.name());
    assert_eq!((&channel["object"], &channel["state"]), (&object.into(), &"alive".into()), "{channel}");
    let mut both = [u64::from(producer.pid()), consumer.pid().into()];
    both.sort_unstable();
    assert_eq!(pids(channel, true), both, "{channel}");
    assert!(channel["level"]["used"].as_u64() > Some(0), "{channel}");
    let left = everywhere("clean").stdout;
    assert!(left.contains(&format!("left {}", sandbox.name())), "{left}");
}

#[test]
fn a_mapped_file_elsewhere_is_found_and_what_is_shown_is_no_command_to_the_terminal() {
    let pair = pair("mmap", &[]);
    let mut sandbox = Sandbox::new();
    let file = sandbox.file("it's \x1b[31mred");
    let path = file.to_str().expect("UTF-8");
    let producer = sandbox.producer(&pair, &["--file", path, "--interval", "1h"]);
    producer.wait_for_stdout("sent #0");
    let all = lab(&sandbox, &["ps", "--json"]).json();
    let [channel] = &all.as_array().expect("an array")[..] else { panic!("one channel: {all}") };
    assert_eq!(pids(channel, true), [u64::from(producer.pid())]);
    assert_eq!(channel["level"]["used"], 112, "a record's header and an item of 96 bytes: {channel}");
    let shown = lab(&sandbox, &["ps"]).stdout;
    assert!(shown.contains("it's \u{fffd}[31mred") && !shown.contains('\x1b'), "{shown:?}");
    producer.signal(SIGKILL);
    producer.end().expect(137);
    lab(&sandbox, &["clean", "--kept"]);
    assert_eq!(lab(&sandbox, &["ps", "--json"]).json(), Value::Array(Vec::new()));
    assert!(file.exists(), "a file that somebody named is nobody's to remove");
}

#[test]
fn who_reads_only_the_first_line_breaks_nothing() {
    let sandbox = Sandbox::new();
    for command in ["ps", "clean"] {
        let script = format!("{{ \"$0\" {command} --dir \"$1\"; echo $? >&2; }} | true");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).arg(directory().join("ipc-lab")).arg(sandbox.dir());
        let outcome = Process::spawn(shell).end();
        assert_eq!(outcome.stderr, "0\n");
    }
}

/// A full queue of System V is in no directory: once the names are gone, nobody can tell whose it is.
#[test]
fn a_lab_that_is_interrupted_leaves_no_queue_in_the_kernel() {
    let sandbox = Sandbox::new();
    let mut lab = Command::new(directory().join("ipc-lab"));
    lab.args(["record", "mq", "--out"]).arg(sandbox.dir().join("never.svg")).env("TMPDIR", sandbox.dir());
    let mut lab = Process::spawn(lab);
    let registry = || {
        let stages = fs::read_dir(sandbox.dir()).expect("list").flatten();
        let names = stages.flat_map(|stage| fs::read_dir(stage.path()).into_iter().flatten().flatten());
        let found = names.map(|name| name.path()).find(|path| path.extension().is_some_and(|e| e == "mq"));
        fs::read_to_string(found?).ok().filter(|text| !text.is_empty())
    };
    let (mut key, mut messages) = (0, 0);
    while messages < 3 {
        assert!(lab.is_running(), "{}", lab.stderr());
        let Some(text) = registry() else { continue };
        key = text.lines().find_map(|l| l.strip_prefix("key ")?.parse().ok()).expect("a key");
        messages =
            SysvQueue::open(key, 4096).and_then(|queue| queue.level()).map_or(0, |level| level.messages);
    }
    lab.signal(SIGTERM);
    lab.end().expect(143);
    assert!(SysvQueue::open(key, 4096).is_err(), "the queue with the key {key} is left");
}

/// In a box with its own `/dev`, so that what nobody's names lead to is this test's alone.
#[test]
fn an_object_whose_names_are_gone_is_removed_unless_somebody_has_it() {
    const SCRIPT: &str = r#"
        set -e
        mount -t tmpfs none /dev
        mkdir /dev/shm /dev/mqueue
        mknod -m 666 /dev/null c 1 3
        mknod -m 666 /dev/urandom c 1 9
        mount -t mqueue none /dev/mqueue
        cd "$1"
        start() { # NAME, then the rest: a producer in a directory of its own, of which nobody knows
            name=$1 binary=$2; shift 2
            mkdir -m 700 "dir-$name"
            XDG_RUNTIME_DIR=$PWD/dir-$name "$BINARIES/$binary" --name "$name" --interval 0 --count 0 "$@" --quiet 2>"$name.log" &
            eval "$name=\$!"
            until grep -q blocked "$name.log"; do sleep 0.02; done
        }
        mkdir -m 700 own
        export XDG_RUNTIME_DIR=$PWD/own
        start dead shm-producer --sync ring
        start alive shm-producer --sync ring
        start full mq-producer --api posix
        start receipts mq-producer --api posix --rendezvous
        kill -9 $dead $full $receipts
        wait $dead $full $receipts || true
        rm -r dir-dead dir-full dir-receipts
        ls /dev/mqueue >&2
        "$BINARIES/ipc-lab" ps --json
        sleep 2.1
        "$BINARIES/ipc-lab" clean
        ls /dev/shm /dev/mqueue
        "$BINARIES/ipc-lab" clean --kept
        ls /dev/shm /dev/mqueue
        kill $alive
        wait || true
    "#;
    if !geteuid().is_root() {
        return eprintln!("not root: no box");
    }
    let sandbox = Sandbox::new();
    let mut command = Command::new("unshare");
    command
        .args(["-imp", "--fork", "--kill-child", "--mount-proc", "sh", "-c", SCRIPT, "sh"])
        .arg(sandbox.dir())
        .env("BINARIES", directory());
    let outcome = Process::spawn(command).end();
    let _ = fs::remove_dir_all(sandbox.dir());
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let all = outcome.clone().expect(0).stdout;
    let objects: Value = serde_json::from_str(lines[0]).expect("JSON");
    let state = |name: &str| {
        let channel = objects.as_array().expect("an array").iter().find(|c| c["name"] == name);
        channel.map(|c| c["state"].as_str().expect("a state").to_owned())
    };
    assert_eq!(
        ["dead", "alive", "full"].map(state),
        ["dead", "alive", "kept"].map(|s| Some(s.to_owned())),
        "{all}"
    );
    let count = |text: &str| lines.iter().filter(|line| **line == text).count();
    assert_eq!(count("ipc-lab-0-dead"), 0, "{all}");
    assert_eq!(count("ipc-lab-0-alive"), 2, "{all}");
    assert_eq!(
        count("ipc-lab-0-full"),
        1,
        "a queue that holds messages is kept unless told otherwise: {all}"
    );
    let own = outcome.stderr.lines().find(|line| line.starts_with("ipc-lab-0-receipts."));
    assert_eq!(count(own.expect("a queue for receipts")), 0, "receipts are for nobody else: {all}");
    assert!(all.contains("removed dead (shm)") && all.contains("left alive (shm)"), "{all}");
}
