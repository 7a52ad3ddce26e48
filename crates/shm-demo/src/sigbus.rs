//! What happens when a mapped file becomes shorter than its mapping: the next touch of a page beyond the end
//! raises SIGBUS, which kills the process. Looking at the file's size first does not help, because it can be
//! cut between the look and the touch.
//!
//! ```text
//!   touch --> page fault --> SIGBUS --> handler: zeroed private pages over the whole mapping,
//!     ^                                          remember that the file is lost
//!     +------ the instruction runs again <---+
//! ```
//!
//! The touch then succeeds and reads zeroes, and whoever touched asks [`Guarded::is_lost`] before it believes
//! them. libwayland guards the shared buffers of its clients in the same way.
//!
//! Guarantees: a cut file is an error of the call that touched it, never the end of the process.
//! Limits: at most [`MOST`] mappings at a time; a touch by the *kernel*, in write(2) or futex(2), raises
//! nothing, but makes that call fail with `EFAULT`.
//!
//! System calls: sigaction, mmap (`MAP_FIXED`). See mmap(2), sigaction(2) (`si_addr`), signal-safety(7).

#![allow(unsafe_code)]

use std::io;
use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize, compiler_fence};

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// How many mappings of this process can be guarded at a time.
pub const MOST: usize = 64;

/// A guarded range of addresses. Its words are read in a signal handler: atomics, and no lock.
struct Slot {
    taken: AtomicBool,
    start: AtomicUsize,
    /// 0 while the slot guards nothing.
    len: AtomicUsize,
    lost: AtomicBool,
}

static SLOTS: [Slot; MOST] = [const {
    Slot {
        taken: AtomicBool::new(false),
        start: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        lost: AtomicBool::new(false),
    }
}; MOST];

/// What SIGBUS did before. `None` inside: the handler could not be installed.
static BEFORE: OnceLock<Result<SigAction, Errno>> = OnceLock::new();

/// A mapping whose file may be cut. To be dropped before the mapping is.
pub struct Guarded(&'static Slot);

impl Guarded {
    /// Guards the mapping of `len` bytes at the address `start`.
    ///
    /// # Errors
    /// When [`MOST`] are guarded already.
    pub fn new(start: usize, len: usize) -> io::Result<Guarded> {
        (*BEFORE.get_or_init(install))?;
        let slot = SLOTS.iter().find(|slot| !slot.taken.swap(true, AcqRel));
        let slot = slot.ok_or_else(|| io::Error::other(format!("over {MOST} files mapped at a time")))?;
        slot.lost.store(false, Release);
        slot.start.store(start, Release);
        slot.len.store(len, Release); // last: from here on the handler takes the slot for valid
        Ok(Guarded(slot))
    }

    /// Whether the file was cut: what has been read from the mapping since may be zeroes, and what is written
    /// to it goes nowhere.
    pub fn is_lost(&self) -> bool {
        // The handler runs on the thread that touched, in the middle of its touch: the compiler must not move
        // the touch behind this load. For the processor nothing is to be ordered.
        compiler_fence(SeqCst);
        self.0.lost.load(Acquire)
    }
}

impl std::fmt::Debug for Guarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Guarded").field(&self.is_lost()).finish()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.len.store(0, Release);
        self.0.taken.store(false, Release);
    }
}

fn install() -> Result<SigAction, Errno> {
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK;
    let action = SigAction::new(SigHandler::SigAction(on_sigbus), flags, SigSet::empty());
    // SAFETY: the handler does nothing but load and store atomics and call mmap and sigaction, which take no
    // lock of this process. Other processes have no part in it, but that their cutting the file causes it.
    unsafe { sigaction(Signal::SIGBUS, &action) }
}

extern "C" fn on_sigbus(signal: i32, about: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let errno = Errno::last_raw();
    // SAFETY: the kernel passes a valid siginfo_t to a handler with SA_SIGINFO.
    let info = unsafe { &*about };
    // SAFETY: for SIGBUS the union holds an address.
    let address = unsafe { info.si_addr() } as usize;
    let hit = SLOTS.iter().find(|slot| {
        let (len, start) = (slot.len.load(Acquire), slot.start.load(Acquire));
        address.wrapping_sub(start) < len
    });
    if !hit.is_some_and(put_zeroes_over) {
        // Not about a file of ours.
        // (If there is none yet, the handler is being installed: the instruction runs again until it is.)
        if let Some(Ok(before)) = BEFORE.get() {
            match before.handler() {
                // Another guard's turn. Ours stays where it is: the next signal can be about a file of ours again.
                SigHandler::SigAction(next) => next(signal, about, context),
                _ => {
                    // SAFETY: puts back the action that was in force before `install`. The instruction runs again and
                    // meets it.
                    let _ = unsafe { sigaction(Signal::SIGBUS, before) };
                }
            }
        }
    }
    Errno::set_raw(errno); // the interrupted code may be about to look at it
}

fn put_zeroes_over(slot: &Slot) -> bool {
    let (start, len) =
        (NonZeroUsize::new(slot.start.load(Acquire)), NonZeroUsize::new(slot.len.load(Acquire)));
    let Some(len) = len else { return false };
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let flags = MapFlags::MAP_FIXED | MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
    // SAFETY: the range is a mapping that `Guarded` was made for and that outlives it, accessed through raw
    // pointers and atomics only: that it holds zeroes from now on is what another process could do as well.
    let mapped = unsafe { mmap_anonymous(start, len, protection, flags) };
    slot.lost.store(true, Release);
    mapped.is_ok()
}
