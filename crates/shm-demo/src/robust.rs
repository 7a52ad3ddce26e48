//! A mutex that several processes share, and that survives its owner.
//!
//! A mutex lies in shared memory like any other bytes. Two attributes make it fit for that:
//!
//! - `PTHREAD_PROCESS_SHARED`: it is waited for with futexes that other processes can wake.
//! - `PTHREAD_MUTEX_ROBUST`: the kernel walks through a dying thread's list of locks and marks them. The next
//!   one to lock is told `EOWNERDEAD`: it has the lock, and the data may be half changed.
//!
//! In which order: *first* repair the data, *then* pthread_mutex_consistent(3). If the repairer dies too, the
//! next one repairs again. Unlocking without it makes the mutex useless for ever (`ENOTRECOVERABLE`).
//!
//! glibc trusts the bytes of a mutex. Who scribbles over them can make it abort.
//!
//! Calls: pthread_mutex_lock(3), pthread_mutexattr_setrobust(3), pthread_mutexattr_setpshared(3).

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::hint;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;

use libc::pthread_mutex_t;

use crate::memory::Memory;

/// The bytes that are set aside for a mutex: glibc's has 40 on x86-64, 48 on AArch64.
pub const SIZE: usize = 64;
const _: () = assert!(size_of::<pthread_mutex_t>() <= SIZE);

/// How often to try again before sleeping, and how long to leave the owner alone in between: some microseconds.
const LOOKS: u32 = 50;
const PAUSES: u32 = 8;

/// Makes a mutex at the offset `at` of an object that nobody else has seen yet.
pub fn init(memory: &Memory, at: usize) -> io::Result<()> {
    let mut attributes = MaybeUninit::uninit();
    let attributes = attributes.as_mut_ptr();
    // SAFETY: private memory, made valid by this very call.
    check(unsafe { libc::pthread_mutexattr_init(attributes) })?;
    // SAFETY: initialised above.
    check(unsafe { libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED) })?;
    // SAFETY: initialised above.
    check(unsafe { libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST) })?;
    // SAFETY: `object` checked that it is mapped and aligned; it is all zeroes and nobody else uses it.
    check(unsafe { libc::pthread_mutex_init(memory.object(at), attributes) })
}

/// The lock on the mutex at an offset, held until this is dropped.
#[derive(Debug)]
pub struct Locked<'a> {
    memory: &'a Memory,
    at: usize,
}

/// Locks the mutex at the offset `at`. If its owner died, `repair` is called first.
///
/// # Errors
/// `Interrupted` if its owner keeps it for a tenth of a second.
pub fn lock(memory: &Memory, at: usize, repair: impl FnOnce()) -> io::Result<Locked<'_>> {
    let mutex = memory.object(at);
    // SAFETY: `init` made it a mutex before anybody could open the object, and `memory` stays mapped for as
    // long as the lock is held, because `Locked` borrows it.
    let try_lock = || unsafe { libc::pthread_mutex_trylock(mutex) };
    // Whoever is inside comes out again in less time than it takes to sleep and be woken.
    let mut result = try_lock();
    for _ in 0..LOOKS {
        if result != libc::EBUSY {
            break;
        }
        (0..PAUSES).for_each(|_| hint::spin_loop());
        result = try_lock();
    }
    if result == libc::EBUSY {
        let soon = in_a_tenth_of_a_second();
        // SAFETY: as for trylock; `soon` is ours.
        result = unsafe { libc::pthread_mutex_timedlock(mutex, &soon) };
    }
    match result {
        // Only a stopped process stays inside for so long. pthread_mutex_lock would not even notice Ctrl-C; so
        // the caller gets the chance to look around that EINTR gives it elsewhere.
        libc::ETIMEDOUT => return Err(ErrorKind::Interrupted.into()),
        libc::EOWNERDEAD => {
            repair();
            // SAFETY: as for trylock; we hold it, and the data is whole again.
            check(unsafe { libc::pthread_mutex_consistent(mutex) })?;
        }
        result => check(result)?,
    }
    Ok(Locked { memory, at })
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // SAFETY: this thread locked it: `Locked` holds a raw pointer's owner, and is not sent elsewhere.
        unsafe { libc::pthread_mutex_unlock(self.memory.object(self.at)) };
    }
}

fn in_a_tenth_of_a_second() -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is ours. pthread_mutex_timedlock goes by this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut now) };
    let nanoseconds = now.tv_nsec + 100_000_000;
    libc::timespec { tv_sec: now.tv_sec + nanoseconds / 1_000_000_000, tv_nsec: nanoseconds % 1_000_000_000 }
}

/// pthread functions return their error, and leave errno alone.
fn check(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
}
