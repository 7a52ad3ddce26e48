//! What a channel is made of, and how full it is at this moment.
//!
//! What the demo crates' own libraries tell without taking part is asked of them. Where their way to open an
//! object is to take part (a lock that others would meet, an open that others wait for), it is looked at from
//! outside. Whatever cannot be seen is a note, never an error: the other channels are to be seen all the same.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use common::place::{Place, Role, check_private};
use mmap_demo::site::Site;
use mq_demo::registry::{self, Api, Record};
use mq_demo::sysv::SysvQueue;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_close, mq_getattr, mq_open};
use nix::sys::mman::shm_open;
use nix::sys::socket::{SockaddrStorage, UnixAddr, getsockname, getsockopt, sockopt};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;
use rustix::io::ioctl_fionread;

use super::open_files::{self, OpenFile};
use super::{Holder, places::as_ourselves};

/// What a channel is made of.
#[derive(Debug, Default)]
pub struct Object {
    /// `FIFO`, `System V queue 17`
    pub what: String,
    /// How full it is, if that is to be seen.
    pub level: Option<Level>,
    /// Whether it is meant to be there when nobody holds it.
    pub outlives: bool,
    /// The command that removes what outlives its makers.
    pub remove: Option<String>,
    /// What a user should know.
    pub note: Option<String>,
    /// Whether what the name leads to is of the type that it must be.
    pub is_known: bool,
    /// Whether it bears our mark, so that it is ours even without any other name beside it.
    pub says_what_it_is: bool,
    /// Whether there is none: not made yet, or removed.
    pub missing: bool,
    /// Whether somebody uses it of whom the names tell nothing.
    pub in_use: bool,
    /// Who is at the other ends of connections, which have no names.
    pub peers: Vec<Holder>,
}

impl Object {
    /// One that is not there: its makers were killed before they made it, or after they removed it.
    fn missing(what: &str) -> Object {
        Object { what: format!("no {what}"), missing: true, ..Object::default() }
    }
}

/// How full something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// What is in it.
    pub used: u64,
    /// What fits into it, where there is a limit.
    pub capacity: Option<u64>,
    /// Of what: `bytes`, `messages`, `items`.
    pub unit: &'static str,
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.capacity {
            Some(capacity) => write!(f, "{} of {capacity} {}", self.used, self.unit),
            None => write!(f, "{} {}", self.used, self.unit),
        }
    }
}

/// Looks at the object of a channel, acting as its owner.
pub fn look(place: &Place, name: &str, ending: &str, holders: &[Holder]) -> Object {
    let channel = place.channel(name, ending);
    let looked = match ending {
        "fifo" | "back" => fifo(&channel.path(), holders),
        "mq" => queue(&channel, name),
        "shm" => shared_memory(&channel.path(), name, holders),
        "map" => mapped_file(place, name, &channel.path(), holders),
        _ => socket(&channel.path(), holders),
    };
    let object = looked.unwrap_or_else(|e| Object {
        what: "?".into(),
        note: Some(format!("{e:#}")),
        ..Object::default()
    });
    // A path is another process's choice, and a terminal obeys what it is shown.
    let shown = |text: String| text.replace(char::is_control, "\u{fffd}");
    Object {
        what: shown(object.what),
        note: object.note.map(shown),
        remove: object.remove.map(shown),
        ..object
    }
}

fn fifo(path: &Path, holders: &[Holder]) -> Result<Object> {
    let Some(meta) = lstat(path)? else { return Ok(Object::missing("FIFO")) };
    let is_known = meta.file_type().is_fifo() && meta.uid() == geteuid().as_raw();
    if !is_known {
        return foreign(path, "a FIFO");
    }
    let what = format!("FIFO {}", file_name(path));
    let mut object = Object { what, is_known, ..Object::default() };
    if holders.iter().any(|h| h.alive && open_files::of(h.pid).is_empty()) {
        object.note = Some("what its processes have open is not to be seen from here".into());
    }
    // Any end that somebody has open will do: all ends of a FIFO are one pipe.
    for file in opened(path, holders) {
        match open_files::borrow(&file) {
            Ok((fd, stat)) if (stat.st_dev, stat.st_ino) == (meta.dev(), meta.ino()) => {
                let capacity = fcntl(&fd, FcntlArg::F_GETPIPE_SZ)? as u64;
                let used = ioctl_fionread(&fd).map_err(io::Error::from)?;
                object.level = Some(Level { used, capacity: Some(capacity), unit: "bytes" });
                object.note = None;
                break;
            }
            Ok(_) => {}
            Err(e) => object.note = Some(open_files::explain(&e)),
        }
    }
    Ok(object)
}

fn queue(channel: &common::place::Channel, name: &str) -> Result<Object> {
    let Some(record) = registry::read(channel)? else {
        // A consumer waits for the first producer, or a producer was killed before it had made its queue.
        let is_known = lstat(&channel.path())?.is_none_or(|meta| meta.is_file() && meta.len() == 0);
        return Ok(Object { is_known, ..Object::missing("queue") });
    };
    let mut object = match record.api {
        Api::Sysv => sysv(&record)?,
        Api::Posix => posix(name)?.unwrap_or_else(|| Object::missing("POSIX queue")),
    };
    // Also a stream without a message is kept, until a consumer has heard that it ended.
    let unheard = record.goodbye && record.consumers == 0;
    object.outlives = object.level.is_some_and(|level| level.used > 0 || unheard);
    (object.is_known, object.says_what_it_is) = (true, true);
    if !object.outlives {
        object.remove = None;
    }
    Ok(object)
}

fn sysv(record: &Record) -> Result<Object> {
    let queue = match SysvQueue::open(record.key, record.size) {
        Ok(queue) => queue,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Ok(Object::missing("System V queue"));
        }
        Err(e) => return Err(e.into()),
    };
    let level = queue.level()?;
    let capacity = record.capacity as u64;
    let note = (level.messages != capacity && level.messages > 0)
        .then(|| format!("{} of {} bytes are taken", level.bytes, level.capacity));
    Ok(Object {
        what: format!("System V queue {}", queue.id()),
        level: Some(Level { used: level.messages, capacity: Some(capacity), unit: "messages" }),
        remove: Some(format!("ipcrm -q {}", queue.id())),
        note,
        ..Object::default()
    })
}

/// Opens this user's shared-memory object (`shm`) or POSIX queue (`mq`) of that name, if there is one: for
/// looking at it, or for locking it.
pub fn open(name: &str, ending: &str) -> Result<Option<File>> {
    if ending == "shm" {
        return memory(name);
    }
    let queue = PosixQueue::open(&object_name(name))?;
    Ok(queue.map(|queue| queue.mqd().as_fd().try_clone_to_owned()).transpose()?.map(File::from))
}

/// An open POSIX queue, for looking only: mq_demo's own takes a lock with it, which others would meet.
#[derive(Debug)]
struct PosixQueue(Option<MqdT>);

impl PosixQueue {
    fn open(object: &str) -> Result<Option<PosixQueue>> {
        let flags = MQ_OFlag::O_RDONLY | MQ_OFlag::O_CLOEXEC;
        match mq_open(object, flags, Mode::empty(), Some(&MqAttr::new(0, 0, 0, 0))) {
            Ok(mqd) => {
                let queue = PosixQueue(Some(mqd));
                check_private(queue.mqd(), |t| t.is_file())
                    .with_context(|| format!("message queue {object}"))?;
                Ok(Some(queue))
            }
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(e).with_context(|| format!("open the message queue {object}")),
        }
    }

    fn mqd(&self) -> &MqdT {
        self.0.as_ref().expect("open until it is dropped")
    }

    fn level(&self) -> Result<Level> {
        let now = mq_getattr(self.mqd())?;
        Ok(Level { used: now.curmsgs() as u64, capacity: Some(now.maxmsg() as u64), unit: "messages" })
    }
}

impl Drop for PosixQueue {
    fn drop(&mut self) {
        self.0.take().map(mq_close);
    }
}

/// `/ipc-lab-UID-NAME`: what the kernel calls a POSIX queue, and a shared-memory object.
pub fn object_name(name: &str) -> String {
    format!("/ipc-lab-{}-{name}", geteuid())
}

pub(super) fn posix(name: &str) -> Result<Option<Object>> {
    let object = object_name(name);
    let Some(queue) = PosixQueue::open(&object)? else { return Ok(None) };
    Ok(Some(Object {
        what: format!("POSIX queue {object}"),
        level: Some(queue.level()?),
        // rm works only where /dev/mqueue is mounted.
        remove: Some(format!("ipc-lab clean --kept --name {name}")),
        ..Object::default()
    }))
}

fn shared_memory(leading: &Path, name: &str, holders: &[Holder]) -> Result<Object> {
    let word = match lstat(leading)? {
        Some(meta) if meta.is_file() && meta.len() < 16 => fs::read_to_string(leading)?,
        Some(_) => return foreign(leading, "what leads to shared memory"),
        None => String::new(),
    };
    let ours = shm_demo::object::SyncKind::ALL.iter().any(|kind| kind.name() == word);
    let object = match memory(name)? {
        Some(file) if holders.iter().all(|h| !h.alive) && !lockers(&file).is_empty() => {
            let note = format!("in use from another run-time directory, by pid {:?}", lockers(&file));
            Object { note: Some(note), in_use: true, ..memory_object(name, &file)? }
        }
        Some(file) => memory_object(name, &file)?,
        None => Object::missing("shared memory"),
    };
    // Created, but killed before the word was written.
    let is_known = ours || word.is_empty();
    Ok(Object { is_known, says_what_it_is: ours, ..object })
}

/// Opens this user's shared-memory object of that name, if there is one, for reading only.
fn memory(name: &str) -> Result<Option<File>> {
    let object = object_name(name);
    match shm_open(object.as_str(), OFlag::O_RDONLY | OFlag::O_NONBLOCK, Mode::empty()) {
        Ok(fd) => {
            check_private(&fd, |t| t.is_file()).with_context(|| format!("shared memory {object}"))?;
            Ok(Some(File::from(fd)))
        }
        Err(Errno::ENOENT) => Ok(None),
        Err(e) => Err(e).with_context(|| format!("open shared memory {object}")),
    }
}

pub(super) fn memory_object(name: &str, file: &File) -> Result<Object> {
    let what = format!("shared memory {}", object_name(name));
    Ok(match shm_demo::inspect::inspect(file) {
        Ok(Some(seen)) => Object {
            what: format!("{what} ({})", seen.kind.name()),
            level: Some(Level { used: seen.items, capacity: Some(seen.shape.slots.into()), unit: "items" }),
            ..Object::default()
        },
        Ok(None) => Object { what, note: Some("half made".into()), ..Object::default() },
        Err(e) => Object { what, note: Some(e.to_string()), ..Object::default() },
    })
}

fn mapped_file(place: &Place, name: &str, leading: &Path, holders: &[Holder]) -> Result<Object> {
    let path = if name.starts_with('@') {
        // It is elsewhere (--file), and the name is a hash of its path: whoever has it open knows it.
        let living = holders.iter().filter(|h| h.alive);
        let site = |path: PathBuf| Site::at(place, &path).ok().filter(|s| s.channel.path() == leading);
        match living.flat_map(|h| open_files::paths(h.pid)).find_map(site) {
            Some(site) => site.path,
            None => {
                return Ok(Object { is_known: true, ..Object::missing("mapped file of a --file") });
            }
        }
    } else {
        leading.to_owned()
    };
    let Some(seen) = mmap_demo::inspect::inspect(&path)? else {
        return Ok(Object::missing("mapped file"));
    };
    Ok(Object {
        what: format!("mapped file {}", shown(place.dir(), &path)),
        level: Some(Level { used: seen.unread, capacity: Some(seen.capacity), unit: "bytes" }),
        outlives: true,
        remove: Some(format!("rm {}", quoted(&path.display().to_string()))),
        is_known: true,
        says_what_it_is: true,
        ..Object::default()
    })
}

fn socket(path: &Path, holders: &[Holder]) -> Result<Object> {
    let Some(meta) = lstat(path)? else {
        return Ok(Object::missing("socket"));
    };
    let is_known = meta.file_type().is_socket() && meta.uid() == geteuid().as_raw();
    if !is_known {
        return foreign(path, "a socket");
    }
    let what = format!("Unix socket {}", file_name(path));
    let mut object = Object { what, is_known, ..Object::default() };
    if holders.iter().all(|h| !h.alive) && is_bound(path) {
        // No name of the living beside it: it may be another program's that happens to be called so.
        let note = Some("somebody is there who has no name beside it".into());
        return Ok(Object { in_use: true, note, ..object });
    }
    let is_ours = |unix: &UnixAddr| unix.path() == Some(path);
    connections(&mut object, holders, is_ours);
    Ok(object)
}

/// The abstract socket of that name, which is in no directory: its listener is `holder`.
pub(super) fn abstract_socket(bound: &str, holder: Holder) -> Object {
    let mut object =
        Object { what: format!("abstract socket @{bound}"), is_known: true, ..Object::default() };
    connections(&mut object, &[holder], |unix| unix.as_abstract() == Some(bound.as_bytes()));
    object
}

/// Finds the connections that the living have accepted at an address of ours: what is unread, and who is there.
fn connections(object: &mut Object, holders: &[Holder], is_ours: impl Fn(&UnixAddr) -> bool) {
    let mut unread = None;
    for holder in holders.iter().filter(|h| h.alive) {
        let sockets = open_files::of(holder.pid);
        for file in sockets.iter().filter(|f| f.link.to_string_lossy().starts_with("socket:")) {
            match open_files::borrow(file).and_then(|(fd, _)| connection(&fd, &is_ours)) {
                Ok(Some((bytes, peer))) => {
                    unread = Some(unread.unwrap_or(0) + bytes);
                    object.peers.extend(peer);
                }
                Ok(None) => {}
                Err(e) => object.note = Some(open_files::explain(&e)),
            }
        }
    }
    object.level = unread.map(|used| Level { used, capacity: None, unit: "bytes" });
}

/// Bytes that nobody has read yet from an accepted socket of ours, and who is at its other end. The listener
/// itself has nothing to be read, and nobody at its other end.
fn connection(
    fd: &OwnedFd,
    is_ours: impl Fn(&UnixAddr) -> bool,
) -> io::Result<Option<(u64, Option<Holder>)>> {
    let addr = getsockname::<SockaddrStorage>(fd.as_raw_fd());
    if !addr.is_ok_and(|addr| addr.as_unix_addr().is_some_and(is_ours)) {
        return Ok(None);
    }
    if getsockopt(fd, sockopt::AcceptConn)? {
        return Ok(Some((0, None)));
    }
    let who = getsockopt(fd, sockopt::PeerCredentials)?;
    let peer = Holder { pid: who.pid() as u32, role: Some(Role::Producer), alive: true };
    Ok(Some((ioctl_fionread(fd)?, Some(peer))))
}

/// Whether a process has a socket of that path, as the kernel lists them.
fn is_bound(path: &Path) -> bool {
    let sockets = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    sockets.lines().any(|line| line.split_whitespace().nth(7).is_some_and(|bound| Path::new(bound) == path))
}

/// What the living have open under that path.
fn opened(path: &Path, holders: &[Holder]) -> Vec<OpenFile> {
    // /proc shows paths without symbolic links.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let open = holders.iter().filter(|h| h.alive).flat_map(|h| open_files::of(h.pid));
    open.filter(|f| f.link == path).collect()
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    if path.chars().all(plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

/// A path, without the directory above which it is shown.
fn shown(dir: &Path, path: &Path) -> String {
    path.strip_prefix(dir).unwrap_or(path).display().to_string()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn lstat(path: &Path) -> io::Result<Option<fs::Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn foreign(path: &Path, expected: &str) -> Result<Object> {
    let mode = lstat(path)?.map_or(0, |meta| meta.permissions().mode());
    let note = format!("{} is not {expected} of this user (mode {mode:o})", path.display());
    Ok(Object { what: "something else".into(), note: Some(note), ..Object::default() })
}

/// Who holds a lock (flock) on a file, as the kernel lists it: to look there disturbs nobody, where to try for
/// the lock would. Processes of other pid namespaces are not in the list.
pub fn lockers(file: &File) -> Vec<u32> {
    let Ok(meta) = file.metadata() else { return Vec::new() };
    let (major, minor) = (nix::sys::stat::major(meta.dev()), nix::sys::stat::minor(meta.dev()));
    let object = format!("{major:02x}:{minor:02x}:{}", meta.ino());
    let locks = as_ourselves(|| fs::read_to_string("/proc/locks")).unwrap_or_default();
    let holder = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is = words.get(1) == Some(&"FLOCK") && words.get(5) == Some(&object.as_str());
        is.then(|| words[4].parse().ok()).flatten()
    };
    let mut pids: Vec<u32> = locks.lines().filter_map(holder).collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        for (path, word) in [
            ("/tmp/demo.map", "/tmp/demo.map"),
            ("/a b", "'/a b'"),
            ("/it's", r"'/it'\''s'"),
            ("/$x", "'/$x'"),
        ] {
            assert_eq!(quoted(path), word);
        }
    }
}
