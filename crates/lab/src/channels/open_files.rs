//! What another process has open, looked at without opening it.
//!
//! To open a FIFO is to be a reader or a writer of it: a producer that waits in open(2) for a reader would go
//! on and write for nobody, and a consumer would not see the end while we are there. `/proc/PID/fd/N` is no
//! way around that, because opening it opens the FIFO anew. pidfd_getfd(2) does not: it gives us one more
//! descriptor of what that process has opened already, and we close it a few microseconds later.
//!
//! It needs the right to trace that process. Its owner has that, unless the kernel reserves it for parents and
//! root (`kernel.yama.ptrace_scope` 1, as on Ubuntu): then there is no harmless way, and we say so.
//!
//! System calls: pidfd_open, pidfd_getfd, ioctl (`FIONREAD`), fcntl (`F_GETPIPE_SZ`); see also proc_pid_fd(5).

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::sys::stat::{FileStat, fstat};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::places::as_ourselves;

/// A descriptor of another process.
#[derive(Debug)]
pub struct OpenFile {
    /// The process.
    pub pid: u32,
    /// Its number there.
    pub fd: i32,
    /// What `/proc` shows: a path, or `socket:[4711]`.
    pub link: PathBuf,
}

/// What a process has open; nothing if it may not be seen.
pub fn of(pid: u32) -> Vec<OpenFile> {
    // Only names and links are read, so root may do it as root.
    as_ourselves(|| {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let open = entries.filter_map(|entry| {
            let fd = entry.file_name().to_str()?.parse().ok()?;
            Some(OpenFile { pid, fd, link: fs::read_link(entry.path()).ok()? })
        });
        open.collect()
    })
}

/// Which process has a socket open, by the number that the kernel gives it.
pub fn owner_of_socket(inode: &str) -> Option<u32> {
    let link = PathBuf::from(format!("socket:[{inode}]"));
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids = processes.filter_map(|p| p.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| of(*pid).iter().any(|file| file.link == link))
}

/// Paths that a process may have opened: of its descriptors, and of its arguments. (A file that was created
/// without a name has none in `/proc`, though it was given one later.)
pub fn paths(pid: u32) -> Vec<PathBuf> {
    let mut paths: Vec<_> = of(pid).into_iter().map(|file| file.link).filter(|p| p.is_absolute()).collect();
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let cwd = as_ourselves(|| fs::read_link(proc.join("cwd"))).unwrap_or_default();
    let arguments = as_ourselves(|| fs::read(proc.join("cmdline"))).unwrap_or_default();
    let arguments = arguments.split(|byte| *byte == 0).filter(|a| !a.is_empty());
    let values = arguments.map(|a| a.strip_prefix(b"--file=").unwrap_or(a));
    paths.extend(values.map(|a| cwd.join(OsStr::from_bytes(a))));
    paths
}

/// A descriptor of our own for what a process has opened, to be closed at once; and what it is.
///
/// # Errors
/// `PermissionDenied` if that process may not be traced.
pub fn borrow(file: &OpenFile) -> io::Result<(OwnedFd, FileStat)> {
    let pid = i32::try_from(file.pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    // With all rights that we have: its number means nothing before we have looked what came.
    let fd = as_ourselves(|| pidfd_getfd(&process, file.fd, PidfdGetfdFlags::empty()))?;
    let stat = fstat(&fd)?;
    Ok((fd, stat))
}

/// Why [`borrow`] failed, for a user.
pub fn explain(e: &io::Error) -> String {
    if e.kind() == io::ErrorKind::PermissionDenied {
        "only root may look into another process here (kernel.yama.ptrace_scope): sudo ipc-lab ps".into()
    } else {
        e.to_string()
    }
}
