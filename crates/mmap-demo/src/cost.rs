//! What mapping a file costs the process that touches it: page faults, and memory of its own.
//!
//! ```text
//!   first touch of a page:   minor fault   it is in the page cache: only the page table is filled in
//!                            major fault   it has to be read from the device first
//!   resident memory:         private       this process's own: heap, stack, copies (RssAnon)
//!                            the rest      pages of files, in memory once for all who map them
//! ```
//!
//! A mapping itself costs nothing, however long it is. Its pages count as resident memory once they were
//! touched, and are given back when others need the room, because the file has them.
//!
//! System calls: getrusage; see getrusage(2), and proc(5) for `/proc/PID/status`.

use std::fmt;
use std::fs;
use std::io;

use nix::sys::resource::{UsageWho, getrusage};

/// What this process has cost up to now.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Page faults that needed no I/O.
    pub minor_faults: u64,
    /// Page faults that waited for the device.
    pub major_faults: u64,
    /// The most that was resident at a time, in KiB: pages of files too.
    pub resident_max_kib: u64,
    /// What is this process's own now, in KiB.
    pub private_kib: u64,
}

impl Cost {
    /// Looks at the counters of this process.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn now() -> io::Result<Cost> {
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let status = fs::read_to_string("/proc/self/status")?;
        let kib = |key| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        Ok(Cost {
            minor_faults: usage.minor_page_faults() as u64,
            major_faults: usage.major_page_faults() as u64,
            // Not ru_maxrss: that begins with what the process had before execve, which is the shell's.
            resident_max_kib: kib("VmHWM:"),
            private_kib: kib("RssAnon:"),
        })
    }
}

impl Cost {
    /// The same as names and values, for a program to read.
    pub fn figures(&self) -> [(&'static str, u64); 4] {
        [
            ("page_faults_minor", self.minor_faults),
            ("page_faults_major", self.major_faults),
            ("resident_max_kib", self.resident_max_kib),
            ("private_kib", self.private_kib),
        ]
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |kib: u64| kib as f64 / 1024.0;
        write!(
            f,
            "memory: {:.1} MiB of its own, at most {:.1} MiB resident; page faults: {} minor, {} major",
            mib(self.private_kib),
            mib(self.resident_max_kib),
            self.minor_faults,
            self.major_faults
        )
    }
}
