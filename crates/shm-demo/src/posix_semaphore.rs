//! A semaphore that several processes share: a counter that nobody can take below zero.
//!
//! [`Semaphore::wait`] takes one, and sleeps while there is none; [`Semaphore::post`] gives one, and wakes
//! somebody. glibc makes both of an atomic instruction, and of a futex call only when somebody sleeps.
//!
//! It is bytes in the object like any others; glibc trusts them, so who scribbles over them can make a
//! process sleep, wake or abort. It has no owner: a token that a killed process took is gone.
//!
//! Calls: sem_init(3), sem_wait(3), sem_trywait(3), sem_post(3), sem_getvalue(3); see also sem_overview(7).

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io::{self, ErrorKind};

use libc::sem_t;

use crate::memory::Memory;
use crate::waiting::Waiting;

/// The semaphore at an offset of an object.
#[derive(Debug)]
pub struct Semaphore<'a> {
    /// The object.
    pub memory: &'a Memory,
    /// Where in it.
    pub at: usize,
}

impl Semaphore<'_> {
    /// Makes it, in an object that nobody else has seen yet.
    pub fn init(&self, value: u32) -> io::Result<()> {
        // SAFETY: mapped and aligned, which `object` checked. The 1 says that other processes will use it:
        // without it a post would wake nobody there.
        check(unsafe { libc::sem_init(self.raw(), 1, value) })
    }

    /// Takes one; sleeps until there is one.
    ///
    /// # Errors
    /// `Interrupted` by a signal: nothing was taken.
    pub fn wait(&self) -> io::Result<()> {
        // SAFETY: `init` was called before anybody could open the object, which `memory` keeps mapped.
        check(unsafe { libc::sem_wait(self.raw()) })
    }

    /// Takes one; looks for it for a while, then sleeps until there is one.
    ///
    /// # Errors
    /// `Interrupted` by a signal, or by `waiting`: nothing was taken.
    pub fn wait_by(&self, waiting: &mut Waiting) -> io::Result<()> {
        let taken = waiting.look(|| matches!(self.try_wait(), Ok(true)))?;
        if taken { Ok(()) } else { self.wait() }
    }

    /// Takes one if there is one.
    pub fn try_wait(&self) -> io::Result<bool> {
        // SAFETY: as for `wait`.
        match check(unsafe { libc::sem_trywait(self.raw()) }) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(false),
            done => done.map(|()| true),
        }
    }

    /// Gives one.
    pub fn post(&self) {
        // SAFETY: as for `wait`. It fails only if the count would overflow, which only scribbling can do.
        unsafe { libc::sem_post(self.raw()) };
    }

    /// How many there were just now: for a diagnosis, never for a decision.
    pub fn value(&self) -> io::Result<u32> {
        let mut value = 0;
        // SAFETY: as for `wait`; `value` is ours.
        check(unsafe { sem_getvalue(self.raw(), &mut value) })?;
        Ok(value.max(0) as u32)
    }

    fn raw(&self) -> *mut sem_t {
        self.memory.object(self.at)
    }
}

/// Semaphore functions return -1 and set errno.
fn check(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

unsafe extern "C" {
    // In glibc and musl, but missing in the crate libc for Linux.
    fn sem_getvalue(semaphore: *mut sem_t, value: *mut c_int) -> c_int;
}
