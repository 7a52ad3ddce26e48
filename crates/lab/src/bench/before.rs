//! What a child does after fork and before exec: it sits down on a CPU, or asks to be traced.

#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::ptrace;
use nix::unistd::Pid;

/// All of the command's threads will run on this CPU alone.
///
/// # Errors
/// When there is no such CPU.
pub fn pinned(command: &mut Command, cpu: usize) -> io::Result<()> {
    let set = one(cpu)?;
    // SAFETY: between fork and exec the child makes one system call on memory of its own; nothing there
    // allocates or takes a lock that another thread of ours may have held at the fork.
    unsafe { command.pre_exec(move || Ok(sched_setaffinity(Pid::from_raw(0), &set)?)) };
    Ok(())
}

/// The command will be traced by the thread that starts it, and stops at once.
pub fn traced(command: &mut Command) {
    // SAFETY: between fork and exec the child makes one system call that touches no memory.
    unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) };
}

/// This thread alone goes to a CPU.
pub fn pin_this_thread(cpu: usize) -> io::Result<()> {
    Ok(sched_setaffinity(Pid::from_raw(0), &one(cpu)?)?)
}

/// The CPUs that this process may use.
pub fn allowed() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu) == Ok(true)).collect())
}

fn one(cpu: usize) -> io::Result<CpuSet> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(set)
}
