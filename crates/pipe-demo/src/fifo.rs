//! FIFO: a pipe with a name in the file system, for processes that do not know each other.
//!
//! ```text
//!   producer --write()--> [ kernel: 64 KiB of bytes ] --read()--> consumer
//!                open(O_WRONLY)   demo.fifo   open(O_RDONLY)
//! ```
//!
//! `open` waits until both ends are open: that is how the two sides meet. The bytes are in the kernel, not
//! in the file: when the last process closes it they are gone.
//!
//! Guarantees: one reader (another is refused); any number of writers whose frames fit into `PIPE_BUF`, or
//! one whose frames do not. Whoever leaves last removes the name.
//! Limits: the capacity is 64 KiB, up to `fs.pipe-max-size` for ordinary users.
//!
//! System calls: mkfifo, open, flock, fcntl (`F_SETPIPE_SZ`), poll, unlink; see fifo(7), pipe(7).

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use common::place::{Attachment, Channel, Guard, Role, Watch, check_private};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;

use crate::frame::{FrameWriter, HEADER, PIPE_BUF};
use crate::frame_reader::FrameReader;

/// What `fs.pipe-max-size` is where nobody has changed it.
const USUAL_LIMIT: usize = 1 << 20;

/// A place at one end of a named FIFO, taken before the FIFO itself is opened.
#[derive(Debug)]
struct Seat {
    channel: Channel,
    role: Role,
    attachment: Option<Attachment>,
}

impl Seat {
    fn take(channel: Channel, role: Role) -> io::Result<Seat> {
        let guard = channel.lock()?;
        if role == Role::Consumer && guard.living(Role::Consumer)? > 0 {
            let why = format!("{} is in use: a pipe has one reader", channel.path().display());
            return Err(io::Error::new(ErrorKind::AddrInUse, why));
        }
        tidy(&guard, &channel.path(), false)?;
        make_fifo(&channel.path())?;
        let attachment = Some(guard.attach(role)?);
        drop(guard);
        Ok(Seat { channel, role, attachment })
    }

    fn leave(&mut self) -> io::Result<()> {
        let Some(attachment) = self.attachment.take() else { return Ok(()) };
        let guard = self.channel.lock()?;
        guard.detach(attachment);
        tidy(&guard, &self.channel.path(), self.role == Role::Consumer)
    }

    fn open(&self, flags: OFlag) -> io::Result<OwnedFd> {
        let path = self.channel.path();
        match open_checked(&path, flags) {
            // Somebody is replacing it, or died in doing so.
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let _guard = self.channel.lock()?;
                make_fifo(&path)?;
            }
            done => return done,
        }
        open_checked(&path, flags)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.leave();
    }
}

/// Forgets the dead. A FIFO goes with the last who is there. It also goes with its reader, and those who stay get
/// a new one: in the old one is the rest of streams that another has heard the beginning of, perhaps cut in the
/// middle of a frame, and a writer that was stopped meanwhile would go on with them.
fn tidy(guard: &Guard<'_>, path: &Path, reader_left: bool) -> io::Result<()> {
    let reader_died = guard.attached()?.iter().any(|a| !a.alive && a.role == Role::Consumer);
    guard.forget_dead()?;
    if guard.attached()?.is_empty() {
        remove_fifo(path)
    } else if reader_died || reader_left {
        remove_fifo(path)?;
        make_fifo(path)
    } else {
        Ok(())
    }
}

fn make_fifo(path: &Path) -> io::Result<()> {
    match nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o600)) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Removes a FIFO of ours of that name, but nothing else: a file at its path is somebody's.
fn remove_fifo(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_fifo() && meta.uid() == geteuid().as_raw() => {
            std::fs::remove_file(path)
        }
        Ok(meta) => {
            let what = if meta.file_type().is_fifo() { "another user's" } else { "no FIFO" };
            let path = path.display();
            let why = format!("{path} is there and is {what}; move it away, or use another --name");
            Err(io::Error::new(ErrorKind::AlreadyExists, why))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

fn open_checked(path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let fd = open(path, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    check_private(&fd, |t| t.is_fifo())
        .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
    Ok(fd)
}

/// The reading side of a FIFO.
#[derive(Debug)]
pub struct FifoReader {
    seat: Seat,
}

impl FifoReader {
    /// Creates the FIFO if it is not there. Nobody is waited for yet.
    ///
    /// # Errors
    /// `AddrInUse` if somebody reads already; `AlreadyExists` if something else has that name.
    pub fn create(channel: Channel) -> io::Result<FifoReader> {
        Ok(FifoReader { seat: Seat::take(channel, Role::Consumer)? })
    }

    /// The writers that are there; if there is one, [`FifoReader::open`] will not wait.
    ///
    /// # Errors
    /// When the directory of names cannot be read.
    pub fn writers(&self) -> io::Result<Vec<u32>> {
        let attached = self.seat.channel.lock()?.attached()?;
        Ok(attached.iter().filter(|a| a.alive && a.role == Role::Producer).map(|a| a.pid).collect())
    }

    /// Opens the FIFO for reading, which waits for a writer.
    ///
    /// # Errors
    /// `Interrupted` by a signal; `PermissionDenied` if the FIFO is not ours alone.
    pub fn open(&self) -> io::Result<FrameReader> {
        Ok(FrameReader::new(self.seat.open(OFlag::O_RDONLY)?))
    }

    /// After the end of a stream: waits for the next writer's first bytes.
    ///
    /// # Errors
    /// As [`FifoReader::open`].
    pub fn reopen(&self, frames: &mut FrameReader) -> io::Result<()> {
        // The old descriptor would report the end for ever. A new one is silent until another writer has
        // come, and because the old one is still open, nothing that this writer brings is lost.
        let next = self.seat.open(OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
        poll(&mut [PollFd::new(next.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
        fcntl(&next, FcntlArg::F_SETFL(OFlag::empty()))?;
        *frames = FrameReader::new(next);
        Ok(())
    }
}

/// The writing side of a FIFO.
#[derive(Debug)]
pub struct FifoWriter {
    seat: Seat,
    longest: usize,
    torn: bool,
    reader: Option<u32>,
}

impl FifoWriter {
    /// Creates the FIFO if it is not there. `longest` is the longest message that will be written, in bytes:
    /// if its frame is longer than `PIPE_BUF` there can be no other writer, unless `allow_torn`.
    ///
    /// # Errors
    /// `AlreadyExists` if something else has that name.
    pub fn create(channel: Channel, longest: usize, allow_torn: bool) -> io::Result<FifoWriter> {
        let seat = Seat::take(channel, Role::Producer)?;
        Ok(FifoWriter { seat, longest, torn: allow_torn, reader: None })
    }

    /// Whether the reader is there, so that [`FifoWriter::open`] will not wait.
    ///
    /// # Errors
    /// When the directory of names cannot be read.
    pub fn has_reader(&self) -> io::Result<bool> {
        Ok(self.living_reader()?.is_some())
    }

    /// Tells when somebody comes or goes: a reason to [`FifoWriter::look`].
    ///
    /// # Errors
    /// When there is no inotify instance left.
    pub fn watch(&self) -> io::Result<Watch> {
        self.seat.channel.watch()
    }

    /// Opens the FIFO for writing, which waits for the reader.
    ///
    /// # Errors
    /// `Interrupted` by a signal; `AddrInUse` if another writer's frames would be mixed with ours;
    /// `PermissionDenied` if the FIFO is not ours alone.
    pub fn open(&mut self) -> io::Result<FrameWriter> {
        let path = self.seat.channel.path();
        let fd = File::from(self.seat.open(OFlag::O_WRONLY)?);
        if !self.torn {
            // The lock belongs to this open end and goes with it: shared among the writers whose frames are
            // atomic, exclusive for one whose frames are not.
            let atomic = HEADER + self.longest <= PIPE_BUF;
            let locked = if atomic { fd.try_lock_shared() } else { fd.try_lock() };
            if let Err(TryLockError::WouldBlock) = locked {
                let why = format!(
                    "{} is in use: frames over {PIPE_BUF} bytes (PIPE_BUF) would be mixed with another \
                     writer's; use a --size up to {}",
                    path.display(),
                    PIPE_BUF - HEADER - 32
                );
                return Err(io::Error::new(ErrorKind::AddrInUse, why));
            }
            locked?;
        }
        self.reader = self.living_reader()?;
        Ok(FrameWriter::new(fd.into()))
    }

    /// Fails once the reader that was met is gone: a later one has not heard this stream from its beginning.
    ///
    /// # Errors
    /// `BrokenPipe`.
    pub fn look(&mut self) -> io::Result<()> {
        if self.reader.is_some() && self.living_reader()? != self.reader {
            return Err(io::Error::new(ErrorKind::BrokenPipe, "the reader is gone"));
        }
        Ok(())
    }

    /// The reader that was met.
    pub fn reader(&self) -> Option<u32> {
        self.reader
    }

    fn living_reader(&self) -> io::Result<Option<u32>> {
        let guard = self.seat.channel.lock()?;
        Ok(guard.attached()?.iter().find(|a| a.alive && a.role == Role::Consumer).map(|a| a.pid))
    }
}

/// Makes the pipe hold about `bytes` bytes (the kernel rounds up to a power of two of pages); what it is now.
///
/// # Errors
/// `PermissionDenied` over `fs.pipe-max-size`; `ResourceBusy` if more than that is in it.
pub fn set_capacity(pipe: &impl AsFd, bytes: usize) -> io::Result<usize> {
    let wanted = i32::try_from(bytes).unwrap_or(i32::MAX);
    match fcntl(pipe, FcntlArg::F_SETPIPE_SZ(wanted)) {
        Ok(now) => Ok(now as usize),
        Err(Errno::EPERM) => Err(io::Error::new(
            ErrorKind::PermissionDenied,
            format!("a pipe of {bytes} bytes is over the limit in /proc/sys/fs/pipe-max-size"),
        )),
        Err(e) => Err(e.into()),
    }
}

/// Makes the pipe hold a message of `longest` bytes, or as much of it as everybody may have: what it holds now.
pub fn make_room_for(pipe: &impl AsFd, longest: usize) -> usize {
    let now = capacity(pipe).unwrap_or(0);
    // Where it may not be, it is not: the message goes through in more parts.
    if longest > now { set_capacity(pipe, longest.min(USUAL_LIMIT)).unwrap_or(now) } else { now }
}

/// How many bytes the pipe can hold.
///
/// # Errors
/// None that a pipe could cause.
pub fn capacity(pipe: &impl AsFd) -> io::Result<usize> {
    Ok(fcntl(pipe, FcntlArg::F_GETPIPE_SZ)? as usize)
}
