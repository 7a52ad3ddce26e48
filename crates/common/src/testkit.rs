//! What the tests of all pairs share: the real binaries as real processes, facts awaited with a deadline,
//! and a look at what is left behind.

use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;

pub mod contract;
pub mod large;
pub mod steps;
pub mod stranger;
pub mod survival;
pub mod waiting;

/// How long anything may take that is expected to happen. Long, because it is only waited out by a failure.
pub const SOON: Duration = Duration::from_secs(30);

/// The two binaries of a pair, in one variant.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// `env!("CARGO_BIN_EXE_…-producer")`
    pub producer: &'static str,
    /// `env!("CARGO_BIN_EXE_…-consumer")`
    pub consumer: &'static str,
    /// Further arguments of both sides, such as `--api posix`.
    pub both: &'static [&'static str],
    /// Further arguments of the producer.
    pub only_producer: &'static [&'static str],
    /// Further arguments of the consumer.
    pub only_consumer: &'static [&'static str],
}

/// A run-time directory and a channel name of the test's own. Dropping it fails the test if the processes
/// left anything behind.
#[derive(Debug)]
pub struct Sandbox {
    dir: PathBuf,
    name: String,
    user: Option<u32>,
    may_stay: Vec<String>,
    with_runtime_dir: bool,
    env: Vec<(String, String)>,
    port: u16,
}

impl Sandbox {
    /// A new one, for processes of this user.
    pub fn new() -> Sandbox {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // No name may be the beginning of another's: what is left behind is known by it.
        let name = format!("t{}-{:04}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let dir = std::env::temp_dir().join(format!("ipc-test-{name}"));
        fs::DirBuilder::new().mode(0o700).create(&dir).expect("make the sandbox");
        Sandbox {
            dir,
            name,
            user: None,
            may_stay: Vec::new(),
            with_runtime_dir: true,
            env: Vec::new(),
            port: free_port(),
        }
    }

    /// One whose processes run as `nobody` (uid 65534). Only root can make it; others get one of their own.
    pub fn as_nobody() -> Sandbox {
        let mut sandbox = Sandbox::new();
        if geteuid().is_root() {
            std::os::unix::fs::chown(&sandbox.dir, Some(65534), Some(65534)).expect("chown the sandbox");
            sandbox.user = Some(65534);
        }
        sandbox
    }

    /// The processes find no `XDG_RUNTIME_DIR`, and fall back on their private directory in /tmp.
    pub fn without_runtime_dir(mut self) -> Sandbox {
        self.with_runtime_dir = false;
        self
    }

    /// The processes find this environment variable.
    pub fn env(mut self, key: &str, value: &str) -> Sandbox {
        self.env.push((key.into(), value.into()));
        self
    }

    /// The channel's name, for `--name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory that the processes see as `XDG_RUNTIME_DIR`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A file of the test in the sandbox.
    pub fn file(&mut self, name: &str) -> PathBuf {
        self.may_stay(name);
        self.dir.join(name)
    }

    /// Allows a name to be there at the end.
    pub fn may_stay(&mut self, name: &str) {
        self.may_stay.push(name.into());
    }

    /// Starts a side of a pair: its arguments of the variant, `--name`, and `args`.
    pub fn producer(&self, pair: &Pair, args: &[&str]) -> Process {
        self.side(pair.producer, pair.both, pair.only_producer, args)
    }

    /// See [`Sandbox::producer`].
    pub fn consumer(&self, pair: &Pair, args: &[&str]) -> Process {
        self.side(pair.consumer, pair.both, pair.only_consumer, args)
    }

    fn side(&self, binary: &str, both: &[&str], own: &[&str], args: &[&str]) -> Process {
        let mut command = self.command(binary);
        command.args(self.args_of(both, own)).args(args);
        // `--name` first to come, so that a test can give another.
        if !args.iter().any(|a| a.starts_with("--name")) {
            command.args(["--name", &self.name]);
        }
        Process::spawn(command)
    }

    /// A variant's arguments, in which `{port}` stands for a TCP port of this sandbox's own.
    pub fn args_of(&self, both: &[&str], own: &[&str]) -> Vec<String> {
        both.iter().chain(own).map(|arg| arg.replace("{port}", &self.port.to_string())).collect()
    }

    /// A TCP port of this sandbox's own, at which nobody listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A command that sees this sandbox as its run-time directory, as the sandbox's user.
    pub fn command(&self, binary: impl AsRef<OsStr>) -> Command {
        let mut command = match self.user {
            None => Command::new(binary),
            Some(uid) => {
                // The build directory may be closed to others, so they get a copy.
                let binary = Path::new(binary.as_ref());
                for role in ["producer", "consumer"] {
                    // pipe-producer --anonymous starts the binary beside it.
                    let name = binary.file_name().and_then(OsStr::to_str).expect("a binary");
                    let Some((method, _)) = name.rsplit_once('-') else { continue };
                    let from = binary.with_file_name(format!("{method}-{role}"));
                    let to = self.copies().join(format!("{method}-{role}"));
                    if from.exists() && !to.exists() {
                        let part = to.with_extension("part");
                        fs::copy(&from, &part).expect("copy the binary");
                        fs::rename(part, to).expect("rename the copy");
                    }
                }
                let mut command = Command::new(self.copies().join(binary.file_name().expect("a binary")));
                command.uid(uid).gid(uid);
                command
            }
        };
        command.env_remove("XDG_RUNTIME_DIR").current_dir("/");
        if self.with_runtime_dir {
            command.env("XDG_RUNTIME_DIR", &self.dir);
        }
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        command
    }

    fn copies(&self) -> PathBuf {
        let dir = self.dir.with_extension("bin");
        let _ = fs::create_dir(&dir);
        let _ = fs::set_permissions(&dir, fs::Permissions::from_mode(0o755));
        dir
    }

    /// Where the processes go that find no `XDG_RUNTIME_DIR`.
    fn private_dir(&self) -> PathBuf {
        PathBuf::from(format!("/tmp/ipc-lab-{}", self.user.unwrap_or(geteuid().as_raw())))
    }

    /// What the processes left: names in their directory and in /dev/shm.
    pub fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        let private = self.private_dir();
        for dir in [self.dir.as_path(), &private, Path::new("/dev/shm"), Path::new("/dev/mqueue")] {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let ours = dir == self.dir || name.contains(&self.name);
                // A mapped file outlives its makers; that nothing else does is what is looked for.
                if ours && !name.ends_with(".map") && !self.may_stay.contains(&name) {
                    left.push(entry.path().display().to_string());
                }
            }
        }
        left
    }
}

/// A port below those that the kernel gives to clients, so that nobody gets it by chance meanwhile.
fn free_port() -> u16 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let n = std::process::id().wrapping_mul(61).wrapping_add(COUNT.fetch_add(1, Relaxed));
        let port = 10_000 + (n % 20_000) as u16;
        // A listener of our own would be inherited by whatever child another test starts at this moment, and
        // the port be in use until that child's exec. Nobody answers: the same, with nothing to inherit.
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            return port;
        }
    }
}

impl Default for Sandbox {
    fn default() -> Sandbox {
        Sandbox::new()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let left = self.left();
        // What outlives its makers does not outlive the test.
        let _ = fs::remove_file(self.private_dir().join(format!("{}.map", self.name)));
        let _ = fs::remove_dir_all(&self.dir);
        let _ = fs::remove_dir_all(self.dir.with_extension("bin"));
        if !std::thread::panicking() {
            assert!(left.is_empty(), "left behind: {left:?}");
        }
    }
}

/// What a process has printed on one of its streams.
#[derive(Clone, Debug, Default)]
struct Stream(Arc<(Mutex<Text>, Condvar)>);

#[derive(Debug, Default)]
struct Text {
    bytes: Vec<u8>,
    ended: bool,
}

impl Stream {
    /// One that is not ours to read.
    fn none() -> Stream {
        let stream = Stream::default();
        stream.0.0.lock().expect("text").ended = true;
        stream
    }

    fn follow(mut from: impl Read + Send + 'static) -> Stream {
        let stream = Stream::default();
        let writer = stream.clone();
        std::thread::spawn(move || {
            let mut piece = [0; 65536];
            loop {
                let n = from.read(&mut piece).unwrap_or(0);
                let mut text = writer.0.0.lock().expect("text");
                text.bytes.extend_from_slice(&piece[..n]);
                text.ended = n == 0;
                writer.0.1.notify_all();
                if n == 0 {
                    return;
                }
            }
        });
        stream
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.0.lock().expect("text").bytes).into_owned()
    }

    fn wait_until(&self, enough: impl Fn(&Text) -> bool, deadline: Instant) -> bool {
        let mut text = self.0.0.lock().expect("text");
        while !enough(&text) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || text.ended {
                return enough(&text);
            }
            text = self.0.1.wait_timeout(text, left).expect("text").0;
        }
        true
    }
}

/// A running process, killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    what: String,
    stdout: Stream,
    stderr: Stream,
}

/// How a process ended, and what it printed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The exit status; 128 + n if signal n killed it.
    pub code: i32,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error.
    pub stderr: String,
    /// The command, to be shown.
    pub what: String,
}

impl Process {
    /// Starts a command, following what it prints.
    pub fn spawn(mut command: Command) -> Process {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if command.get_program().to_string_lossy().contains("producer") {
            command.stdin(Stdio::null());
        }
        Process::follow(command)
    }

    /// The same with standard input and output as they are; only piped ones are followed.
    pub fn follow(mut command: Command) -> Process {
        let what = format!("{command:?}");
        let deadline = Instant::now() + SOON;
        let mut child = loop {
            match command.spawn() {
                Ok(child) => break child,
                // A child that another test is just starting still has the copy of the binary open for writing.
                Err(e) if e.kind() == ErrorKind::ExecutableFileBusy && Instant::now() < deadline => {}
                Err(e) => panic!("start {what}: {e}"),
            }
        };
        let stdout = child.stdout.take().map_or_else(Stream::none, Stream::follow);
        let stderr = child.stderr.take().map_or_else(Stream::none, Stream::follow);
        Process { child, what, stdout, stderr }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed on standard output up to now.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has printed on standard error up to now.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits until standard error contains `text`.
    pub fn wait_for_stderr(&self, text: &str) -> &Process {
        self.wait_for(&self.stderr, text)
    }

    /// Waits until standard output contains `text`.
    pub fn wait_for_stdout(&self, text: &str) -> &Process {
        self.wait_for(&self.stdout, text)
    }

    fn wait_for(&self, stream: &Stream, text: &str) -> &Process {
        let found = |t: &Text| String::from_utf8_lossy(&t.bytes).contains(text);
        if !stream.wait_until(found, Instant::now() + SOON) {
            panic!(
                "{text:?} did not come from {}:\n{}\n{}",
                self.what,
                self.stdout.text(),
                self.stderr.text()
            );
        }
        self
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> &Process {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("signal a child that was not waited for");
        self
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait for the child").is_none()
    }

    /// Waits for its end.
    pub fn end(self) -> Outcome {
        self.end_within(Duration::from_secs(90))
    }

    /// Waits for its end, which must come within `time`.
    pub fn end_within(mut self, time: Duration) -> Outcome {
        let deadline = Instant::now() + time;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait for the child") {
                break status;
            }
            if Instant::now() > deadline {
                panic!(
                    "no end of {} within {time:?}:\n{}\n{}",
                    self.what,
                    self.stdout.text(),
                    self.stderr.text()
                );
            }
            // Both streams end with the process, unless a child of its own holds them.
            self.stderr.wait_until(|t| t.ended, deadline.min(Instant::now() + Duration::from_millis(5)));
            std::thread::yield_now();
        };
        for stream in [&self.stdout, &self.stderr] {
            stream.wait_until(|t| t.ended, Instant::now() + Duration::from_secs(5));
        }
        Outcome {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
            what: std::mem::take(&mut self.what),
        }
    }

    /// CPU time and context switches up to now, of all its threads.
    pub fn usage(&self) -> Usage {
        let pid = self.child.id();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
        let ticks = |i: usize| fields[i].parse::<u64>().expect("a number");
        let (mut switches, mut sleeps) = (0, 0);
        for task in fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten() {
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            for line in status.lines().filter(|l| l.contains("ctxt_switches")) {
                let count = line.rsplit('\t').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
                switches += count;
                sleeps += if line.starts_with("voluntary") { count } else { 0 };
            }
        }
        // USER_HZ is 100 on every architecture that Linux still has.
        Usage { cpu: Duration::from_millis(10 * (ticks(11) + ticks(12))), switches, sleeps }
    }

    /// Whether it has a handler for a signal.
    pub fn catches(&self, signal: Signal) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let mask = status.lines().find_map(|l| l.strip_prefix("SigCgt:"));
        let mask = mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok()).unwrap_or(0);
        mask >> (signal as i32 - 1) & 1 == 1
    }

    /// Whether it was stopped (SIGSTOP) and has come to a halt.
    pub fn is_stopped(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        status.lines().any(|l| l.starts_with("State:\tT"))
    }

    /// The largest resident memory up to now, in KiB, without pages of shared mappings.
    pub fn private_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let kib = |key: &str| {
            let line = status.lines().find(|l| l.starts_with(key)).unwrap_or("");
            line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
        };
        kib("RssAnon:") + kib("RssFile:").min(16 * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// See [`Process::usage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// User and system time.
    pub cpu: Duration,
    /// Voluntary and involuntary context switches.
    pub switches: u64,
    /// The voluntary ones: it had to wait.
    pub sleeps: u64,
}

impl Outcome {
    /// Fails the test unless the exit status is `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Outcome {
        assert_eq!(self.code, code, "exit status of {}\n{}\n{}", self.what, self.stdout, self.stderr);
        self
    }

    /// Fails the test unless standard error contains `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Outcome {
        assert!(self.stderr.contains(text), "{text:?} is missing from {}:\n{}", self.what, self.stderr);
        self
    }

    /// The JSON object, which must be the last line of standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line)
            .unwrap_or_else(|e| panic!("{e}: {line:?} from {}\n{}", self.what, self.stderr))
    }

    /// A number of the JSON object.
    #[track_caller]
    pub fn number(&self, key: &str) -> u64 {
        self.json()[key].as_u64().unwrap_or_else(|| panic!("{key} in {}", self.json()))
    }

    /// Fails the test unless the consumer got `items` items, all intact, once and in order.
    #[track_caller]
    pub fn all_well(&self, items: u64) {
        let json = self.json();
        for (key, want) in [
            ("items", items),
            ("lost", 0),
            ("gaps", 0),
            ("duplicated", 0),
            ("reordered", 0),
            ("corrupted", 0),
        ] {
            assert_eq!(json[key], want, "{key} in {json}\n{}", self.stderr);
        }
    }

    /// As [`Outcome::all_well`], where Ctrl-C ended a producer that had `sent` items: a remote call that it cuts
    /// short may have run, and its client does not count it.
    #[track_caller]
    pub fn all_well_when_cut(&self, sent: u64) {
        let items = self.number("items");
        let unknown = u64::from(self.json()["method"] == "rpc");
        assert!((sent..=sent + unknown).contains(&items), "{items} items of {sent}\n{}", self.stderr);
        self.all_well(items);
    }
}
