//! Names of the living and of the dead, with real processes that come, leave and are killed.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::place::{Channel, Place, Role, Watch};
use nix::poll::{PollFd, PollFlags, poll};

/// A private directory, removed with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("ipc-place-{}-{name}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&dir).expect("make it");
        Dir(dir)
    }

    fn channel(&self) -> Channel {
        Place::at(self.0.clone()).expect("private").channel("demo", "kind")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the other process does: attaches, says so, and sits there until it is killed or told to leave.
#[test]
fn as_the_other_process() {
    let Ok(dir) = std::env::var("PLACE_OF_THE_OTHER") else { return };
    let channel = Place::at(dir.into()).expect("private").channel("demo", "kind");
    let guard = channel.lock().expect("guard");
    let attachment = guard.attach(Role::Producer).expect("attach");
    drop(guard);
    let held = fs::File::open(channel.path().with_file_name("held"));
    held.iter().for_each(|file| file.lock().expect("nobody else has it"));
    // The kernel closes a dying process's files one after the other: many between its name and its pipe give the
    // reader of the pipe time to notice first.
    let _many: Vec<_> = (0..800).map_while(|_| fs::File::open("/dev/null").ok()).collect();
    let _pipe = fs::OpenOptions::new().write(true).open(channel.path().with_file_name("pipe"));
    println!("\nattached");
    let _ = std::io::stdin().read_line(&mut String::new());
    channel.lock().expect("guard").detach(attachment);
}

fn other(dir: &Dir) -> Child {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["as_the_other_process", "--exact", "--nocapture"])
        .env("PLACE_OF_THE_OTHER", &dir.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start itself");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    assert!(stdout.by_ref().lines().any(|l| l.expect("a line") == "attached"));
    child.stdout = Some(stdout.into_inner());
    child
}

/// Waits until `watch` has told something after which `seen` holds.
fn until(watch: &Watch, mut seen: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !seen() {
        assert!(Instant::now() < deadline, "the watch was silent");
        let _ = poll(&mut [PollFd::new(watch.as_fd(), PollFlags::POLLIN)], 50u8);
        watch.changed().expect("read the events");
    }
}

#[test]
fn the_living_are_told_from_the_dead() {
    let dir = Dir::new("dead");
    let channel = dir.channel();
    let watch = channel.watch().expect("watch");
    let mut child = other(&dir);
    assert!(watch.changed().expect("events"), "somebody came");
    let attached = channel.lock().expect("guard").attached().expect("list");
    assert_eq!(attached.len(), 1);
    assert_eq!((attached[0].pid, attached[0].role, attached[0].alive), (child.id(), Role::Producer, true));
    assert_eq!(channel.lock().expect("guard").living(Role::Consumer).expect("list"), 0);

    watch.changed().expect("events");
    child.kill().expect("kill");
    // Not waited for yet: a zombie has a process id, but no locks.
    until(&watch, || channel.lock().expect("guard").living(Role::Producer).expect("list") == 0);
    let guard = channel.lock().expect("guard");
    assert_eq!(guard.attached().expect("list").len(), 1, "the dead's name is still there");
    assert_eq!(guard.forget_dead().expect("forget"), 1);
    drop(guard);
    child.wait().expect("wait");
    assert_eq!(fs::read_dir(&dir.0).expect("list").count(), 0, "the last one takes the lock file along");
}

#[test]
fn who_dies_is_dead_as_soon_as_anybody_can_notice() {
    let dir = Dir::new("dying");
    let channel = dir.channel();
    let path = dir.0.join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    for round in 0..100 {
        let fifo = path.clone();
        let reader = std::thread::spawn(move || fs::File::open(fifo).expect("open"));
        let held = fs::File::create(dir.0.join("held")).expect("create");
        let mut child = other(&dir);
        let mut pipe = reader.join().expect("the reader");
        child.kill().expect("kill");
        assert_eq!(pipe.read(&mut [0; 8]).expect("read"), 0, "the end of the file");
        // Its end of the pipe is closed; the lock on its name may still be there.
        let guard = channel.lock().expect("guard");
        assert_eq!(guard.living(Role::Producer).expect("list"), 0, "round {round}");
        held.try_lock().expect("what the dead held is free");
        assert_eq!(guard.forget_dead().expect("forget"), 1);
        drop(guard);
        child.wait().expect("wait");
    }
}

#[test]
fn who_dies_after_the_look_is_not_forgotten_with_the_others() {
    let dir = Dir::new("look");
    let channel = dir.channel();
    let (mut first, mut second) = (other(&dir), other(&dir));
    first.kill().expect("kill");
    first.wait().expect("wait");
    let guard = channel.lock().expect("guard");
    let attached = guard.attached().expect("list");
    second.kill().expect("kill");
    second.wait().expect("wait");
    assert_eq!(guard.forget(&attached).expect("forget"), 1);
    let left = guard.attached().expect("list");
    assert_eq!(left.iter().map(|a| (a.pid, a.alive)).collect::<Vec<_>>(), [(second.id(), false)]);
    assert_eq!(guard.forget_dead().expect("forget"), 1);
}

#[test]
fn who_leaves_takes_its_name_along() {
    let dir = Dir::new("leave");
    let channel = dir.channel();
    let watch = channel.watch().expect("watch");
    let mut child = other(&dir);
    drop(child.stdin.take());
    until(&watch, || channel.lock().expect("guard").attached().expect("list").is_empty());
    child.wait().expect("wait");
    assert_eq!(fs::read_dir(&dir.0).expect("list").count(), 0);
}

#[test]
fn one_at_a_time_although_the_lock_file_comes_and_goes() {
    let dir = Dir::new("guard");
    let channel = dir.channel();
    let inside = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for _ in 0..500 {
                    let guard = channel.lock().expect("guard");
                    use std::sync::atomic::Ordering::SeqCst;
                    assert_eq!(inside.fetch_add(1, SeqCst), 0, "two hold the guard");
                    inside.fetch_sub(1, SeqCst);
                    // Nobody is attached: this removes the file that the others wait for.
                    drop(guard);
                }
            });
        }
    });
    assert_eq!(fs::read_dir(&dir.0).expect("list").count(), 0);
}

#[test]
fn the_guard_of_a_stopped_process_is_not_waited_for_for_ever() {
    let dir = Dir::new("stopped");
    let channel = dir.channel();
    let _held = channel.lock().expect("guard");
    assert_eq!(channel.lock().expect_err("held").kind(), ErrorKind::TimedOut);
}

#[test]
fn a_directory_that_others_may_use_is_refused() {
    let dir = Dir::new("open");
    for mode in [0o777, 0o710, 0o701, 0o704] {
        fs::set_permissions(&dir.0, fs::Permissions::from_mode(mode)).expect("chmod");
        let refused = Place::at(dir.0.clone()).expect_err("open to others");
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{mode:o}");
    }
    fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o700)).expect("chmod");
    let link = dir.0.join("link");
    symlink(&dir.0, &link).expect("link");
    assert_eq!(Place::at(link).expect_err("a link").kind(), ErrorKind::PermissionDenied);
    let file = dir.0.join("file");
    fs::write(&file, "").expect("write");
    assert!(Place::at(file).is_err());
}

#[test]
fn other_names_are_no_news() {
    let dir = Dir::new("news");
    let channel = dir.channel();
    let watch = channel.watch().expect("watch");
    for name in ["demo.other", "demo", "demo.kind2", "demo.kind.lock", "xdemo.kind"] {
        fs::write(dir.0.join(name), "").expect("write");
    }
    assert!(!watch.changed().expect("events"));
    fs::write(dir.0.join("demo.kind"), "").expect("write");
    assert!(watch.changed().expect("events"));
    assert!(!watch.changed().expect("events"), "news are news once");
}
