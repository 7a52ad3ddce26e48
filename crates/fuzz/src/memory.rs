//! How much memory a decoder takes: a length that somebody claims is to cost nothing before the bytes have come.
//!
//! An allocator that counts, for each thread, around the system's own. It is there for this crate's tests and
//! targets alone.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes that this thread has allocated and not freed; below zero if it freed another's.
    static NOW: Cell<isize> = const { Cell::new(0) };
    /// The most there were.
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// What `f` returns.
///
/// # Panics
/// If it has had more than `limit` bytes of memory at a time.
#[track_caller]
pub fn at_most<T>(limit: usize, f: impl FnOnce() -> T) -> T {
    let before = NOW.get();
    MOST.set(before);
    let result = f();
    let taken = MOST.get() - before;
    assert!(taken <= limit as isize, "{taken} bytes of memory were taken, and {limit} would do");
    result
}

fn count(bytes: isize) {
    // A thread that ends frees memory when its own variables have gone already.
    let _ = NOW.try_with(|now| {
        now.set(now.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(now.get())));
    });
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call is the system's, with the arguments that came; counting allocates nothing. No other process
// has a part in it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: as in `alloc`.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_and_given_back_is_counted() {
        at_most(100_000, || drop(vec![1_u8; 100_000]));
        let taken = std::panic::catch_unwind(|| at_most(99_999, || drop(vec![1_u8; 100_000])));
        assert!(taken.is_err());
    }
}
