//! The forgotten write end: why a reader waits for ever, and who is to blame.
//!
//! ```text
//!   parent  [write end] closed                child  0: [read end]   read() waits for the end of the file
//!                                                    5: [write end]  inherited, forgotten, open
//! ```
//!
//! A reader finds the end of the file when the *last* descriptor of the write end is closed, in whatever
//! process. Here it is the reader's own, so it waits for itself. In `anonymous.rs` the ends are close-on-exec.
//!
//! System calls: dup, fork, execve; see pipe(7), fcntl(2) (`FD_CLOEXEC`), and proc(5) for `/proc/PID/fd` and
//! `/proc/PID/fdinfo`.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command};

use crate::frame::FrameWriter;

/// As [`crate::anonymous::spawn`], but the child inherits a write end too.
///
/// # Errors
/// When there are no descriptors left, or the program cannot be started.
pub fn spawn(mut command: Command) -> io::Result<(Child, FrameWriter)> {
    let (read_end, write_end) = io::pipe()?;
    // The mistake: what dup(2) makes is not close-on-exec, so the child keeps it.
    let forgotten = nix::unistd::dup(&write_end)?;
    let child = command.stdin(read_end).spawn()?;
    drop(forgotten);
    drop(command);
    Ok((child, FrameWriter::new(write_end.into())))
}

/// The processes (of this user) that hold a write end of `pipe`.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn holders(pipe: &impl AsFd) -> io::Result<Vec<u32>> {
    let pipe = File::from(pipe.as_fd().try_clone_to_owned()?).metadata()?;
    let mut holders = Vec::new();
    for process in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // Processes end while we look, and others' descriptors are none of our business.
        let mut descriptors = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let holds = descriptors.any(|fd| {
            let same = fs::metadata(fd.path()).is_ok_and(|m| (m.dev(), m.ino()) == (pipe.dev(), pipe.ino()));
            same && is_writable(&process.path().join("fdinfo").join(fd.file_name()))
        });
        if holds {
            holders.push(pid);
        }
    }
    Ok(holders)
}

/// The last octal digit of `flags:` has the access mode: 0 reads, 1 writes, 2 does both.
fn is_writable(info: &std::path::Path) -> bool {
    let info = fs::read_to_string(info).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|f| i32::from_str_radix(f.trim(), 8).ok()).is_some_and(|f| f & 0o3 != 0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_writer_is_found_and_the_reader_is_not() {
        let (reader, writer) = std::io::pipe().expect("pipe");
        assert_eq!(super::holders(&reader).expect("look"), [std::process::id()]);
        drop(writer);
        assert!(super::holders(&reader).expect("look").is_empty());
    }
}
