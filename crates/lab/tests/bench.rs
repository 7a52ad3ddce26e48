//! `ipc-lab bench`: what it finds with the real pairs, and with stand-ins that do wrong what they are told to.

#[cfg(not(debug_assertions))]
mod binaries;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const LAB: &str = env!("CARGO_BIN_EXE_ipc-lab");

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn lab(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(LAB).args(args).output().expect("start ipc-lab");
    (output.status.code(), printed(&output))
}

#[test]
fn wrong_usage_is_2() {
    for args in [
        &["carrier-pigeon"][..],
        &["shm:spinlock"],
        &["--size", "many"],
        &["--size", "64,"],
        &["--rounds", "0"],
        &["--count", "2"],
        &["--time", "0"],
        &["--interval", "0"],
        &["--pin=4000,4001"],
        &["--pin=0"],
        &["--pattern", "zigzag"],
        &["--many", "2"],
        &["--many", "0,2"],
        &["--calls", "guess"],
        &["--file-size", "1000000"],
        &["--file-size", "3MiB"],
    ] {
        let (status, printed) = lab(&[&["bench"], args].concat());
        assert!(status == Some(2) && printed.contains("error: "), "{args:?}: {status:?} {printed}");
    }
}

/// How many system calls the echo makes for so many exchanges, from its start to its end.
fn calls(means: &str, exchanges: usize) -> Option<u64> {
    let mut echo = Command::new(LAB);
    echo.args(["bench-part", "count", means, "--", LAB, "bench-part", "echo"]);
    echo.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut echo = echo.spawn().expect("start ipc-lab");
    let sent = echo.stdin.take().expect("piped").write_all(&vec![0; 8 * exchanges]);
    let output = echo.wait_with_output().expect("wait");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if errors.contains("counting is refused here") {
        return None;
    }
    sent.expect("it reads");
    assert!(output.status.success(), "{errors}");
    assert_eq!(&output.stdout[..8 * exchanges].len() % 8, 0);
    let last = String::from_utf8_lossy(&output.stdout[8 * exchanges..]).into_owned();
    let counted: Value = serde_json::from_str(&last).unwrap_or_else(|e| panic!("{last}: {e}"));
    Some(counted["system_calls"].as_u64().expect("a number"))
}

#[test]
fn every_system_call_is_counted_once() {
    let mut counted = 0;
    for means in ["ptrace", "tracepoint"] {
        let (Some(few), Some(many)) = (calls(means, 100), calls(means, 300)) else { continue };
        counted += 1;
        // A read and a write for each.
        assert_eq!(many - few, 400, "{means}");
    }
    assert!(counted > 0, "this machine allows neither ptrace nor tracepoints");
}

#[test]
fn a_counted_program_keeps_its_threads_its_output_and_its_status() {
    // Itself has a thread for what it passes on, and the shell makes a child.
    let nested = ["bench-part", "count", "tracepoint", "--", "sh", "-c", "echo said; (exit 3)"];
    let (status, printed) = lab(&nested);
    let refused = printed.contains("counting is refused here");
    assert!(refused || (status == Some(3) && printed.starts_with("said\n{\"system_calls\":")), "{printed}");
    let (status, printed) = lab(&["bench-part", "count", "ptrace", "--", "sh", "-c", "echo said; (exit 3)"]);
    let refused = printed.contains("counting is refused here");
    assert!(refused || (status == Some(3) && printed.starts_with("said\n{\"system_calls\":")), "{printed}");
}

#[cfg(debug_assertions)]
#[test]
fn a_debug_build_is_refused() {
    let (status, printed) = lab(&["bench", "pipe"]);
    assert!(status == Some(1) && printed.contains("cargo build --release"), "{printed}");
}

/// What a debug build refuses to do.
#[cfg(not(debug_assertions))]
mod released {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process::Child;
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::time::{Duration, Instant};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    /// A program that a child being started holds open for writing cannot be run (`ETXTBSY`), and pairs that are
    /// measured at the same time disturb each other: one test at a time.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    fn alone() -> MutexGuard<'static, ()> {
        ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In one line, however it was wrapped.
    fn unwrapped(printed: &str) -> String {
        printed.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Runs the bench on the real pairs: its status, what it printed, what it wrote.
    fn measured(args: &[&str]) -> (Option<i32>, String, Value) {
        binaries::directory();
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("made/bench.json");
        let mut bench = Command::new(LAB);
        bench.args(["bench", "--json"]).arg(&file).args(args);
        for (option, value) in [("--rounds", "2"), ("--time", "50ms")] {
            if !args.contains(&option) {
                bench.args([option, value]);
            }
        }
        let tmp = dir.path().join("tmp");
        fs::create_dir(&tmp).expect("mkdir");
        let output = bench.env("TMPDIR", &tmp).output().expect("start ipc-lab");
        assert_eq!(fs::read_dir(&tmp).expect("tmp").count(), 0, "something was left");
        let written = fs::read_to_string(&file).unwrap_or_default();
        for chart in fs::read_dir(dir.path().join("made")).into_iter().flatten().flatten() {
            let text = fs::read_to_string(chart.path()).expect("text");
            assert!(chart.path() == file || text.starts_with("<svg "), "{chart:?}");
            assert!(printed(&output).contains(&*chart.path().to_string_lossy()), "{chart:?} is not named");
        }
        (output.status.code(), printed(&output), serde_json::from_str(&written).unwrap_or_default())
    }

    #[test]
    fn a_file_that_cannot_be_written_is_found_before_anything_is_measured() {
        let _guard = alone();
        let dir = stage();
        let mut bench = Command::new(dir.path().join("ipc-lab"));
        bench.args(["bench", "pipe", "--json"]).arg(dir.path());
        let output = bench.env("TMPDIR", dir.path().join("tmp")).output().expect("start ipc-lab");
        let printed = printed(&output);
        assert!(output.status.code() == Some(1) && printed.starts_with("error: write "), "{printed}");
    }

    fn row<'a>(all: &'a Value, method: &str, pattern: &str) -> &'a Value {
        let mut rows = all["rows"].as_array().expect("rows").iter();
        rows.find(|r| r["method"] == method && r["pattern"] == pattern).expect("the row")
    }

    #[track_caller]
    fn number(value: &Value) -> f64 {
        value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
    }

    #[test]
    fn two_methods_are_measured_and_every_figure_is_plausible() {
        let _guard = alone();
        let patterns = ["--pattern", "stream,paced,round-trip"];
        let (status, printed, all) =
            measured(&[&["pipe", "shm:ring", "--count", "3000"], &patterns[..]].concat());
        assert_eq!(status, Some(0), "{printed}");
        assert!(printed.lines().all(|l| l.chars().count() <= 110), "{printed}");
        assert!(!printed.contains('\x1b'), "colours are for terminals: {printed:?}");
        for key in ["cpu", "cpus", "kernel", "load_before", "build"] {
            assert!(!all["machine"][key].is_null(), "{key}: {all:#}");
        }
        assert_eq!(all["settings"]["rounds"], 2);

        let floor = |key: &str| number(&all["floors"][key]["median"]);
        assert!(floor("system_call_ns") > 1.0 && floor("copy_64KiB_bytes_per_s") > 1e8, "{all:#}");
        for bare in all["floors"]["bare"].as_array().expect("bare exchanges") {
            let ns = number(&bare["ns"]["min"]);
            // A message through a pipe is a call on either side. (How long one takes was measured at another time.)
            let least = if bare["by"] == "memory" { 1.0 } else { 50.0 };
            assert!(bare["ns"]["rounds"].as_array().map(Vec::len) == Some(2) && ns > least, "{bare:#}");
        }
        // Both one way, paced and not, and there and back.
        let bare = all["floors"]["bare"].as_array().expect("an array");
        let mut by: Vec<_> = bare.iter().map(|b| format!("{} {}", b["by"], b["pattern"])).collect();
        by.sort();
        let wanted = [
            r#""memory" "paced""#,
            r#""memory" "round-trip""#,
            r#""memory" "stream""#,
            r#""pipe" "paced""#,
            r#""pipe" "round-trip""#,
            r#""pipe" "stream""#,
        ];
        assert_eq!(by, wanted);
        // To and fro are two calls on either side at the least.
        assert!(floor("pipe_round_trip_ns") > 100.0, "{:#}", all["floors"]);

        let rows = all["rows"].as_array().expect("rows");
        let mut found: Vec<_> = rows.iter().map(|r| format!("{} {}", r["method"], r["pattern"])).collect();
        found.sort();
        let wanted = [
            r#""pipe" "paced""#,
            r#""pipe" "round-trip""#,
            r#""pipe" "stream""#,
            r#""pipe" "stream""#,
            r#""shm" "paced""#,
            r#""shm" "round-trip""#,
            r#""shm" "stream""#,
        ];
        assert_eq!(found, wanted);
        for row in rows {
            let items = number(&row["items"]);
            assert!(number(&row["verified"]) >= 2.0 * items && row["size"] == 64, "{row:#}");
            let rate = &row["items_per_s"];
            assert_eq!(rate["rounds"].as_array().map(Vec::len), Some(2));
            let [min, median, max] = ["min", "median", "max"].map(|k| number(&rate[k]));
            assert!(0.0 < min && min <= median && median <= max, "{row:#}");
            assert!((number(&row["bytes_per_s"]["median"]) / median - 64.0).abs() < 1.0, "{row:#}");
            let quantiles = ["p50", "p99", "p999", "max"].map(|q| number(&row["latency_ns"][q]["median"]));
            assert!(0.0 < quantiles[0] && quantiles.is_sorted(), "{row:#}");
            let ratio = &row["over_bare"];
            assert!(number(&ratio["min"]) > 0.0, "{row:#}");
            // Fifty paced items cost less than what one start differs from another, which is subtracted.
            let cpu = number(&row["per_item"]["cpu_ns"]["median"]);
            assert!(cpu > 0.0 || row["pattern"] != "stream", "{row:#}");
        }
        // Not one item came before its pause of 1 ms, and there are as many as fit into the time.
        let paced = row(&all, "shm", "paced");
        assert!(
            number(&paced["items_per_s"]["max"]) <= 1000.0 && number(&paced["items"]) == 50.0,
            "{paced:#}"
        );
    }

    #[test]
    fn a_pipe_shares_its_calls_and_a_ring_needs_at_most_a_wake_and_a_wait() {
        let _guard = alone();
        for means in ["ptrace", "tracepoint"] {
            let pattern = ["--pattern", "stream", "--count", "20000"];
            let (status, printed, all) =
                measured(&[&["pipe", "mq:sysv", "shm:ring", "--calls", means], &pattern[..]].concat());
            assert_eq!(status, Some(0), "{printed}");
            if printed.contains("not known") {
                assert!(printed.contains("refused here"), "{printed}");
                continue;
            }
            let of = |row: &Value| number(&row["per_item"]["system_calls"]["median"]);
            let calls = |method| of(row(&all, method, "stream"));
            // Frames travel together when nobody waits for them. Start-ups differ by a few calls, in thousands of items.
            assert!(calls("pipe") < 0.5, "{all:#}");
            let mut rows = all["rows"].as_array().expect("rows").iter();
            let plain = rows.find(|r| r["variant"] == "unbatched").expect("the row");
            assert!(of(plain) > 0.98, "a write for each frame: {all:#}");
            assert!(calls("mq") > 1.98, "msgsnd and msgrcv: {all:#}");
            assert!(calls("shm") < 2.1, "{all:#}");
        }
    }

    #[test]
    fn many_share_what_can_be_shared() {
        let _guard = alone();
        // Long enough that nobody is done before the last has come.
        let args = ["pipe", "mq:posix", "shm:ring", "--pattern", "many", "--many", "3,2", "--time", "500ms"];
        let (status, printed, all) = measured(&[&args, &["--rounds", "1"][..]].concat());
        assert!(status == Some(0) && printed.contains("Many: 3 producers to 2 consumers"), "{printed}");
        let rows = all["rows"].as_array().expect("rows");
        let sides: Vec<_> = rows.iter().map(|r| (&r["method"], &r["producers"], &r["consumers"])).collect();
        // A ring takes one of each, a pipe one reader.
        assert_eq!(sides, [(&json!("pipe"), &json!(3), &json!(1)), (&json!("mq"), &json!(3), &json!(2))]);
        for row in rows {
            let items = number(&row["items"]);
            assert!(items % 3.0 == 0.0 && number(&row["verified"]) >= items, "{row:#}");
            assert!(number(&row["items_per_s"]["median"]) > 0.0, "{row:#}");
        }
    }

    #[test]
    fn every_row_has_its_bare_exchange_and_nothing_is_left_of_it() {
        let _guard = alone();
        let queues = || fs::read_to_string("/proc/sysvipc/msg").expect("queues").lines().count();
        let before = queues();
        let args = ["--pattern", "stream,round-trip", "--count", "100", "--rounds", "1", "--time", "10ms"];
        let (status, printed, all) = measured(&args);
        assert_eq!(status, Some(0), "{printed}");
        for row in all["rows"].as_array().expect("rows") {
            assert!(number(&row["over_bare"]["median"]) > 0.0, "{row:#}");
        }
        let both = ["pipe", "unix", "seqpacket", "tcp", "sysv", "posix", "memory"];
        for (by, patterns) in both.map(|by| (by, ["stream", "round-trip"])) {
            let ns = patterns.map(|pattern| {
                let mut bare = all["floors"]["bare"].as_array().expect("an array").iter();
                bare.find(|b| b["by"] == by && b["pattern"] == pattern).map(|b| number(&b["ns"]["median"]))
            });
            // There and back, one after the other, is more than one way with both at work.
            assert!(ns[0].is_some() && ns.is_sorted_by(|a, b| b.is_none() || a < b), "{by}: {ns:?}");
        }
        assert_eq!(queues(), before, "a queue was left");
    }

    #[test]
    fn each_sleeper_is_woken_by_its_own_bare_means() {
        let _guard = alone();
        let args = ["mq", "shm:ring", "socket", "--pattern", "paced", "--rounds", "1"];
        let (status, printed, all) = measured(&args);
        assert_eq!(status, Some(0), "{printed}");
        for by in ["sysv", "posix", "memory", "unix", "seqpacket", "tcp"] {
            let mut bare = all["floors"]["bare"].as_array().expect("an array").iter();
            let bare = bare.find(|b| b["by"] == by && b["pattern"] == "paced");
            let ns = number(&bare.unwrap_or_else(|| panic!("{by}: {:#}", all["floors"]))["ns"]["median"]);
            // Somebody else has to run before it is there.
            assert!(ns > 100.0 && ns < 1e9, "{by}: {ns}");
        }
        let ring = row(&all, "shm", "paced");
        let (ours, over) =
            (number(&ring["latency_ns"]["p50"]["median"]), number(&ring["over_bare"]["median"]));
        let mut bare = all["floors"]["bare"].as_array().expect("an array").iter();
        let memory = bare.find(|b| b["by"] == "memory").expect("a futex");
        assert!((ours / number(&memory["ns"]["median"]) / over - 1.0).abs() < 0.001, "{ring:#}");
    }

    #[test]
    fn a_file_is_sent_beside_a_program_that_does_the_same() {
        let _guard = alone();
        let args = ["pipe", "shm:ring", "mmap", "socket", "--pattern", "file", "--file-size", "8MiB"];
        let (status, printed, all) = measured(&[&args, &["--rounds", "1"][..]].concat());
        assert!(status == Some(0) && printed.contains("File: 8 MiB in items of 1 MiB"), "{printed}");
        let rows = all["rows"].as_array().expect("rows");
        let sent: Vec<_> = rows.iter().map(|r| format!("{} {}", r["method"], r["variant"])).collect();
        let wanted = [
            r#""pipe" "fifo""#,
            r#""pipe" "zero-copy""#,
            r#""shm" "ring""#,
            r#""mmap" "file""#,
            r#""socket" "unix""#,
            r#""socket" "tcp""#,
        ];
        assert_eq!(sent, wanted);
        let mut compared = 0;
        for (row, by) in rows.iter().zip(["cat | cat", "cat | cat", "memcpy", "memcpy", "socat", "iperf3"]) {
            assert!(
                row["items"] == 8 && row["size"] == 1 << 20 && number(&row["verified"]) >= 8.0,
                "{row:#}"
            );
            assert!(number(&row["bytes_per_s"]["median"]) > 1e6, "{row:#}");
            let mut beside = all["floors"]["beside"].as_array().expect("an array").iter();
            let beside = beside.find(|b| b["program"] == by).expect("it is beside");
            // Eight of them take some milliseconds, and starting a program is subtracted.
            if let Some(why) = beside["why_not"].as_str() {
                assert!(why.ends_with("is not installed") && printed.contains(why), "{by}: {why}");
                assert!(row["over_bare"]["median"].is_null(), "{row:#}");
            } else {
                compared += 1;
                assert!(beside["ns_per_MiB"]["rounds"].as_array().map(Vec::len) == Some(1), "{beside:#}");
            }
        }
        assert!(compared >= 4, "cat and memcpy are everywhere: {:#}", all["floors"]);
    }

    #[test]
    fn a_program_that_is_not_installed_is_no_floor_and_no_failure() {
        let _guard = alone();
        binaries::directory();
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("bench.json");
        let mut bench = Command::new(LAB);
        bench.args(["bench", "socket:unix", "shm:ring", "--pattern", "file", "--file-size", "4MiB"]);
        bench.args(["--rounds", "1", "--json"]).arg(&file).env("PATH", dir.path());
        let output = bench.output().expect("start ipc-lab");
        let printed = printed(&output);
        assert!(output.status.code() == Some(0) && printed.contains("socat is not installed"), "{printed}");
        let all: Value = serde_json::from_str(&fs::read_to_string(&file).expect("written")).expect("JSON");
        assert!(row(&all, "socket", "file")["over_bare"]["median"].is_null(), "{all:#}");
        assert!(number(&row(&all, "shm", "file")["over_bare"]["median"]) > 0.0, "{all:#}");
        // Nothing is wanted of who has nothing beside.
        let goals = all["goals"].as_array().expect("goals");
        assert!(goals.len() == 1 && goals[0]["of"] == "file shm ring", "{goals:#?}");
        assert!(goals[0]["at_least"] == 0.5 && number(&goals[0]["found"]) > 0.0, "{goals:#?}");
        assert!(printed.contains("Goals") && printed.contains("at least 0.5"), "{printed}");
    }

    #[test]
    fn several_sizes_are_measured_and_what_is_too_large_is_an_error_in_the_table() {
        let _guard = alone();
        let (status, printed, all) = measured(&["mq:sysv", "shm:ring", "--pattern", "sizes"]);
        assert_eq!(status, Some(0), "{printed}");
        for row in all["rows"].as_array().expect("rows") {
            let carried = row["bytes_per_s"]["median"].as_f64().is_some_and(|rate| rate > 0.0);
            let fits = row["method"] == "shm" || number(&row["size"]) < 8000.0;
            assert!(carried == fits && row["refused"].is_null() == fits, "{row:#}");
        }
        let line = printed.lines().find(|line| line.starts_with("mq     sysv")).expect("its line");
        assert_eq!(line.matches("error").count(), 3, "{printed}");
        assert!(unwrapped(&printed).contains("error: mq sysv sizes 1 MiB: "), "{printed}");
    }

    #[test]
    fn silence_is_watched_and_an_item_comes_after_it() {
        let _guard = alone();
        let (status, printed, all) = measured(&["pipe", "mq:posix", "shm:ring", "--pattern", "idle"]);
        assert!(status == Some(0) && printed.contains("Idle: connected"), "{printed}");
        let idle = all["idle"].as_array().expect("an array");
        let names: Vec<_> = idle.iter().map(|i| format!("{} {}", i["method"], i["variant"])).collect();
        assert_eq!(names, [r#""pipe" "fifo""#, r#""mq" "posix""#, r#""shm" "ring""#]);
        for idle in idle {
            let after = &idle["latency_ns"];
            assert!(after["rounds"].as_array().map(Vec::len) == Some(5), "{idle:#}");
            assert!(number(&after["min"]) > 0.0 && number(&idle["bare_ns"]) > 0.0, "{idle:#}");
            // Where others have the CPUs, there may have been no silence that could be watched.
            for cpu in idle["cpu"]["rounds"].as_array().expect("an array") {
                assert!((0.0..0.5).contains(&number(cpu)), "{idle:#}");
            }
        }
        assert_eq!(all["goals"].as_array().map(Vec::len), Some(3), "{:#}", all["goals"]);
    }

    #[test]
    fn what_cannot_be_carried_is_a_row_of_its_own_and_no_failure() {
        let _guard = alone();
        let args = ["socket:unix", "pipe", "--pattern", "stream", "--count", "3", "--size", "64,17MiB"];
        let (status, printed, all) = measured(&args);
        assert_eq!(status, Some(0), "{printed}");
        let rows = all["rows"].as_array().expect("rows");
        let refused: Vec<_> = rows.iter().filter(|r| !r["refused"].is_null()).collect();
        assert!(refused.len() == 1 && refused[0]["size"] == 17 << 20, "{all:#}");
        let why = refused[0]["refused"].as_str().expect("words");
        assert!(why.contains("--max-frame 16777216") && printed.contains("17 MiB"), "{why}: {printed}");
        assert!(refused[0]["items_per_s"]["median"].is_null(), "{all:#}");
        let (status, printed, _) =
            measured(&["socket:unix", "--pattern", "stream", "--size", "17MiB", "--count", "3"]);
        assert_eq!(status, Some(1), "no row has figures: {printed}");
    }

    #[test]
    fn where_ptrace_is_refused_the_rest_is_measured() {
        let _guard = alone();
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("bench.json");
        // A program that is traced already cannot be traced again.
        let mut outer = Command::new(LAB);
        outer.args(["bench-part", "count", "ptrace", "--", LAB, "bench", "pipe", "--calls", "ptrace"]);
        outer.args(["--pattern", "stream", "--rounds", "1", "--count", "100", "--json"]).arg(&file);
        let output = outer.output().expect("start ipc-lab");
        let printed = printed(&output);
        assert_eq!(output.status.code(), Some(0), "{printed}");
        assert!(unwrapped(&printed).contains("not known: refused here: ptrace"), "{printed}");
        let all: Value = serde_json::from_str(&fs::read_to_string(&file).expect("written")).expect("JSON");
        let row = row(&all, "pipe", "stream");
        assert!(row["per_item"]["system_calls"]["median"].is_null(), "{row:#}");
        assert!(
            row["system_calls_not_counted"].as_str().is_some_and(|why| why.contains("ptrace")),
            "{row:#}"
        );
        assert!(number(&row["items_per_s"]["median"]) > 0.0, "{row:#}");
    }

    /// `$FAULT` says what goes wrong, once there are more than the few that show what start-up costs.
    const CONSUMER: &str = r#"#!/bin/sh
mkfifo "$XDG_RUNTIME_DIR/f"
echo waiting
[ "$FAULT" = hang ] && { rm "$XDG_RUNTIME_DIR/f"; exec sleep 1000; }
[ "$FAULT" = refused ] && { rm "$XDG_RUNTIME_DIR/f"; exec sleep 1000; }
read -r items size < "$XDG_RUNTIME_DIR/f"
rm "$XDG_RUNTIME_DIR/f"
lost=0; got=$items; variant=fifo
if [ "$items" -gt 2 ]; then
  case $FAULT in
    lost) lost=1; got=$((items - 1));;
    fewer) got=$((items - 1));;
    died) kill -9 $$;;
    failed) echo "error: no room"; exit 4;;
    other) variant=anonymous;;
    left) touch "$XDG_RUNTIME_DIR/left";;
  esac
fi
echo "{\"role\":\"consumer\",\"method\":\"pipe\",\"variant\":\"$variant\",\"items\":$got,\"bytes\":$((got * size)),\"elapsed_s\":0.01,\"lost\":$lost,\"gaps\":0,\"duplicated\":0,\"reordered\":0,\"corrupted\":0,\"latency_ns\":{\"p50\":1,\"p99\":2,\"p999\":3,\"max\":4}}"
"#;
    const PRODUCER: &str = r#"#!/bin/sh
[ "$FAULT" = hang ] && exec sleep 1000
[ "$FAULT" = refused ] && { echo "error: an item of that size is too large"; exit 2; }
for arg; do
  case $last in --count) items=$arg;; --size) size=$arg;; --input) input=$arg;; esac
  last=$arg
done
if [ "$FAULT" = file ] && ! [ "$(wc -c < "$input")" = 4194304 ]; then echo "error: no file"; exit 2; fi
echo "$items $size" > "$XDG_RUNTIME_DIR/f"
echo "{\"role\":\"producer\",\"method\":\"pipe\",\"variant\":\"fifo\",\"items\":$items,\"bytes\":$((items * size)),\"elapsed_s\":0.01}"
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

    fn start(dir: &Path, fault: &str) -> Child {
        start_pattern(dir, fault, "stream")
    }

    fn start_pattern(dir: &Path, fault: &str, pattern: &str) -> Child {
        let mut bench = Command::new(dir.join("ipc-lab"));
        bench.args(["bench", "pipe:fifo", "--pattern", pattern, "--rounds", "2", "--count", "5"]);
        bench.args(["--time", "10ms", "--file-size", "4MiB", "--json"]).arg(dir.join("bench.json"));
        bench.env("FAULT", fault).env("TMPDIR", dir.join("tmp"));
        bench.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start ipc-lab")
    }

    /// Waits for the end, after which nothing may be left: the status, and all that was printed.
    fn end(dir: &Path, bench: Child) -> (Option<i32>, String) {
        let output = bench.wait_with_output().expect("wait");
        let left: Vec<_> = fs::read_dir(dir.join("tmp")).expect("tmp").flatten().map(|e| e.path()).collect();
        assert!(left.is_empty(), "{left:?}");
        (output.status.code(), printed(&output))
    }

    #[test]
    fn the_file_that_was_made_is_what_is_sent() {
        let _guard = alone();
        let dir = stage();
        let (status, printed) = end(dir.path(), start_pattern(dir.path(), "file", "file"));
        assert!(status == Some(0) && !printed.contains("no file"), "{printed}");
        // The stand-in is not the one that lets everything pass.
        let (status, printed) = end(dir.path(), start_pattern(dir.path(), "file", "stream"));
        assert!(status == Some(1) && printed.contains("no file"), "{printed}");
    }

    #[test]
    fn a_silence_after_which_nothing_comes_fails_the_run() {
        let _guard = alone();
        let dir = stage();
        for (fault, finding) in [
            ("none", "no item came after a silence"),
            ("failed", "the consumer ended with 4"),
            ("left", "left behind"),
        ] {
            let (status, printed) = end(dir.path(), start_pattern(dir.path(), fault, "idle"));
            assert_eq!(status, Some(1), "{fault}: {printed}");
            assert!(unwrapped(&printed).contains(&format!("FAILED pipe fifo idle: {finding}")), "{printed}");
        }
    }

    #[test]
    fn each_fault_fails_the_run_and_is_named_with_its_row() {
        let _guard = alone();
        let dir = stage();
        let (status, printed) = end(dir.path(), start(dir.path(), "none"));
        assert!(status == Some(0) && !printed.contains("FAILED"), "{printed}");
        for (fault, finding) in [
            ("lost", "1 items lost"),
            ("fewer", "4 of 5 items were received"),
            ("died", "pipe-consumer ended with 137"),
            ("failed", "pipe-consumer ended with 4: no room"),
            ("other", "says that it is"),
            ("left", "left behind"),
        ] {
            let (status, printed) = end(dir.path(), start(dir.path(), fault));
            assert_eq!(status, Some(1), "{fault}: {printed}");
            let line = unwrapped(&printed);
            assert!(line.contains("FAILED pipe fifo stream 64 B: "), "{fault}: {printed}");
            assert!(line.contains(finding), "{fault}: {printed}");
            let all = fs::read_to_string(dir.path().join("bench.json")).expect("written");
            let all: Value = serde_json::from_str(&all).expect("JSON");
            assert!(!row(&all, "pipe", "stream")["failed"].is_null(), "{fault}: {all:#}");
        }
        let (status, printed) = end(dir.path(), start(dir.path(), "refused"));
        assert!(status == Some(1) && printed.contains("too large"), "{printed}");
        assert!(!printed.contains("FAILED"), "a size that does not fit is no failure: {printed}");
    }

    #[test]
    fn a_signal_ends_it_within_a_second_and_its_processes_too() {
        let _guard = alone();
        for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
            let dir = stage();
            let bench = start(dir.path(), "hang");
            let children = format!("/proc/{0}/task/{0}/children", bench.id());
            let deadline = Instant::now() + Duration::from_secs(10);
            let children = loop {
                let pids = fs::read_to_string(&children).expect("it runs");
                let pids: Vec<_> = pids.split_whitespace().map(String::from).collect();
                if pids.len() == 2 {
                    break pids;
                }
                assert!(Instant::now() < deadline, "two children: {pids:?}");
                std::thread::yield_now();
            };
            let asked = Instant::now();
            kill(Pid::from_raw(bench.id() as i32), signal).expect("it runs");
            let (status, printed) = end(dir.path(), bench);
            assert_eq!(status, Some(code), "{printed}");
            assert!(asked.elapsed() < Duration::from_secs(2));
            for pid in children {
                assert!(!Path::new("/proc").join(&pid).exists(), "{pid} still runs");
            }
        }
    }
}
