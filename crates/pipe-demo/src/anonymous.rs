//! Unnamed pipe: parent and child share it because the child inherits it.
//!
//! ```text
//!   parent  pipe() -> [read end] [write end]
//!             | starts the child, whose standard input is the read end
//!             | closes its own read end                child: read(0)
//!             +--- write(write end) ------------------>
//! ```
//!
//! Each side closes the end that it does not use. If the parent kept the read end, its writes would never
//! fail when the child dies; if the child kept the write end, its reads would never see the end of the file.
//!
//! Guarantees: nobody else can open it; it ends with its last process.
//! Limits: only for processes that descend from one another; one direction.
//!
//! System calls: pipe2, fork, dup2, execve, waitpid; see pipe(2); Kerrisk, *The Linux Programming Interface*,
//! ch. 44.3.

use std::io;
use std::os::fd::AsFd;
use std::process::{Child, Command};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::frame::FrameWriter;
use crate::frame_reader::FrameReader;

/// Starts `command` with the read end of a new pipe as its standard input.
///
/// # Errors
/// When there are no descriptors left, or the program cannot be started.
pub fn spawn(mut command: Command) -> io::Result<(Child, FrameWriter)> {
    let (read_end, write_end) = io::pipe()?;
    // Both ends are close-on-exec: the child gets the copy at descriptor 0, and no write end.
    let child = command.stdin(read_end).spawn()?;
    // `command` owns our copy of the read end, and closes it here. While it was open, our writes would not
    // fail after the child's death, but wait for ever.
    drop(command);
    Ok((child, FrameWriter::new(write_end.into())))
}

/// The child's side: the pipe is its standard input.
///
/// # Errors
/// When there are no descriptors left.
pub fn inherited() -> io::Result<FrameReader> {
    Ok(FrameReader::new(io::stdin().as_fd().try_clone_to_owned()?))
}

/// Waits for the child's end; its exit status, 128 + n if signal n killed it.
///
/// # Errors
/// `Interrupted` by a signal (std's `Child::wait` would go on waiting).
pub fn wait(child: &mut Child) -> io::Result<u8> {
    match waitpid(pid(child), None)? {
        WaitStatus::Signaled(_, signal, _) => Ok(128 + signal as u8),
        WaitStatus::Exited(_, status) => Ok(status as u8),
        // Without WUNTRACED and ptrace there are no others.
        _ => Err(io::ErrorKind::Interrupted.into()),
    }
}

/// Ends the child, which the parent must not leave running: asks with `signal` first, and after half a
/// second with SIGKILL. Its exit status.
///
/// # Errors
/// When it has been waited for already.
pub fn end(child: &mut Child, signal: Option<Signal>) -> io::Result<u8> {
    let signal = signal.unwrap_or(Signal::SIGTERM);
    for attempt in 0..100 {
        if let Some(status) = child.try_wait()? {
            use std::os::unix::process::ExitStatusExt;
            return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)) as u8);
        }
        // Not waited for, so its pid is still its own.
        let _ = kill(pid(child), if attempt < 50 { signal } else { Signal::SIGKILL });
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id() as i32)
}
