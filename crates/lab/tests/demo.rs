//! What `ipc-lab demo` finds: with stand-ins for a pair's binaries, which do wrong what they are told to.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// `$FAULT` says what goes wrong.
const CONSUMER: &str = r#"#!/bin/sh
out=; for arg; do [ "$last" = --output ] && out=$arg; last=$arg; done
echo waiting
[ "$FAULT" = hang ] && exec sleep 1000
[ "$FAULT" = played ] && exit 3
[ -n "$out" ] || exit 0
[ "$FAULT" = left ] && touch "$XDG_RUNTIME_DIR/left"
printf hello > "$out"
[ "$FAULT" = differs ] && printf hallo > "$out"
bytes=5; [ "$FAULT" = short ] && bytes=4
lost=0; [ "$FAULT" = lost ] && lost=1
echo "{\"variant\":\"v\",\"items\":1,\"bytes\":$bytes,\"blocked\":0,\"lost\":$lost,\"gaps\":0,\"duplicated\":0,\"reordered\":0,\"corrupted\":0}"
"#;
const PRODUCER: &str = r#"#!/bin/sh
[ "$FAULT" = hang ] && exec sleep 1000
case "$*" in *--json*) ;; *) exit 0;; esac
[ "$FAULT" = failed ] && { echo "error: no room"; exit 1; }
echo '{"variant":"v","items":1,"bytes":5,"blocked":0}'
"#;

/// A program that a child being started holds open for writing cannot be run (`ETXTBSY`): one test at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A directory with the program, the stand-ins and a file to send.
fn stage() -> (TempDir, MutexGuard<'static, ()>) {
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().expect("a directory");
    fs::copy(env!("CARGO_BIN_EXE_ipc-lab"), dir.path().join("ipc-lab")).expect("copy the program");
    for (role, script) in [("consumer", CONSUMER), ("producer", PRODUCER)] {
        let path = dir.path().join(format!("pipe-{role}"));
        fs::write(&path, script).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    fs::write(dir.path().join("file"), "hello").expect("write");
    fs::create_dir(dir.path().join("tmp")).expect("mkdir");
    (dir, guard)
}

fn start(dir: &Path, fault: &str) -> Child {
    let mut demo = Command::new(dir.join("ipc-lab"));
    demo.args(["demo", "pipe", "--file"]).arg(dir.join("file"));
    demo.env("FAULT", fault).env("TMPDIR", dir.join("tmp"));
    demo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start ipc-lab")
}

/// Waits for the end, after which nothing may be left: the status, and all that was printed.
fn end(dir: &Path, demo: Child) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = demo.wait_with_output().expect("wait");
    let left: Vec<_> = fs::read_dir(dir.join("tmp")).expect("tmp").flatten().map(|e| e.path()).collect();
    assert!(left.is_empty(), "{left:?}");
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

#[test]
fn each_fault_is_found_and_named() {
    let (dir, _guard) = stage();
    let (status, printed) = end(dir.path(), start(dir.path(), "none"));
    assert!(status == Some(0) && printed.contains("1 of 1") && !printed.contains("FAILED"), "{printed}");
    assert!(!printed.contains('\x1b'), "colours are for terminals: {printed:?}");
    for (fault, finding) in [
        ("differs", "what came out differs"),
        ("short", "not all bytes were received"),
        ("lost", "the consumer found items lost"),
        ("failed", "pipe-producer ended with 1: error: no room"),
        ("left", "left behind"),
        ("played", "pipe-consumer ended with 3"),
    ] {
        let (status, printed) = end(dir.path(), start(dir.path(), fault));
        assert_eq!(status, Some(1), "{fault}: {printed}");
        assert!(printed.contains(&format!("FAILED  pipe: {finding}")), "{fault}: {printed}");
    }
}

#[test]
fn without_its_binaries_or_its_file_it_does_not_begin() {
    let (dir, _guard) = stage();
    fs::remove_file(dir.path().join("pipe-producer")).expect("remove");
    let (status, printed) = end(dir.path(), start(dir.path(), "none"));
    assert!(status == Some(1) && printed.contains("cargo build"), "{printed}");
    fs::remove_file(dir.path().join("file")).expect("remove");
    let (status, printed) = end(dir.path(), start(dir.path(), "none"));
    assert!(status == Some(1) && printed.contains("error: open "), "{printed}");
}

#[test]
fn a_reader_who_has_had_enough_ends_it_without_a_word() {
    // One hears the first line, the other nothing at all.
    for first in [true, false] {
        let (dir, _guard) = stage();
        let mut demo = start(dir.path(), "none");
        let mut stdout = demo.stdout.take().expect("piped");
        if first {
            stdout.read_exact(&mut [0; 2]).expect("its first bytes");
        }
        drop(stdout);
        let (status, printed) = end(dir.path(), demo);
        assert!(status == Some(128 + Signal::SIGPIPE as i32) && printed.is_empty(), "{status:?} {printed}");
    }
}

#[test]
fn a_signal_ends_the_processes_too() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let (dir, _guard) = stage();
        let demo = start(dir.path(), "hang");
        let children = format!("/proc/{0}/task/{0}/children", demo.id());
        let deadline = Instant::now() + Duration::from_secs(10);
        let children = loop {
            let pids: Vec<String> = fs::read_to_string(&children)
                .expect("it runs")
                .split_whitespace()
                .map(String::from)
                .collect();
            if pids.len() == 2 {
                break pids;
            }
            assert!(Instant::now() < deadline, "two children: {pids:?}");
            std::thread::yield_now();
        };
        let asked = Instant::now();
        kill(Pid::from_raw(demo.id() as i32), signal).expect("it runs");
        let (status, printed) = end(dir.path(), demo);
        assert_eq!(status, Some(code), "{printed}");
        assert!(asked.elapsed() < Duration::from_secs(2));
        for pid in children {
            assert!(!Path::new("/proc").join(&pid).exists(), "{pid} still runs");
        }
    }
}
