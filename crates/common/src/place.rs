//! Where the names of a channel live, who is attached to it, and how the arrival of another is noticed.
//!
//! ```text
//! $XDG_RUNTIME_DIR/                 checked: a directory, ours, mode 0700 (else /tmp/ipc-lab-UID)
//!   demo.mq                         the object itself, or what leads to it
//!   demo.mq.lock                    held (flock) for the moment in which somebody comes or leaves
//!   demo.mq.producer.4711           one name for each attached process, held (flock) while it lives
//!   demo.mq.consumer.4712
//! ```
//!
//! A process that leaves removes its name. One that is killed cannot, but the kernel drops its lock:
//! *a name without a lock is a dead process's*. Process ids are never asked whether they live, because
//! they are reused, and because a zombie still answers; only the holder of a lock is asked whether it is dying.
//!
//! [`Watch`] is an inotify descriptor on the directory: names that come and go are events, and so is a
//! death, because the kernel closes what the dead process held open. Whoever waits can sleep.
//!
//! This file stands on std and nix alone, so that it can be copied together with a mechanism.
//!
//! See also: flock(2), inotify(7), open(2); the XDG Base Directory Specification for `XDG_RUNTIME_DIR`.

use std::ffi::OsString;
use std::fs::{self, File, FileType, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::unistd::geteuid;

/// Which side of a channel a process is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Puts items into the channel.
    Producer,
    /// Takes items out of it.
    Consumer,
}

impl Role {
    /// `"producer"` or `"consumer"`, as in the names of files and binaries.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Producer => "producer",
            Role::Consumer => "consumer",
        }
    }

    /// The role at the channel's other end.
    pub const fn other(self) -> Role {
        match self {
            Role::Producer => Role::Consumer,
            Role::Consumer => Role::Producer,
        }
    }
}

/// The directory that holds the names: private to this user.
#[derive(Clone, Debug)]
pub struct Place {
    dir: PathBuf,
}

impl Place {
    /// `$XDG_RUNTIME_DIR` if it is a directory of ours with mode 0700, else `/tmp/ipc-lab-UID`, which is
    /// made if it is missing.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`] if somebody else prepared `/tmp/ipc-lab-UID`, or opened it to others.
    pub fn open() -> io::Result<Place> {
        if let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
            && dir.is_absolute()
            && let Ok(place) = Place::at(dir)
        {
            return Ok(place);
        }
        let dir = PathBuf::from(format!("/tmp/ipc-lab-{}", geteuid()));
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(e),
            _ => Place::at(dir),
        }
    }

    /// A directory of the caller's choice.
    ///
    /// # Errors
    /// [`ErrorKind::PermissionDenied`] unless it is ours and closed to others, who could plant names in it.
    pub fn at(dir: PathBuf) -> io::Result<Place> {
        // symlink_metadata (lstat), because a link planted in /tmp must not be followed.
        let meta = fs::symlink_metadata(&dir)?;
        if meta.is_dir() && meta.uid() == geteuid().as_raw() && meta.permissions().mode() & 0o077 == 0 {
            return Ok(Place { dir });
        }
        Err(denied(format!("{} must be a directory of yours with mode 0700", dir.display())))
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The channel `name` of one kind (`"fifo"`, `"mq"`, …); nothing is created.
    pub fn channel(&self, name: &str, kind: &str) -> Channel {
        Channel { dir: self.dir.clone(), stem: format!("{name}.{kind}") }
    }
}

/// Refuses an opened object that is not ours alone: another type, another owner, a second link, or any
/// permission for group or others. To be called on the *descriptor*: a path can change in between.
///
/// # Errors
/// [`ErrorKind::PermissionDenied`], naming what was expected.
pub fn check_private(object: &impl AsFd, is: fn(&FileType) -> bool) -> io::Result<()> {
    check(&File::from(object.as_fd().try_clone_to_owned()?).metadata()?, is)
}

fn check(meta: &fs::Metadata, is: fn(&FileType) -> bool) -> io::Result<()> {
    let private = meta.uid() == geteuid().as_raw() && meta.permissions().mode() & 0o077 == 0;
    // POSIX message queues and unlinked shared memory have no link; a second one is somebody's trap.
    if is(&meta.file_type()) && private && meta.nlink() <= 1 {
        return Ok(());
    }
    Err(denied("it is not a private object of this user (type, owner, links or mode differ)".into()))
}

/// Opens one of a channel's names, as a file of ours alone; what else has been put there is not even waited for.
fn open_private(path: &Path, flags: OFlag) -> io::Result<File> {
    // O_NONBLOCK: the open of a FIFO would wait.
    let flags = flags | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
    let opened = nix::fcntl::open(path, flags, mode).map_err(io::Error::from).and_then(|fd| {
        let file = File::from(fd);
        check(&file.metadata()?, FileType::is_file)?;
        Ok(file)
    });
    opened.map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
}

fn denied(why: String) -> io::Error {
    io::Error::new(ErrorKind::PermissionDenied, why)
}

/// The names that belong to one channel: `NAME.KIND` and what starts with `NAME.KIND.`.
#[derive(Clone, Debug)]
pub struct Channel {
    dir: PathBuf,
    stem: String,
}

/// A process that is, or was, attached to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Its side.
    pub role: Role,
    /// Its process id, as it wrote it: to be shown, never to be signalled.
    pub pid: u32,
    /// Whether it still holds the lock on its name.
    pub alive: bool,
}

/// How long a guard is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

impl Channel {
    /// `DIR/NAME.KIND`, for the object itself or for what leads to it.
    pub fn path(&self) -> PathBuf {
        self.dir.join(&self.stem)
    }

    /// The same channel's path with a further ending: `DIR/NAME.KIND.ENDING`.
    fn path_of(&self, ending: &str) -> PathBuf {
        self.dir.join(format!("{}.{ending}", self.stem))
    }

    /// Waits until nobody else is coming or leaving, and keeps it so until the guard is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] if somebody holds the lock for two seconds (a stopped process does).
    pub fn lock(&self) -> io::Result<Guard<'_>> {
        let path = self.path_of("lock");
        let patience = Instant::now() + PATIENCE;
        loop {
            // Read-only, so that closing it is no event for a `Watch`; std would not create it so.
            let file = open_private(&path, OFlag::O_CREAT)?;
            match file.try_lock() {
                // Whoever held it before may have removed the name: then this lock guards nothing.
                Ok(()) if is_named(&file, &path) => {
                    return Ok(Guard { channel: self, since: Instant::now(), _lock: file });
                }
                Ok(()) => continue,
                Err(TryLockError::Error(e)) => return Err(e),
                Err(TryLockError::WouldBlock) if Instant::now() > patience => {
                    return Err(io::Error::new(
                        ErrorKind::TimedOut,
                        format!("{} is held by a stopped process", path.display()),
                    ));
                }
                // Held for microseconds as a rule; a blocking flock would outlast the deadline above.
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Everybody who is attached, seen without a guard, by who only looks: nothing is created, and nobody is
    /// kept waiting. One who is coming at this very moment can look dead, so look twice before believing it;
    /// and decide nothing by it, for that there is [`Guard::attached`].
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn attached(&self) -> io::Result<Vec<Attached>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?.file_name();
            let Some((role, pid)) = self.parse(&entry) else { continue };
            // A shared lock on a descriptor of our own: it is granted only if the owner's is gone.
            let file = match open_private(&self.dir.join(entry), OFlag::empty()) {
                Ok(file) => file,
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let alive = match file.try_lock_shared() {
                Ok(()) => false,
                Err(TryLockError::WouldBlock) => !is_dying(pid),
                Err(TryLockError::Error(e)) => return Err(e),
            };
            all.push(Attached { role, pid, alive });
        }
        Ok(all)
    }

    /// Starts to watch who comes and goes. Take it *before* looking, or an arrival in between is missed.
    ///
    /// # Errors
    /// `EMFILE` when `fs.inotify.max_user_instances` of this user are in use.
    pub fn watch(&self) -> io::Result<Watch> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).map_err(|e| match e {
            Errno::EMFILE => io::Error::other("no inotify instance left (fs.inotify.max_user_instances)"),
            e => e.into(),
        })?;
        let events = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_CLOSE_WRITE;
        inotify.add_watch(&self.dir, events | AddWatchFlags::IN_ONLYDIR)?;
        Ok(Watch { inotify, stem: self.stem.clone() })
    }

    /// Which process a directory entry stands for, if it is an attachment to this channel.
    fn parse(&self, entry: &OsString) -> Option<(Role, u32)> {
        let ending = entry.to_str()?.strip_prefix(&self.stem)?.strip_prefix('.')?;
        let (role, pid) = ending.split_once('.')?;
        let role = [Role::Producer, Role::Consumer].into_iter().find(|r| r.name() == role)?;
        Some((role, pid.parse().ok()?))
    }
}

/// Whether a process is on its way out. The kernel closes its files one after the other, so what it shared with
/// us may be closed, and bring us here, while the lock on its name is still there. From the lock alone it would look
/// alive, and nobody would remove what it leaves.
fn is_dying(pid: u32) -> bool {
    dying(pid).is_some()
}

/// Whether it is, and has files still: it may hold more than its name, and the kernel closes files in an order of its
/// own.
fn still_holds(pid: u32) -> bool {
    // The main thread's state. What is open is open until the last of them is over.
    let others = || fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|tasks| tasks.count() > 1);
    dying(pid).is_some_and(|state| state != "Z" || others())
}

/// The state of a process that is on its way out, as `/proc/PID/stat` has it.
fn dying(pid: u32) -> Option<String> {
    const PF_EXITING: u32 = 4;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name in parentheses: state, parent, group, session, terminal, the terminal's group, flags.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.to_owned();
    let flags: u32 = fields.nth(5)?.parse().ok()?;
    (flags & PF_EXITING != 0).then_some(state)
}

/// Whether `path` still names this very file.
fn is_named(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// Nobody else comes or leaves while this lives. Not to be kept across anything that blocks.
#[derive(Debug)]
pub struct Guard<'a> {
    channel: &'a Channel,
    since: Instant,
    _lock: File,
}

impl Guard<'_> {
    /// Everybody who is attached, and the dead whose names are still there. Whatever else these held is free: of who
    /// is just dying that is waited for.
    pub fn attached(&self) -> io::Result<Vec<Attached>> {
        let all = self.channel.attached()?;
        // Half of what others wait for this guard; a dying process that takes longer is stuck in the kernel.
        while all.iter().any(|a| !a.alive && still_holds(a.pid)) && self.since.elapsed() < PATIENCE / 2 {
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok(all)
    }

    /// The living processes of one role.
    pub fn living(&self, role: Role) -> io::Result<usize> {
        Ok(self.attached()?.iter().filter(|a| a.alive && a.role == role).count())
    }

    /// Attaches this process: from now on others see it live, or see that it died.
    pub fn attach(&self, role: Role) -> io::Result<Attachment> {
        let path = self.name_of(role, std::process::id());
        // A name with our own process id is a dead process's, whose id was given to us.
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.lock()?;
        Ok(Attachment { _file: file, path })
    }

    /// Takes this process's name away: it left in good order.
    pub fn detach(&self, attachment: Attachment) {
        let _ = fs::remove_file(&attachment.path);
    }

    /// Removes the names of the dead; how many there were.
    pub fn forget_dead(&self) -> io::Result<usize> {
        self.forget(&self.attached()?)
    }

    /// Removes the names of those who were dead when `attached` was asked. Who dies at this moment keeps its
    /// name: nobody has looked yet at what it leaves.
    pub fn forget(&self, attached: &[Attached]) -> io::Result<usize> {
        // Dead also now: it may be our own process id, and the name ours since.
        let dead: Vec<_> =
            self.attached()?.into_iter().filter(|a| !a.alive && attached.contains(a)).collect();
        for a in &dead {
            fs::remove_file(self.name_of(a.role, a.pid))?;
        }
        Ok(dead.len())
    }

    fn name_of(&self, role: Role, pid: u32) -> PathBuf {
        self.channel.path_of(&format!("{}.{pid}", role.name()))
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // The last one out takes the lock file along, while it still holds the lock: see `is_named`.
        if matches!(self.attached(), Ok(all) if all.is_empty()) {
            let _ = fs::remove_file(self.channel.path_of("lock"));
        }
    }
}

/// This process's name in a channel. Dropping it without [`Guard::detach`] is what dying looks like.
#[derive(Debug)]
pub struct Attachment {
    _file: File,
    path: PathBuf,
}

/// Tells that something about a channel's names has changed: readable when there is news.
#[derive(Debug)]
pub struct Watch {
    inotify: Inotify,
    stem: String,
}

impl Watch {
    /// Takes the news, without blocking: whether any of it concerns this channel.
    ///
    /// After a death look twice, a few milliseconds apart: the kernel reports that the file was closed
    /// just before it drops the lock.
    pub fn changed(&self) -> io::Result<bool> {
        let mut concerns = false;
        loop {
            match self.inotify.read_events() {
                Ok(events) => {
                    concerns |= events.iter().any(|e| {
                        // An overflow carries no name: something was lost, so look.
                        let Some(name) = &e.name else { return true };
                        match name.to_str().and_then(|n| n.strip_prefix(&self.stem)) {
                            Some("") => true,
                            Some(ending) => ending.starts_with('.') && ending != ".lock",
                            None => false,
                        }
                    });
                }
                Err(Errno::EAGAIN) => return Ok(concerns),
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
