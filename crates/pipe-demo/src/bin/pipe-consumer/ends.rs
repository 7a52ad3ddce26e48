//! `--anonymous`: which end of the pipe this process keeps, and which it has closed.

use std::os::fd::OwnedFd;

use anyhow::Result;
use pipe_demo::leak;

/// The child's half; the parent tells its own.
pub fn of_the_child(pipe: &OwnedFd) -> Result<String> {
    let child = std::process::id();
    // Not what should be so, but what is: the list of this process's descriptors, as the kernel has it.
    let ends = leak::ends(child, pipe)?;
    let read = ends.read.first().map_or("none".into(), i32::to_string);
    Ok(match ends.write.first() {
        None => format!("child {child} keeps the read end (descriptor {read}), and has closed the write end"),
        Some(write) => format!(
            "child {child} keeps the read end (descriptor {read}), and a write end (descriptor {write}) that \
             it never closes (drop --leak-write-end)"
        ),
    })
}
