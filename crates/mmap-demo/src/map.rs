//! The mapped file: made whole before it has a name, checked before it is believed.
//!
//! A file is created without a name (`O_TMPFILE`), gets its blocks (`posix_fallocate`: a full disk is an
//! error here, where without it the first touch of a page would be SIGBUS) and its header, and then its name
//! by `linkat`: so nobody ever sees half a file, and a creator that is killed leaves none.
//!
//! Guarantees: a file that is not ours is neither used nor changed. One that is cut while it is mapped makes
//! the call fail that touches it, see [`crate::sigbus`].
//! Limits: the file system must know `O_TMPFILE` (ext4, xfs, btrfs, tmpfs, overlayfs do).
//!
//! System calls: open, fstat, posix_fallocate, linkat, mmap, msync, fcntl (`F_OFD_SETLK`), write. See mmap(2),
//! open(2), fcntl_locking(2); Kerrisk, *The Linux Programming Interface*, ch. 49.

#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use common::place::{Role, check_private};
use memmap2::{MmapOptions, MmapRaw};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FcntlArg, OFlag, fcntl, open, posix_fallocate};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, linkat};

use crate::header::{HEADER, POSITIONS, at, check, damaged, header, parent};
use crate::positions::Positions;
use crate::sigbus::Guarded;

const _: () = assert!(POSITIONS.is_multiple_of(64) && POSITIONS + size_of::<Positions>() <= HEADER);

/// A ring file that is mapped by this process.
#[derive(Debug)]
pub struct Map {
    guard: Guarded, // dropped before the mapping
    mapping: MmapRaw,
    file: File,
    path: PathBuf,
    capacity: u64,
}

impl Map {
    /// Creates the file, with a ring of `capacity` bytes, a power of two, that begins at position `start`
    /// (0, but for tests).
    ///
    /// # Errors
    /// `AlreadyExists`; `StorageFull`; `Unsupported` where files cannot be made without a name.
    pub fn create(path: &Path, capacity: u64, start: u64) -> io::Result<Map> {
        let dir = parent(path);
        let mode = Mode::from_bits_truncate(0o600);
        let file = match open(dir, OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC, mode) {
            Ok(fd) => File::from(fd),
            Err(Errno::EOPNOTSUPP | Errno::EISDIR) => {
                let why = "its file system cannot make files without a name (O_TMPFILE); use another --file";
                return Err(at(path, ErrorKind::Unsupported, why));
            }
            Err(e) => return Err(at(path, io::Error::from(e).kind(), &format!("create it: {}", e.desc()))),
        };
        let len = HEADER as u64 + capacity;
        // Over this limit the kernel would not only refuse, but send SIGXFSZ, which kills.
        if getrlimit(Resource::RLIMIT_FSIZE)?.0 < len {
            let why =
                format!("{len} bytes are over this shell's limit (ulimit -f); use a smaller --capacity");
            return Err(at(path, ErrorKind::FileTooLarge, &why));
        }
        while let Err(e) = posix_fallocate(&file, 0, len as i64) {
            if e != Errno::EINTR {
                let why = format!("no room for {len} bytes: {}; use a smaller --capacity", e.desc());
                return Err(at(path, io::Error::from(e).kind(), &why));
            }
        }
        file.write_all_at(&start.to_le_bytes(), POSITIONS as u64)?; // tail
        file.write_all_at(&start.to_le_bytes(), POSITIONS as u64 + 64)?; // head
        file.write_all_at(&header(capacity), 0)?;
        // By way of /proc, because linking a descriptor itself needs a privilege.
        let unnamed = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        linkat(AT_FDCWD, &unnamed, AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW)
            .map_err(|e| at(path, io::Error::from(e).kind(), &format!("name it: {}", e.desc())))?;
        // Opened anew, because a file that was opened without a name shows none in /proc/PID/maps.
        drop(file);
        Map::open(path)?.ok_or_else(|| at(path, ErrorKind::NotFound, "somebody removed it at once"))
    }

    /// Opens the file; `None` if there is none.
    ///
    /// # Errors
    /// `PermissionDenied` for what is not a private file of this user; `InvalidData` for a file that is no
    /// ring, or damaged. It is left as it is.
    pub fn open(path: &Path) -> io::Result<Option<Map>> {
        // O_NONBLOCK: somebody may have put a device there.
        let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        match open(path, flags, Mode::empty()) {
            Ok(fd) => Map::new(File::from(fd), path).map(Some),
            Err(Errno::ENOENT) => Ok(None),
            Err(Errno::ELOOP) => Err(at(path, ErrorKind::PermissionDenied, "it is a symbolic link")),
            Err(e) => Err(at(path, io::Error::from(e).kind(), e.desc())),
        }
    }

    fn new(file: File, path: &Path) -> io::Result<Map> {
        // Whose it is comes first, what it says second: another user's file is not even read.
        let meta = file.metadata()?;
        let writable_by_others = meta.permissions().mode() & 0o022 != 0;
        if !meta.is_file() || meta.uid() != geteuid().as_raw() || meta.nlink() > 1 || writable_by_others {
            let why = "it is not a private file of this user (type, owner, links or mode differ)";
            return Err(at(path, ErrorKind::PermissionDenied, why));
        }
        let capacity = check(&file, path)?;
        check_private(&file, |t| t.is_file()).map_err(|e| at(path, e.kind(), &e.to_string()))?;
        let mapping = MmapOptions::new().len(HEADER + capacity as usize).map_raw(&file)?;
        let guard = Guarded::new(mapping.as_ptr() as usize, mapping.len())?;
        Ok(Map { guard, mapping, file, path: path.to_owned(), capacity })
    }

    /// The same file, mapped anew by `how`.
    pub(crate) fn remapped(self, how: impl FnOnce(&File, usize) -> io::Result<MmapRaw>) -> io::Result<Map> {
        let mapping = how(&self.file, self.mapping.len())?;
        let guard = Guarded::new(mapping.as_ptr() as usize, mapping.len())?;
        Ok(Map { guard, mapping, ..self })
    }

    /// Takes one role on this file, so long as it is mapped.
    ///
    /// # Errors
    /// `AddrInUse` if another process has it.
    pub fn claim(&self, role: Role) -> io::Result<()> {
        // An open-file-description lock on the first byte (producer) or the second (consumer).
        // SAFETY: flock is plain integers, for which zeroes are valid.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        lock.l_type = libc::F_WRLCK as libc::c_short;
        lock.l_start = if role == Role::Producer { 0 } else { 1 };
        lock.l_len = 1;
        match fcntl(&self.file, FcntlArg::F_OFD_SETLK(&lock)) {
            Ok(_) => Ok(()),
            Err(Errno::EAGAIN | Errno::EACCES) => Err(at(
                &self.path,
                ErrorKind::AddrInUse,
                &format!("in use: it has a {} already", role.name()),
            )),
            Err(e) => Err(e.into()),
        }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The ring's size in bytes, a power of two.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Whether the path still names this file.
    pub fn is_named(&self) -> bool {
        match (self.file.metadata(), fs::symlink_metadata(&self.path)) {
            (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
            _ => false,
        }
    }

    /// The words that both sides share.
    #[allow(clippy::cast_ptr_alignment)] // a page is aligned well enough
    pub fn positions(&self) -> &Positions {
        // SAFETY: in bounds (asserted above, and `new` mapped at least a header), aligned to 64, mapped as
        // long as `self`. Peers write there at any time: every field is an atomic, valid for all bit patterns.
        unsafe { &*self.mapping.as_ptr().wrapping_add(POSITIONS).cast::<Positions>() }
    }

    /// Copies bytes of the ring, from `position` on, which must not go over its end.
    pub fn read(&self, position: u64, bytes: &mut [u8]) {
        let from = self.at(position, bytes.len());
        // SAFETY: `at` checked the bounds, and no reference to the mapping's bytes exists. The producer may
        // write meanwhile, if it breaks the protocol: then the copy is any bytes, which is why the caller
        // checks what it got.
        unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
    }

    /// Copies bytes into the ring, likewise.
    pub fn write(&self, position: u64, bytes: &[u8]) {
        let to = self.at(position, bytes.len());
        // SAFETY: as in `read`. Only the producer has a reason to write here, and `&mut Writer` is one.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// Tells the processor that bytes of the ring will be written soon: it fetches the first of their cache lines from
    /// the one that had them last, while we do something else. A hint: nothing is read or written.
    pub fn will_write(&self, position: u64, len: usize) {
        let first = self.at(position, len);
        #[cfg(target_arch = "x86_64")]
        for line in (0..len.min(256)).step_by(64) {
            let line = first.wrapping_add(line);
            // SAFETY: the instruction touches no memory and no register, and cannot fail. (The library's `_mm_prefetch`
            // fetches for reading only, where the program is built for any processor of its kind.)
            unsafe { std::arch::asm!("prefetchw [{}]", in(reg) line, options(nostack, preserves_flags)) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = first;
    }

    /// Hands bytes of the ring to write(2), which takes them straight from the mapping: how many it took.
    ///
    /// # Errors
    /// What write(2) fails with; `InvalidData` if the file was cut.
    pub fn write_to(&self, out: BorrowedFd<'_>, position: u64, len: usize) -> io::Result<usize> {
        let from = self.at(position, len);
        // SAFETY: `at` checked the bounds. The kernel only reads; if a peer writes meanwhile, `out` gets some
        // mixture; if the file was cut, the call fails with EFAULT.
        let n = unsafe { libc::write(out.as_raw_fd(), from.cast(), len) };
        usize::try_from(n).map_err(|_| self.explain(io::Error::last_os_error()))
    }

    /// Where `len` bytes of the ring, from `position` on, are in the file.
    pub(crate) fn place(&self, position: u64, len: u64) -> Range<usize> {
        let offset = position & (self.capacity - 1);
        assert!(len <= self.capacity - offset, "a record never crosses the end");
        HEADER + offset as usize..HEADER + (offset + len) as usize
    }

    fn at(&self, position: u64, len: usize) -> *mut u8 {
        self.mapping.as_mut_ptr().wrapping_add(self.place(position, len as u64).start)
    }

    /// Has the kernel write these bytes of the file to the device, and waits for that if it is to `wait`.
    ///
    /// # Errors
    /// When the device has failed: then nobody knows what it has.
    pub(crate) fn msync(&self, bytes: Range<usize>, wait: bool) -> io::Result<()> {
        let (offset, len) = (bytes.start, bytes.len());
        let (call, done) = if wait {
            ("msync(MS_SYNC)", self.mapping.flush_range(offset, len))
        } else {
            ("msync(MS_ASYNC)", self.mapping.flush_async_range(offset, len))
        };
        done.map_err(|e| {
            at(&self.path, e.kind(), &format!("{call}: {e}: what the device has of it is not known"))
        })
    }

    /// Brings the whole file to the device, and its name.
    pub(crate) fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()?;
        File::open(parent(&self.path))?.sync_all()
    }

    /// Fails if the file was cut: what was read from it may be zeroes. Costs one load.
    ///
    /// # Errors
    /// `InvalidData`, with the size that is left.
    pub fn intact(&self) -> io::Result<()> {
        if !self.guard.is_lost() {
            return Ok(());
        }
        Err(self.damaged("the file was cut while it was mapped"))
    }

    /// Looks at the file's size and header again.
    ///
    /// # Errors
    /// `InvalidData`, naming what differs.
    pub fn check(&self) -> io::Result<()> {
        let capacity = check(&self.file, &self.path)?;
        if capacity == self.capacity {
            return Ok(());
        }
        Err(damaged(&self.path, &format!("capacity changed from {} to {capacity}", self.capacity)))
    }

    /// An error for something in the file that cannot be, or for what is behind it: that the file was cut.
    pub fn damaged(&self, what: &str) -> io::Error {
        self.check().err().unwrap_or_else(|| damaged(&self.path, what))
    }

    /// A system call that was given an address in the mapping fails with EFAULT when the file was cut.
    pub fn explain(&self, e: io::Error) -> io::Error {
        if e.raw_os_error() != Some(libc::EFAULT) {
            return e;
        }
        self.damaged("a page of it cannot be read")
    }
}
