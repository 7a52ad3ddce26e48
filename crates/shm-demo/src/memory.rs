//! Bytes that several processes see, and how to touch them in Rust.
//!
//! Another process may write to them at any time, which no Rust reference allows: `&[u8]` promises that the
//! bytes stay as they are, `&mut [u8]` that nobody else has them. So there are three ways, and no reference:
//!
//! - control words as atomics, which other threads *may* change (and to whom the other process is just that);
//! - items by copying raw bytes from and to private memory: copy first, then check, then use the copy;
//! - objects of the C library (semaphores, mutexes) by a pointer that only the library follows.
//!
//! Every offset is checked against the mapping: offsets may come from what another process wrote.
//!
//! One thing no check of ours can prevent: another process makes the object shorter, and the next touch beyond its
//! end is SIGBUS. A guard turns that into zeroes (see [`crate::sigbus`]), and [`Memory::intact`] says that they are none
//! of ours.
//!
//! System calls: mmap(2), flock(2), fstat(2).

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use memmap2::MmapRaw;

use crate::sigbus::Guarded;

/// A mapped object, and the lock that tells others that it is in use.
#[derive(Debug)]
pub struct Memory {
    /// Dropped before the mapping.
    guard: Guarded,
    map: MmapRaw,
    /// Where in the mapping the first of these bytes is.
    from: usize,
    /// How often [`Memory::check_size_sometimes`] was called.
    checks: AtomicU32,
    /// The shared lock (flock) lives as long as the descriptor and the mapping.
    file: File,
}

impl Memory {
    /// Maps the whole of `file` for reading and writing. A touch of what is cut off later is no SIGBUS, but reads
    /// zeroes: see [`Memory::intact`].
    ///
    /// # Errors
    /// Also when this process has too many mapped already.
    pub fn map(file: File) -> io::Result<Memory> {
        let map = MmapRaw::map_raw(&file)?;
        // Before the first touch, for it can be cut at this very moment.
        let guard = Guarded::new(map.as_ptr() as usize, map.len())?;
        Ok(Memory { guard, map, from: 0, checks: AtomicU32::new(0), file })
    }

    /// Maps the same object once more.
    ///
    /// # Errors
    /// `InvalidData` if it has been cut since; what mmap(2) refuses.
    pub fn again(&self) -> io::Result<Memory> {
        self.part(0)
    }

    /// The same, of which the bytes before `at` are not ours.
    pub fn part(&self, at: usize) -> io::Result<Memory> {
        let whole = Memory::map(self.file.try_clone()?)?;
        if whole.map.len() < self.map.len() {
            return Err(self.shrank(whole.map.len() as u64));
        }
        Ok(Memory { from: self.from + at, ..whole })
    }

    /// Fails if the guard has met a page that was cut off: what was read since may be zeroes. Costs one load.
    ///
    /// # Errors
    /// `InvalidData`, with the size that is left.
    pub fn intact(&self) -> io::Result<()> {
        if self.guard.is_lost() { self.check_size() } else { Ok(()) }
    }

    /// Looks at the object's size: what is cut off inside of its last page reads as zeroes without a SIGBUS.
    ///
    /// # Errors
    /// `InvalidData` if it is shorter than the mapping.
    pub fn check_size(&self) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        if !self.guard.is_lost() && len >= self.map.len() as u64 {
            return Ok(());
        }
        Err(self.shrank(len))
    }

    fn shrank(&self, len: u64) -> io::Error {
        let why = format!("file shrank to {len} bytes of {}: another process cut the object", self.map.len());
        io::Error::new(io::ErrorKind::InvalidData, why)
    }

    /// The same once in 16 times, and [`Memory::intact`] otherwise: for who finds nothing again and again, mostly for
    /// less time than the system call would take.
    ///
    /// # Errors
    /// As [`Memory::check_size`].
    pub fn check_size_sometimes(&self) -> io::Result<()> {
        // No other thread counts along, and if one did a call more or less would do no harm.
        let n = self.checks.load(Relaxed);
        self.checks.store(n.wrapping_add(1), Relaxed);
        if n.is_multiple_of(16) { self.check_size() } else { self.intact() }
    }

    /// How many bytes there are.
    pub fn size(&self) -> usize {
        self.map.len() - self.from
    }

    /// Where `bytes` bytes begin at the offset `at`.
    ///
    /// # Panics
    /// If they are not all inside the mapping, aligned to `align`: a mistake in this crate, for what others
    /// wrote is checked before it becomes an offset.
    fn at(&self, at: usize, bytes: usize, align: usize) -> *mut u8 {
        assert!(at.is_multiple_of(align) && at <= self.size() && bytes <= self.size() - at);
        self.map.as_mut_ptr().wrapping_add(self.from + at)
    }

    /// The 32-bit control word at the offset `at`.
    pub fn word(&self, at: usize) -> &AtomicU32 {
        // SAFETY: `at` checked that the four bytes are mapped and aligned (a mapping begins on a page), and
        // `self` keeps them so. Others write there, but as we do: whole words, atomically.
        unsafe { AtomicU32::from_ptr(self.at(at, 4, 4).cast()) }
    }

    /// The 64-bit control word at the offset `at`.
    pub fn long(&self, at: usize) -> &AtomicU64 {
        // SAFETY: as for `word`, with eight bytes.
        unsafe { AtomicU64::from_ptr(self.at(at, 8, 8).cast()) }
    }

    /// Copies `bytes` into the object at the offset `at`.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        let to = self.at(at, bytes.len(), 1);
        // SAFETY: the target is mapped, see `at`, and cannot overlap private memory. Whoever reads it at this
        // moment gets torn bytes; that nobody does is what the mechanisms are for.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// Tells the processor that the bytes at the offset `at` will be written soon: it fetches the first of their cache
    /// lines from the one that had them last, while we do something else. A hint: nothing is read or written.
    pub fn will_write(&self, at: usize, bytes: usize) {
        let first = self.at(at, bytes, 1);
        #[cfg(target_arch = "x86_64")]
        for line in (0..bytes.min(256)).step_by(64) {
            let line = first.wrapping_add(line);
            // SAFETY: the instruction touches no memory and no register, and cannot fail. (The library's `_mm_prefetch`
            // fetches for reading only, where the program is built for any processor of its kind.)
            unsafe { std::arch::asm!("prefetchw [{}]", in(reg) line, options(nostack, preserves_flags)) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = first;
    }

    /// Copies bytes at the offset `at` out of the object: `into` is filled.
    pub fn read(&self, at: usize, into: &mut [u8]) {
        let from = self.at(at, into.len(), 1);
        // SAFETY: the source is mapped, see `at`; `into` is private. Bytes that another process changes
        // meanwhile arrive torn, and any bytes are valid `u8`s.
        unsafe { from.copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
    }

    /// A `T` of the C library's at the offset `at`, for its functions alone to follow.
    pub fn object<T>(&self, at: usize) -> *mut T {
        self.at(at, size_of::<T>(), align_of::<T>()).cast()
    }

    /// Reads the 32-bit word at `at` as a plain variable: no atomic instruction, no ordering.
    pub fn read_plain(&self, at: usize) -> u32 {
        let from = self.at(at, 4, 4).cast::<u32>();
        // SAFETY: mapped and aligned, see `at`; any bits are a u32. Volatile, so that the compiler reads it
        // each time. To race with another *process* is outside of the language: the machine reads four bytes.
        unsafe { from.read_volatile() }
    }

    /// Writes the 32-bit word at `at` as a plain variable, likewise.
    pub fn write_plain(&self, at: usize, value: u32) {
        let to = self.at(at, 4, 4).cast::<u32>();
        // SAFETY: as for `read_plain`.
        unsafe { to.write_volatile(value) };
    }
}
