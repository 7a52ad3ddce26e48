//! The futex: sleep until a word in shared memory has changed.
//!
//! A futex is no object of the kernel's, it is any aligned 32-bit word. Taking and giving are plain atomic
//! instructions on it; the kernel is called only by who must sleep, and by who knows that somebody sleeps.
//!
//! - [`wait`] compares and falls asleep in one step, so that a change in between is never slept through.
//! - It may return without a [`wake`]: always look again, in a loop.
//! - The calls here are *shared* ones. With `FUTEX_PRIVATE_FLAG`, which most libraries set, the kernel takes
//!   the word's address for its name, and another process's mapping has another address: nobody wakes up.
//!
//! System call: futex(2); see also futex(7), and Ulrich Drepper, "Futexes Are Tricky".

#![allow(unsafe_code)]

use std::io;
use std::ptr;
use std::sync::atomic::AtomicU32;

/// Sleeps while `word` is `expected`, until somebody wakes it.
///
/// # Errors
/// `Interrupted` when a signal handler ran (one without `SA_RESTART`).
pub fn wait(word: &AtomicU32, expected: u32) -> io::Result<()> {
    let no_timeout = ptr::null::<libc::timespec>();
    // SAFETY: `word` is mapped and aligned while the call lasts, which a reference guarantees; the kernel only
    // reads it, atomically. What other processes write there can make us sleep or wake up, nothing else.
    let slept =
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, no_timeout) };
    match slept {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            // It was not `expected` any more: no reason to sleep.
            e if e.raw_os_error() == Some(libc::EAGAIN) => Ok(()),
            e => Err(e),
        },
    }
}

/// Wakes up to `sleepers` of those who wait for `word`.
pub fn wake(word: &AtomicU32, sleepers: i32) {
    // SAFETY: the address only names the futex; nothing is read or written there.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, sleepers) };
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::SeqCst;

    use super::*;

    #[test]
    fn a_changed_word_is_not_waited_for() {
        wait(&AtomicU32::new(1), 0).expect("returns at once");
    }

    #[test]
    fn a_sleeper_is_woken() {
        let word = AtomicU32::new(0);
        std::thread::scope(|threads| {
            let sleeper = threads.spawn(|| {
                while word.load(SeqCst) == 0 {
                    wait(&word, 0).expect("woken");
                }
            });
            word.store(1, SeqCst);
            wake(&word, 1);
            sleeper.join().expect("woken");
        });
    }
}
