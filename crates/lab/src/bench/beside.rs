//! What a large file's rows stand beside: other people's programs, which carry the same bytes by the same means,
//! and memcpy, which carries them by none.
//!
//! ```text
//! cat       cat FILE | cat >/dev/null
//! socat     socat -u -b 1048576 UNIX-LISTEN:s OPEN:/dev/null    socat -u -b 1048576 OPEN:FILE UNIX-CONNECT:s
//! iperf3    iperf3 -s -1                                        iperf3 -c 127.0.0.1 -F FILE -l 1M
//! memcpy    1 MiB after the other, between two pieces of memory that are larger than the caches
//! ```
//!
//! They, too, read the file from the page cache and throw away what arrives; unlike ours they do not check it. What
//! they take for an empty file, to start and to end, is subtracted; `iperf3` has a clock of its own.

use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;

use crate::bench::before;
use crate::bench::floor::{MEMORY, copy_bytes_per_s};
use crate::bench::payload::{CHUNK, Payload};
use crate::stage::{free_port, private_dir};
use crate::stop;

/// More than a minute for a file that takes a second.
const LIMIT: Duration = Duration::from_secs(90);

/// What is beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Two of them, and a pipe.
    Cat,
    /// Two of them, and a Unix socket.
    Socat,
    /// Two of them, and a TCP connection on the loopback.
    Iperf3,
    /// No program at all.
    Memcpy,
}

impl Beside {
    /// As it stands in the table.
    pub fn name(self) -> &'static str {
        match self {
            Beside::Cat => "cat | cat",
            Beside::Socat => "socat",
            Beside::Iperf3 => "iperf3",
            Beside::Memcpy => "memcpy",
        }
    }

    /// How long it takes for [`CHUNK`] of the file, in nanoseconds.
    ///
    /// # Errors
    /// When it is not installed, or fails; [`Stopped`](crate::stop::Stopped).
    pub fn measure(self, file: Option<&Payload>, pin: Option<[usize; 2]>) -> Result<f64> {
        let whole = |programs: &dyn Fn(&str) -> Result<Duration>| -> Result<f64> {
            let file = file.context("there is no file")?;
            let empty = programs("/dev/null")?;
            Ok(programs(&file.path())?.saturating_sub(empty).as_nanos() as f64 / file.items() as f64)
        };
        match self {
            Beside::Cat => whole(&|file| cat(file, pin)),
            Beside::Socat => whole(&|file| socat(file, pin)),
            Beside::Iperf3 => {
                let file = file.context("there is no file")?;
                Ok(CHUNK as f64 / iperf3(&file.path(), pin)? * 1e9)
            }
            Beside::Memcpy => {
                let pinned = || pin.map_or(Ok(()), |[cpu, _]| before::pin_this_thread(cpu)).context("pin");
                // A thread of its own, so that pinning ends with it.
                let copied = || pinned().map(|()| copy_bytes_per_s(MEMORY, CHUNK));
                let rate = std::thread::scope(|threads| {
                    threads.spawn(copied).join().expect("a measurement does not panic")
                });
                Ok(CHUNK as f64 / rate? * 1e9)
            }
        }
    }
}

fn cat(file: &str, pin: Option<[usize; 2]>) -> Result<Duration> {
    let (reader, writer) = io::pipe()?;
    let mut programs = Programs::new()?;
    let start = Instant::now();
    programs.start("cat", &[file], pin.map(|[cpu, _]| cpu), |cat| cat.stdout(writer))?;
    programs.start("cat", &[], pin.map(|[_, cpu]| cpu), |cat| cat.stdin(reader))?;
    programs.end()?;
    Ok(start.elapsed())
}

fn socat(file: &str, pin: Option<[usize; 2]>) -> Result<Duration> {
    let dir = private_dir()?;
    let socket = dir.path().join("s");
    let at = socket.display();
    let (listen, connect) = (format!("UNIX-LISTEN:{at}"), format!("UNIX-CONNECT:{at}"));
    // Its own default of 8 KiB would make it wait more often.
    let shape = ["-u", "-b", "1048576"];
    let mut programs = Programs::new()?;
    let args = [&shape[..], &[&listen, "OPEN:/dev/null,wronly"]].concat();
    programs.start("socat", &args, pin.map(|[_, cpu]| cpu), |plain| plain)?;
    programs.until(|| listens("/proc/net/unix", "00010000", &at.to_string()))?;
    let start = Instant::now();
    let open = format!("OPEN:{file},rdonly");
    let args = [&shape[..], &[&open, &connect]].concat();
    programs.start("socat", &args, pin.map(|[cpu, _]| cpu), |plain| plain)?;
    programs.end()?;
    Ok(start.elapsed())
}

/// Bytes a second, by its own clock.
fn iperf3(file: &str, pin: Option<[usize; 2]>) -> Result<f64> {
    let port = free_port();
    let shown = port.to_string();
    let mut programs = Programs::new()?;
    let args = ["-s", "-1", "-B", "127.0.0.1", "-p", &shown];
    programs.start("iperf3", &args, pin.map(|[_, cpu]| cpu), |plain| plain)?;
    programs.until(|| listens("/proc/net/tcp", "0A", &format!(":{port:04X}")))?;
    let args = ["-c", "127.0.0.1", "-p", &shown, "-F", file, "-l", "1M", "-J"];
    let theirs = programs.ear()?;
    programs.start("iperf3", &args, pin.map(|[cpu, _]| cpu), |client| client.stdout(theirs))?;
    let said = programs.end()?;
    let report: Value = serde_json::from_str(&said).with_context(|| format!("iperf3: {said}"))?;
    let received = &report["end"]["sum_received"]["bits_per_second"];
    Ok(received.as_f64().with_context(|| format!("iperf3: {}", report["error"]))? / 8.0)
}

/// Whether that table of the kernel's has a line whose fourth column says so, for that address.
fn listens(table: &str, state: &str, address: &str) -> bool {
    let table = fs::read_to_string(table).unwrap_or_default();
    table.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(3) == Some(&state) && fields.iter().any(|field| field.ends_with(address))
    })
}

/// Running programs; those that still run when this is dropped are killed.
struct Programs {
    children: Vec<(&'static str, Child)>,
    /// What they say. It ends when they do, and when nobody else could say anything.
    said: PipeReader,
    said_by: Option<PipeWriter>,
}

impl Programs {
    fn new() -> Result<Programs> {
        let (said, said_by) = io::pipe()?;
        Ok(Programs { children: Vec::new(), said, said_by: Some(said_by) })
    }

    /// What is said there, is said to us.
    fn ear(&self) -> Result<PipeWriter> {
        Ok(self.said_by.as_ref().context("nobody is to start any more")?.try_clone()?)
    }

    fn start(
        &mut self,
        name: &'static str,
        args: &[&str],
        cpu: Option<usize>,
        shape: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Result<()> {
        let mut command = Command::new(name);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(self.ear()?);
        shape(&mut command);
        cpu.map_or(Ok(()), |cpu| before::pinned(&mut command, cpu)).context("pin")?;
        let child = match command.spawn() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => bail!("{name} is not installed"),
            child => child.with_context(|| format!("start {name}"))?,
        };
        self.children.push((name, child));
        Ok(())
    }

    /// Waits until it is so, for what was started last.
    fn until(&mut self, so: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while !so() {
            stop::check()?;
            let (name, child) = self.children.last_mut().context("nothing was started")?;
            ensure!(child.try_wait()?.is_none() && Instant::now() < deadline, "{name} does not listen");
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Waits for the end of all: what they have said.
    fn end(mut self) -> Result<String> {
        self.said_by = None;
        let (mut output, deadline) = (Vec::new(), Instant::now() + LIMIT);
        loop {
            stop::check()?;
            ensure!(Instant::now() < deadline, "{} does not end", self.children[0].0);
            let mut ready = [PollFd::new(self.said.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, PollTimeout::from(50u8)) {
                Ok(0) | Err(nix::Error::EINTR) => continue,
                polled => polled?,
            };
            let mut piece = [0; 4096];
            match self.said.read(&mut piece)? {
                0 => break,
                n => output.extend_from_slice(&piece[..n]),
            }
        }
        let output = String::from_utf8_lossy(&output).into_owned();
        for (name, child) in &mut self.children {
            let said: Vec<_> = output.split_whitespace().collect();
            ensure!(child.wait()?.success(), "{name} failed: {}", said.join(" "));
        }
        Ok(output)
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        for (_, child) in &mut self.children {
            // They have nothing to clean up, and most have been waited for.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
