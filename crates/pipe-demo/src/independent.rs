//! Processes are independent: one address, two processes, two values.
//!
//! ```text
//!   before fork():   parent   variable at 0x7ffc…e8 = 0
//!   after it:        parent   variable at 0x7ffc…e8 = 1      child   variable at 0x7ffc…e8 = 2
//! ```
//!
//! An address means something within one process only: the kernel gives the child a copy of the parent's
//! memory (page by page, when one of them writes). So the parent cannot see what the child stored. What the
//! child finds it has to tell through the kernel, by a pipe.
//!
//! System calls: fork, pipe2, read, write, waitpid; see fork(2).

use std::io::{self, Read, Write};

use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};

/// What a process found at the variable's address after both had written there.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The process.
    pub pid: u32,
    /// Where the variable is.
    pub address: usize,
    /// What the process wrote there.
    pub wrote: u64,
    /// What it found there afterwards.
    pub found: u64,
}

impl Seen {
    fn words(self) -> [u64; 4] {
        [self.pid.into(), self.address as u64, self.wrote, self.found]
    }

    fn of([pid, address, wrote, found]: [u64; 4]) -> Seen {
        Seen { pid: pid as u32, address: address as usize, wrote, found }
    }
}

/// Forks a child; both write the variable and look what they find. The parent's and the child's findings.
/// To be called while the process has one thread.
///
/// # Errors
/// When there is no process or no descriptor left.
pub fn show() -> io::Result<[Seen; 2]> {
    let mut variable: u64 = 0;
    let variable = &raw mut variable;
    let (mut from_child, mut to_parent) = io::pipe()?;
    let look = |wrote| {
        // SAFETY: the pointer is to this function's own variable, of which each process has its own copy; the
        // other process cannot reach it. Volatile, because the compiler may not assume what is shown here.
        let found = unsafe { variable.read_volatile() };
        Seen { pid: std::process::id(), address: variable.addr(), wrote, found }
    };
    let write = |value| {
        // SAFETY: as above.
        unsafe { variable.write_volatile(value) }
    };
    // SAFETY: the child calls only what is allowed after a fork even if there were other threads: it writes to
    // a pipe, and ends by `_exit`.
    match unsafe { fork() }? {
        ForkResult::Child => {
            write(2);
            let seen = look(2);
            let told = to_parent.write_all(seen.words().map(u64::to_ne_bytes).as_flattened());
            // SAFETY: ends the process without running what the parent has registered for its own end.
            unsafe { nix::libc::_exit(i32::from(told.is_err())) }
        }
        ForkResult::Parent { child } => {
            drop(to_parent);
            write(1);
            let mut words = [[0; 8]; 4];
            from_child.read_exact(words.as_flattened_mut())?;
            waitpid(child, None)?;
            Ok([look(1), Seen::of(words.map(u64::from_ne_bytes))])
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_process_sees_its_own() {
        let [parent, child] = super::show().expect("fork");
        assert_ne!(parent.pid, child.pid);
        assert_eq!(parent.address, child.address);
        assert_eq!((parent.found, child.found), (1, 2));
    }
}
