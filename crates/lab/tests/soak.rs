//! `ipc-lab soak`: that it passes with the real pairs and leaves nothing, and that it finds what stand-ins do wrong.

mod binaries;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const LAB: &str = env!("CARGO_BIN_EXE_ipc-lab");

/// A program that a child being started holds open for writing cannot be run (`ETXTBSY`): one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn lab(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(LAB).arg("soak").args(args).output().expect("start ipc-lab");
    (output.status.code(), printed(&output))
}

#[test]
fn wrong_usage_is_2() {
    let _guard = alone();
    for args in [
        &["carrier-pigeon"][..],
        &["shm:none"],
        &["socket:udp"],
        &["--time", "0"],
        &["--seed", "many"],
        &["--episode", "3"],
        &["--seed", "1", "--episode", "0"],
        &["--patience", "0"],
    ] {
        let (status, printed) = lab(args);
        assert!(status == Some(2) && printed.contains("error: "), "{args:?}: {status:?} {printed}");
    }
}

#[test]
fn the_same_seed_is_the_same_plan_whatever_runs_beside_it() {
    let _guard = alone();
    let plan = |args: &[&str]| lab(&[&["--dry-run", "--seed"], args].concat()).1;
    let all = plan(&["7"]);
    assert!(all.lines().count() >= 13 * 10, "{all}");
    assert_eq!(all, plan(&["7"]));
    assert_ne!(all, plan(&["8"]));
    let ring = plan(&["7", "shm:ring"]);
    assert!(ring.lines().count() == 10 && all.contains(&ring), "{ring}");
    let third = plan(&["7", "--episode", "3", "shm:ring"]);
    assert_eq!(third.trim_end(), ring.lines().nth(2).expect("ten lines"));
}

/// What is there of soaks: those of this process's children are named after their pids.
fn objects(pid: u32) -> Vec<String> {
    let entries = ["/dev/shm", "/dev/mqueue"].map(|dir| fs::read_dir(dir).into_iter().flatten().flatten());
    let names = entries.into_iter().flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains(&format!("soak-{pid}-"))).collect()
}

#[test]
fn two_variants_keep_their_promises_and_leave_nothing() {
    let _guard = alone();
    binaries::directory();
    let tmp = tempfile::tempdir().expect("a directory");
    let mut soak = Command::new(LAB);
    soak.args(["soak", "--time", "5s", "mq:posix", "shm:ring"]).env("TMPDIR", tmp.path());
    let soak = soak.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start ipc-lab");
    let pid = soak.id();
    let output = soak.wait_with_output().expect("wait");
    let printed = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(printed.lines().all(|l| l.chars().count() <= 110), "{printed}");
    assert!(!printed.contains('\x1b'), "colours are for terminals: {printed:?}");
    for variant in ["mq:posix", "shm:ring"] {
        let row = printed.lines().find(|line| line.starts_with(variant)).expect("a row");
        let words: Vec<&str> = row.split_whitespace().collect();
        let number = |at: usize| words[at].replace(',', "").parse::<u64>().expect("a number");
        let (producers, consumers) = (number(2), number(4));
        assert!(producers > 0 && consumers > 0, "nobody was killed: {row}");
        let (sent, received) = (number(7), number(8));
        assert!(received > 10_000 && sent >= received, "{row}");
        assert!(number(9) == sent - received && number(9) <= number(11), "{row}");
        assert!(row.ends_with('✓'), "{row}");
    }
    assert_eq!(fs::read_dir(tmp.path()).expect("tmp").count(), 0, "something was left");
    assert_eq!(objects(pid), Vec::<String>::new());
}

/// A pair over a plain FIFO, which cannot survive anything but being stopped. `$FAULT` says what goes wrong, once.
const CONSUMER: &str = r#"#!/bin/sh
once="$(dirname "$0")/once"
mkdir "$once" 2> /dev/null || FAULT=none
fifo="$XDG_RUNTIME_DIR/fifo"
mkfifo "$fifo.new" && mv "$fifo.new" "$fifo"
exec < "$fifo"
rm "$fifo"
record() { dd bs=64 count=1 iflag=fullblock status=none; }
case "$FAULT" in
  lost) record > /dev/null;;
  hole) record; record > /dev/null;;
  twice) record > "$XDG_RUNTIME_DIR/one"; cat "$XDG_RUNTIME_DIR/one" "$XDG_RUNTIME_DIR/one"; rm "$XDG_RUNTIME_DIR/one";;
  order) record > "$XDG_RUNTIME_DIR/one"; record; cat "$XDG_RUNTIME_DIR/one"; rm "$XDG_RUNTIME_DIR/one";;
  torn) record | { head -c 63; printf x; };;
  cut) printf x;;
  left) touch "$XDG_RUNTIME_DIR/left";;
esac
cat
case "$FAULT" in
  panic) echo "thread 'main' panicked" >&2; exit 101;;
  refused) echo "error: no room" >&2; exit 1;;
  segv) kill -SEGV $$;;
  hang) exec sleep 1000;;
esac
"#;
const PRODUCER: &str = r#"#!/bin/sh
until [ -p "$XDG_RUNTIME_DIR/fifo" ]; do sleep 0.01; done
[ "$FAULT" = early ] && { head -c 640 > "$XDG_RUNTIME_DIR/fifo"; exit 0; }
cat > "$XDG_RUNTIME_DIR/fifo"
"#;

/// A directory with the program and the stand-ins.
fn stage() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::copy(LAB, dir.path().join("ipc-lab")).expect("copy the program");
    for (role, script) in [("consumer", CONSUMER), ("producer", PRODUCER)] {
        let path = dir.path().join(format!("pipe-{role}"));
        fs::write(&path, script).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    fs::create_dir(dir.path().join("tmp")).expect("mkdir");
    dir
}

/// A seed and an episode in which nobody is killed or asked to leave.
fn a_mild_episode() -> [String; 2] {
    let is_mild = |line: &&str| ["kill", "interrupt", "terminate"].iter().all(|fault| !line.contains(fault));
    (0u32..100)
        .find_map(|seed| {
            let plans = lab(&["--dry-run", "--seed", &seed.to_string(), "pipe:fifo"]).1;
            let mild = plans.lines().find(is_mild)?;
            let number = mild.split("episode ").nth(1)?.split(':').next()?;
            Some([seed.to_string(), number.to_owned()])
        })
        .expect("one in a thousand")
}

fn start(dir: &Path, fault: &str, [seed, episode]: &[String; 2], time: &str) -> Child {
    let mut soak = Command::new(dir.join("ipc-lab"));
    soak.args([
        "soak",
        "--seed",
        seed,
        "--episode",
        episode,
        "--time",
        time,
        "--patience",
        "3s",
        "pipe:fifo",
    ]);
    soak.env("FAULT", fault).env("TMPDIR", dir.join("tmp"));
    soak.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start ipc-lab")
}

/// Waits for the end, after which nothing may be left: the status, and all that was printed, in one line.
fn end(dir: &Path, soak: Child) -> (Option<i32>, String) {
    let output = soak.wait_with_output().expect("wait");
    let left: Vec<_> = fs::read_dir(dir.join("tmp")).expect("tmp").flatten().map(|e| e.path()).collect();
    assert!(left.is_empty(), "{left:?}");
    let words: Vec<String> = printed(&output).split_whitespace().map(String::from).collect();
    (output.status.code(), words.join(" "))
}

#[test]
fn each_fault_is_found_and_named_and_can_be_seen_again() {
    let _guard = alone();
    let dir = stage();
    let mild = a_mild_episode();
    let soak = |fault: &str| {
        let _ = fs::remove_dir(dir.path().join("once"));
        end(dir.path(), start(dir.path(), fault, &mild, "1ms"))
    };
    let (status, printed) = soak("none");
    assert!(status == Some(0) && printed.contains('✓') && !printed.contains("FAILED"), "{printed}");
    for (fault, finding) in [
        ("lost", "1 items lost, 0 allowed"),
        ("hole", "1 items lost out of the middle of a stream, 0 allowed"),
        ("twice", "1 items twice, 0 allowed"),
        ("order", "1 items out of order, 0 allowed"),
        ("torn", "1 items corrupted, 0 allowed"),
        ("cut", "items corrupted, 0 allowed"),
        ("left", "left behind: "),
        ("panic", "the consumer (left alone) ended with 101: thread 'main' panicked"),
        ("refused", "the consumer (left alone) ended with 1: error: no room"),
        ("segv", "the consumer (left alone) ended with 139: nothing"),
        ("hang", "the consumer did not end within 3s"),
        ("early", "the producer (left alone) ended with 0: nothing"),
    ] {
        let (status, printed) = soak(fault);
        assert_eq!(status, Some(1), "{fault}: {printed}");
        let [seed, episode] = &mild;
        let named = format!("FAILED pipe:fifo, episode {episode}: ");
        assert!(printed.contains(&named) && printed.contains(finding), "{fault}: {printed}");
        let again = format!("again: ipc-lab soak --seed {seed} --episode {episode} pipe:fifo");
        assert!(printed.contains(&again), "{fault}: {printed}");
    }
}

#[test]
fn a_signal_ends_the_processes_too() {
    let _guard = alone();
    let mild = a_mild_episode();
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let dir = stage();
        let soak = start(dir.path(), "none", &mild, "1h");
        let tasks = format!("/proc/{}/task", soak.id());
        let deadline = Instant::now() + Duration::from_secs(10);
        let children = loop {
            // A child belongs to the thread that started it.
            let of =
                |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let all: String = fs::read_dir(&tasks).expect("it runs").flatten().map(of).collect();
            let pids: Vec<String> = all.split_whitespace().map(String::from).collect();
            if pids.len() == 2 {
                break pids;
            }
            assert!(Instant::now() < deadline, "two children: {pids:?}");
            std::thread::yield_now();
        };
        let asked = Instant::now();
        kill(Pid::from_raw(soak.id() as i32), signal).expect("it runs");
        let (status, printed) = end(dir.path(), soak);
        assert!(status == Some(code) && printed.contains("error: ended by"), "{printed}");
        assert!(asked.elapsed() < Duration::from_secs(2));
        for pid in children {
            assert!(!Path::new("/proc").join(&pid).exists(), "{pid} still runs");
        }
    }
}
