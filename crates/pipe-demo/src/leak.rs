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
use std::path::Path;
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
    let mut holders = Vec::new();
    for process in fs::read_dir("/proc")?.flatten() {
        let pid = process.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(pid) = pid
            && !ends(pid, pipe)?.write.is_empty()
        {
            holders.push(pid);
        }
    }
    Ok(holders)
}

/// A process's descriptors of one pipe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Those of the read end, in order.
    pub read: Vec<i32>,
    /// Those of the write end, in order.
    pub write: Vec<i32>,
}

/// Which ends of `pipe` process `pid` holds; none if it has ended or belongs to somebody else.
///
/// # Errors
/// When there are no descriptors left.
pub fn ends(pid: u32, pipe: &impl AsFd) -> io::Result<Ends> {
    let pipe = File::from(pipe.as_fd().try_clone_to_owned()?).metadata()?;
    let process = Path::new("/proc").join(pid.to_string());
    let mut ends = Ends::default();
    // Processes end while we look, and others' descriptors are none of our business.
    for fd in fs::read_dir(process.join("fd")).into_iter().flatten().flatten() {
        let same = fs::metadata(fd.path()).is_ok_and(|m| (m.dev(), m.ino()) == (pipe.dev(), pipe.ino()));
        if same && let Some(number) = fd.file_name().to_str().and_then(|name| name.parse().ok()) {
            let writable = is_writable(&process.join("fdinfo").join(fd.file_name()));
            if writable { &mut ends.write } else { &mut ends.read }.push(number);
        }
    }
    ends.read.sort_unstable();
    ends.write.sort_unstable();
    Ok(ends)
}

/// The last octal digit of `flags:` has the access mode: 0 reads, 1 writes, 2 does both.
fn is_writable(info: &Path) -> bool {
    let info = fs::read_to_string(info).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|f| i32::from_str_radix(f.trim(), 8).ok()).is_some_and(|f| f & 0o3 != 0)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    #[test]
    fn the_writer_is_found_and_the_reader_is_not() {
        let (reader, writer) = std::io::pipe().expect("pipe");
        assert_eq!(super::holders(&reader).expect("look"), [std::process::id()]);
        let ends = super::Ends { read: vec![reader.as_raw_fd()], write: vec![writer.as_raw_fd()] };
        assert_eq!(super::ends(std::process::id(), &writer).expect("look"), ends);
        drop(writer);
        assert!(super::holders(&reader).expect("look").is_empty());
    }
}
