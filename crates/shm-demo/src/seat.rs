//! A process's place at a buffer: who may come, who is there, and who turns off the light.
//!
//! A buffer is more than its shared-memory object: a consumer can be there before the object is, and what
//! killed processes leave behind must stop nobody. All of this happens under the guard of
//! [`common::place`], so one process at a time comes or leaves.
//!
//! - `NAME.shm` in the place holds the word that was said to `--sync` by the first to come.
//! - Who has the object mapped holds a shared lock (flock) on its descriptor. Who can lock it exclusively
//!   knows it to be abandoned.
//! - The last one to leave unlinks the object. If all were killed, the first to come does it.
//!
//! System calls: shm_open(3), shm_unlink(3), flock(2).

use std::fs::{self, File, FileType, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use common::place::{self, Attached, Attachment, Channel, Guard, Place, Role};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::mman::{shm_open, shm_unlink};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;

use crate::header::{self, Format};

/// This process's place at a channel; there may be no object yet. Dropping it gives the place up.
#[derive(Debug)]
pub struct Seat {
    pub(crate) channel: Channel,
    /// The object's name, for shm_open.
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) format: &'static Format,
    attachment: Option<Attachment>,
    /// A dead process had our process id, and its traces bear it.
    pub(crate) predecessor: bool,
    /// How many producers had died before we came: no loss of ours.
    pub(crate) deaths_before: u32,
}

impl Seat {
    /// Takes a consumer's place at the buffer `name`.
    ///
    /// # Errors
    /// `ResourceBusy` if another mechanism is in use under that name, or there is no place for one more.
    pub fn consumer(place: &Place, name: &str, format: &'static Format) -> io::Result<Seat> {
        let mut seat = Seat::new(place, name, Role::Consumer, format);
        let channel = seat.channel.clone();
        seat.sit(&channel.lock()?)?;
        Ok(seat)
    }

    pub(crate) fn new(place: &Place, name: &str, role: Role, format: &'static Format) -> Seat {
        let channel = channel(place, name);
        let name = format!("/ipc-lab-{}-{name}", geteuid());
        Seat { channel, name, role, format, attachment: None, predecessor: false, deaths_before: 0 }
    }

    /// Our seat seen from the way back, where we have the other role. Nobody comes or leaves by it.
    pub(crate) fn turned(&self) -> Seat {
        let (channel, name, role) = (self.channel.clone(), self.name.clone(), self.role.other());
        Seat { channel, name, role, attachment: None, predecessor: false, ..*self }
    }

    /// Whether this process is attached by it.
    pub(crate) fn is_taken(&self) -> bool {
        self.attachment.is_some()
    }

    pub(crate) fn sit(&mut self, guard: &Guard) -> io::Result<()> {
        let all = guard.attached()?;
        self.predecessor = all.iter().any(|a| a.pid == std::process::id() && !a.alive);
        if all.iter().any(|a| a.alive) {
            // The first to come wrote down what it was told: who comes later must agree.
            let (found, told) = (self.said()?, self.format.kind.name());
            if found != told {
                return Err(busy(format!("{} is in use with --sync {found}, not --sync {told}", self.name)));
            }
            if self.format.one_each && all.iter().any(|a| a.alive && a.role == self.role) {
                let role = self.role.name();
                let fix = "--sync semaphore or mutex takes several";
                return Err(busy(format!(
                    "{} is in use: with --sync {told} there is one {role} ({fix})",
                    self.name
                )));
            }
        } else {
            guard.forget_dead()?;
            self.unlink_abandoned()?;
            let mut file =
                self.word(OpenOptions::new().write(true).create(true).truncate(false).mode(0o600))?;
            file.set_len(0)?;
            file.write_all(self.format.kind.name().as_bytes())?;
        }
        // Deaths that were counted, and those that nobody has looked at yet.
        let counted = self.find()?.map_or(Ok(0), |file| header::deaths(&file))?;
        let uncounted = guard.attached()?.iter().filter(|a| !a.alive && a.role == Role::Producer).count();
        self.deaths_before = counted.saturating_add(uncounted as u32);
        self.attachment = Some(guard.attach(self.role)?);
        Ok(())
    }

    /// The word that the first to come wrote down.
    fn said(&self) -> io::Result<String> {
        let mut said = String::new();
        self.word(OpenOptions::new().read(true))?.read_to_string(&mut said)?;
        Ok(said)
    }

    /// Opens the file of that word. What somebody planted there is not followed, waited for, or emptied.
    fn word(&self, options: &mut OpenOptions) -> io::Result<File> {
        let path = self.channel.path();
        let file = options.custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()).open(&path);
        file.and_then(|file| place::check_private(&file, FileType::is_file).map(|()| file))
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
    }

    /// Opens the object if there is one, and checks that it is ours alone.
    pub(crate) fn find(&self) -> io::Result<Option<File>> {
        let file = match shm_open(self.name.as_str(), OFlag::O_RDWR, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::ENOENT) => return Ok(None),
            // shm_open(3) says of a directory that the name is wrong.
            Err(Errno::EINVAL) => return Err(self.error("open", ErrorKind::IsADirectory.into())),
            Err(e) => return Err(self.error("open", e.into())),
        };
        place::check_private(&file, FileType::is_file).map_err(|e| self.error("use", e))?;
        Ok(Some(file))
    }

    /// Removes an object that nobody has mapped any more.
    fn unlink_abandoned(&self) -> io::Result<()> {
        let Some(file) = self.find()? else { return Ok(()) };
        // A process that is just dying may hold it for a moment longer than its name.
        let patience = Instant::now() + Duration::from_millis(200);
        while let Err(e) = file.try_lock() {
            match e {
                TryLockError::Error(e) => return Err(e),
                TryLockError::WouldBlock if Instant::now() > patience => {
                    let hint = "processes with another XDG_RUNTIME_DIR have it mapped; use another --name";
                    return Err(busy(format!("{} is in use: {hint}", self.name)));
                }
                TryLockError::WouldBlock => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        self.unlink()
    }

    pub(crate) fn unlink(&self) -> io::Result<()> {
        match shm_unlink(self.name.as_str()) {
            Err(e) if e != Errno::ENOENT => Err(self.error("unlink", e.into())),
            _ => Ok(()),
        }
    }

    /// Leaves; the last one out takes the object along. `before` is told who else lives, and may refuse.
    pub(crate) fn leave(&mut self, before: impl FnOnce(&[Attached]) -> io::Result<()>) -> io::Result<()> {
        if self.attachment.is_none() {
            return Ok(());
        }
        let channel = self.channel.clone();
        let guard = channel.lock()?;
        let mut others = guard.attached()?;
        others.retain(|a| a.alive && (a.role, a.pid) != (self.role, std::process::id()));
        before(&others)?;
        if others.is_empty() {
            guard.forget_dead()?;
            self.unlink()?;
            let _ = fs::remove_file(self.channel.path());
        }
        self.attachment.take().into_iter().for_each(|a| guard.detach(a));
        Ok(())
    }

    /// Leaves our name there, without its lock.
    pub(crate) fn die(&mut self) {
        self.attachment = None;
    }

    pub(crate) fn error(&self, action: &str, e: io::Error) -> io::Error {
        io::Error::new(e.kind(), format!("{action} shared memory {}: {e}", self.name))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.leave(|_| Ok(()));
    }
}

/// The names under which a buffer's processes are attached, to be watched.
pub fn channel(place: &Place, name: &str) -> Channel {
    place.channel(name, "shm")
}

pub(crate) fn busy(message: String) -> io::Error {
    io::Error::new(ErrorKind::ResourceBusy, message)
}
