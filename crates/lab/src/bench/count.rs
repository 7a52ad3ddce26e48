//! How many system calls a program makes: a process that runs it and counts, so that nothing need be installed.
//!
//! ```text
//! bench ── starts ──> bench-part count ── starts, counts ──> pipe-producer (all threads)
//!   ^                        |
//!   └── {"system_calls": …} ─┘
//! ```
//!
//! By the kernel's tracepoint where that is allowed. Else under ptrace(2), as `strace -c -f` does it: each call
//! then stops the program twice, which takes some hundred times what the call itself takes. A count that
//! depends on which side is faster is another one then.

use std::collections::HashSet;
use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::bench::before;
use crate::bench::tracepoint::Counter;
use crate::stop;

/// Who counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Means {
    /// The kernel, by perf_event_open, which lengthens each call a little; needs root
    Tracepoint,
    /// This program, by ptrace, which slows each call a hundredfold
    Ptrace,
}

impl Means {
    /// The best that this machine allows.
    pub fn best() -> Means {
        if Counter::of_children().is_ok() { Means::Tracepoint } else { Means::Ptrace }
    }

    /// As it is said on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Means::Tracepoint => "tracepoint",
            Means::Ptrace => "ptrace",
        }
    }
}

/// How it begins when this machine does not let us count, by which the bench knows it.
pub const REFUSED: &str = "error: counting is refused here";

/// Runs a program to its end, prints how many system calls it made, and ends with its status.
///
/// # Errors
/// When it cannot be started.
pub fn count(means: Means, program: &[OsString]) -> Result<bool> {
    let mut command = Command::new(&program[0]);
    command.args(&program[1..]);
    let mut counter = None;
    match means {
        Means::Tracepoint => match Counter::of_children() {
            Ok(zero) => counter = Some(zero),
            Err(e) => {
                eprintln!("{REFUSED}: {e:#}");
                return Ok(false);
            }
        },
        Means::Ptrace => before::traced(&mut command),
    }
    let main = match command.spawn() {
        Ok(child) => Pid::from_raw(child.id() as i32),
        // By Yama, by a container's filter, or because it is traced already.
        Err(e) if means == Means::Ptrace && e.raw_os_error() == Some(Errno::EPERM as i32) => {
            eprintln!("{REFUSED}: ptrace: {e}");
            return Ok(false);
        }
        Err(e) => return Err(e).with_context(|| format!("start {}", program[0].display())),
    };
    // What asks us for the end is passed on; the program ends as it always does, and we with it.
    std::thread::spawn(move || {
        while stop::check().is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
        kill(main, Signal::SIGTERM)
    });
    let (calls, status) = match &mut counter {
        Some(counter) => {
            let status = end_of(main)?;
            (counter.read().context("read the counter")?, status)
        }
        None => trace(main)?,
    };
    println!("{{\"system_calls\":{calls}}}");
    std::process::exit(status);
}

/// Waits for the program to end: its status.
fn end_of(main: Pid) -> Result<i32> {
    loop {
        match waitpid(main, None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(128 + signal as i32),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e).context("wait for the program"),
        }
    }
}

/// Follows a program that has just been started, and all of its threads and children: how many system calls
/// they have made in all, and how it ended.
fn trace(main: Pid) -> Result<(u64, i32)> {
    match waitpid(main, None)? {
        WaitStatus::Stopped(..) => {}
        other => bail!("the program did not stop at its first instruction: {other:?}"),
    }
    let follow = Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK;
    let told_apart = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC;
    ptrace::setoptions(main, follow | told_apart | Options::PTRACE_O_EXITKILL)?;
    go_on(main, None)?;

    let (mut known, mut inside) = (HashSet::from([main]), HashSet::new());
    let (mut calls, mut status) = (0, 1);
    loop {
        match waitpid(None, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::PtraceSyscall(thread)) => {
                // It stops on the way in and on the way out.
                if inside.insert(thread) {
                    calls += 1;
                } else {
                    inside.remove(&thread);
                }
                go_on(thread, None)?;
            }
            Ok(WaitStatus::PtraceEvent(thread, ..)) => go_on(thread, None)?,
            Ok(WaitStatus::Stopped(thread, signal)) => {
                // A new thread begins with a stop, which is for us; any other signal is for the program.
                let for_us = known.insert(thread) && signal == Signal::SIGSTOP;
                go_on(thread, (!for_us).then_some(signal))?;
            }
            Ok(WaitStatus::Exited(thread, code)) => {
                inside.remove(&thread);
                status = if thread == main { code } else { status };
            }
            Ok(WaitStatus::Signaled(thread, signal, _)) => {
                inside.remove(&thread);
                status = if thread == main { 128 + signal as i32 } else { status };
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Ok((calls, status)),
            Err(e) => return Err(e).context("wait for the program"),
        }
    }
}

/// Lets a stopped thread run to its next stop; it may have been killed meanwhile.
fn go_on(thread: Pid, signal: Option<Signal>) -> Result<()> {
    match ptrace::syscall(thread, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(e) => Err(e).context("continue the program"),
    }
}
