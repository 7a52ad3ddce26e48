//! A disk that is full. It is a tmpfs of the test's own, in a mount namespace of the process's own, which only root
//! can make: nobody else sees it, and it goes with the process.

use std::process::Command;

use common::testkit::{Process, Sandbox};
use nix::unistd::geteuid;

/// Runs a producer behind a shell that has first made `{dir}` a small disk, and `filled` it.
fn on_a_small_disk(sandbox: &mut Sandbox, filled: &str, args: &[&str]) -> Option<Process> {
    let may = geteuid().is_root()
        && Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success());
    if !may {
        println!("skipped: only root can mount a small disk");
        return None;
    }
    let disk = sandbox.file("disk");
    std::fs::create_dir(&disk).expect("make a directory");
    let script = format!("mount -t tmpfs -o size=256k,mode=700 none \"$0\" && {filled} && exec \"$@\"");
    let mut command = sandbox.command("unshare");
    command.args(["-m", "sh", "-c", &script]).arg(&disk).arg(env!("CARGO_BIN_EXE_mmap-producer"));
    command.args(["--name", sandbox.name(), "--file"]).arg(disk.join("x.map")).args(args);
    Some(Process::spawn(command))
}

#[test]
fn a_full_disk_is_an_error_before_the_first_item_and_no_sigbus() {
    for (filled, capacity) in [("true", "1MiB"), ("head -c 200k /dev/zero >\"$0/rest\"", "64KiB")] {
        let mut sandbox = Sandbox::new();
        let args = ["--capacity", capacity, "--count", "0", "--interval", "0", "--json"];
        let Some(producer) = on_a_small_disk(&mut sandbox, filled, &args) else { return };
        let ended = producer.end().expect(1).says("no room for").says("No space left on device");
        assert_eq!(ended.number("items"), 0, "{ended:?}");
        assert!(!ended.stdout.contains("sent"), "{ended:?}");
    }
}

#[test]
fn a_disk_that_fills_up_later_is_no_matter() {
    let mut sandbox = Sandbox::new();
    let args = ["--capacity", "64KiB", "--count", "0", "--interval", "1ms", "--timeout", "1s"];
    // What the file needs was taken when it was made: it can be filled to the brim while the rest of the disk is.
    let later = "{ (sleep 0.1; head -c 1m /dev/zero >\"$0/rest\" 2>/dev/null) & }";
    let Some(producer) = on_a_small_disk(&mut sandbox, later, &args) else { return };
    producer.end().expect(3).says("--timeout");
}
