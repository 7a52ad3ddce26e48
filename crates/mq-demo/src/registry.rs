//! The small file that leads to a queue, and keeps what the queue cannot: that the stream has ended.
//!
//! ```text
//! $ cat $XDG_RUNTIME_DIR/demo.mq
//! ipc-lab mq 2                 what this is, and the version of it
//! api sysv                     or posix
//! key 1532947683               of the System V queue; of a POSIX queue only the random mark of this one
//! capacity 10                  messages
//! size 96                      bytes of the largest message
//! structs 0                    1: the messages' types say which struct each is
//! producers 2                  that have ever attached to this queue
//! consumers 1                  that have ever opened this queue, or those before it that they go on from
//! died 0                       producers whose names were found without their lock
//! goodbye 1                    the last producer has left: nothing follows what is in the queue
//! ```
//!
//! It has exactly [`LENGTH`] bytes: the lines in this order, then spaces, and a newline as the last byte. It
//! is read and written whole, in one call, by whoever holds the channel's lock: so nobody finds half of it, not even
//! after a kill. An empty one was left by somebody killed between creating and writing it, and counts as
//! none. Closing it after a write is the event (inotify's `IN_CLOSE_WRITE`) that wakes whoever waits at the
//! queue: therefore it is never opened for writing without being written.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;

use common::place::{Channel, check_private};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

/// Bytes of the file.
pub const LENGTH: usize = 256;

/// The first line.
const MAGIC: &str = "ipc-lab mq 2";

/// Which of the two families of calls a queue belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// System V: msgget, msgsnd, msgrcv.
    Sysv,
    /// POSIX: mq_open, mq_send, mq_receive.
    Posix,
}

impl Api {
    /// `"sysv"` or `"posix"`.
    pub const fn name(self) -> &'static str {
        match self {
            Api::Sysv => "sysv",
            Api::Posix => "posix",
        }
    }
}

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// How the queue is to be opened.
    pub api: Api,
    /// Random, positive, and another one for every queue that is made under the same name. With System V it
    /// is the queue's key.
    pub key: i32,
    /// How many messages of `size` bytes the queue holds.
    pub capacity: usize,
    /// Bytes of the largest message.
    pub size: usize,
    /// Whether the messages' types say which [struct](crate::structs) each is.
    pub structs: bool,
    /// How many producers have ever attached to this queue.
    pub producers: u64,
    /// How many consumers have ever opened this queue, or those before it if consumers went on from them.
    pub consumers: u64,
    /// How many producers have died and been forgotten.
    pub died: u64,
    /// The last producer has left; a new one takes it back.
    pub goodbye: bool,
}

impl Record {
    fn encode(&self) -> [u8; LENGTH] {
        let text = format!(
            "{MAGIC}\napi {}\nkey {}\ncapacity {}\nsize {}\nstructs {}\nproducers {}\nconsumers {}\ndied {}\ngoodbye {}\n",
            self.api.name(),
            self.key,
            self.capacity,
            self.size,
            u8::from(self.structs),
            self.producers,
            self.consumers,
            self.died,
            u8::from(self.goodbye),
        );
        // Ten lines with numbers of at most 20 digits: never more than 230 bytes.
        let mut bytes = [b' '; LENGTH];
        bytes[LENGTH - 1] = b'\n';
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        bytes
    }

    /// `Err` names the line that is wrong.
    fn parse(text: &str) -> Result<Record, &'static str> {
        let mut lines = text.trim_end_matches([' ', '\n']).split('\n');
        if lines.next() != Some(MAGIC) {
            return Err(MAGIC);
        }
        let mut value = |name: &'static str| {
            let line = lines.next().and_then(|l| l.strip_prefix(name)?.strip_prefix(' '));
            line.ok_or(name)
        };
        let api = match value("api")? {
            "sysv" => Api::Sysv,
            "posix" => Api::Posix,
            _ => return Err("api"),
        };
        let truth = |name, number| match number {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(name),
        };
        let mut number = |name| value(name)?.parse::<u64>().map_err(|_| name);
        let record = Record {
            api,
            key: i32::try_from(number("key")?).ok().filter(|key| *key > 0).ok_or("key")?,
            capacity: number("capacity")?.try_into().map_err(|_| "capacity")?,
            // No kernel takes a message of more than 16 MiB, and nobody makes a buffer for one.
            size: number("size")?.try_into().ok().filter(|n| *n <= 1 << 24).ok_or("size")?,
            structs: truth("structs", number("structs")?)?,
            producers: number("producers")?,
            consumers: number("consumers")?,
            died: number("died")?,
            goodbye: truth("goodbye", number("goodbye")?)?,
        };
        if lines.next().is_some() { Err("end") } else { Ok(record) }
    }
}

/// Reads a channel's file, if there is one. To be called while holding the channel's lock.
///
/// # Errors
/// `PermissionDenied` or `AlreadyExists` if something else is there; `InvalidData`, naming the line, if the
/// file is damaged.
pub fn read(channel: &Channel) -> io::Result<Option<Record>> {
    let Some(file) = open_checked(channel, OFlag::O_RDONLY)? else { return Ok(None) };
    let mut bytes = Vec::with_capacity(LENGTH + 1);
    file.take(LENGTH as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let path = channel.path();
    // A byte that is no text is damage in its line, and no reason to take the file for somebody else's.
    let text = String::from_utf8_lossy(&bytes);
    let whole = bytes.len() == LENGTH;
    match Record::parse(&text) {
        Ok(record) if whole => Ok(Some(record)),
        Err(MAGIC) => {
            let why = format!("{} is no queue's file; move it away, or use another --name", path.display());
            Err(io::Error::new(ErrorKind::AlreadyExists, why))
        }
        wrong => {
            let line = wrong.err().unwrap_or("length");
            let why = format!("{} is damaged at \"{line}\"; remove it to start anew", path.display());
            Err(io::Error::new(ErrorKind::InvalidData, why))
        }
    }
}

/// Writes a channel's file, and creates it if there is none: this wakes all who watch the channel. To be
/// called while holding the channel's lock.
///
/// # Errors
/// As [`read`]; `StorageFull` if the file system is full.
pub fn write(channel: &Channel, record: &Record) -> io::Result<()> {
    let file = match open_checked(channel, OFlag::O_WRONLY)? {
        Some(file) => file,
        None => {
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            File::from(open(&channel.path(), flags, Mode::from_bits_truncate(0o600))?)
        }
    };
    match file.write_at(&record.encode(), 0)? {
        LENGTH => Ok(()),
        _ => Err(io::Error::new(ErrorKind::StorageFull, format!("write {}", channel.path().display()))),
    }
}

/// Removes a channel's file. To be called while holding the channel's lock.
///
/// # Errors
/// What unlink(2) fails with; that there is none is no error.
pub fn remove(channel: &Channel) -> io::Result<()> {
    match fs::remove_file(channel.path()) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn open_checked(channel: &Channel, access: OFlag) -> io::Result<Option<File>> {
    let path = channel.path();
    // O_NONBLOCK for the case that somebody has put a FIFO there, whose open would wait.
    let file =
        match open(&path, access | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::ENOENT) => return Ok(None),
            Err(e) => {
                let e = io::Error::from(e);
                return Err(io::Error::new(e.kind(), format!("open {}: {e}", path.display())));
            }
        };
    check_private(&file, |t| t.is_file())
        .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
    Ok(Some(file))
}

/// A random number that can be a key: positive, for 0 is `IPC_PRIVATE` and -1 what a failed ftok(3) returns.
///
/// # Errors
/// When `/dev/urandom` cannot be read.
pub fn random_key() -> io::Result<i32> {
    let mut bytes = [0; 4];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok((i32::from_ne_bytes(bytes) & i32::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: Record = Record {
        api: Api::Posix,
        key: i32::MAX,
        capacity: usize::MAX,
        size: 1 << 24,
        structs: true,
        producers: u64::MAX,
        consumers: u64::MAX,
        died: u64::MAX,
        goodbye: true,
    };

    fn parse(bytes: &[u8]) -> Result<Record, &'static str> {
        Record::parse(str::from_utf8(bytes).expect("text"))
    }

    #[test]
    fn what_is_written_is_read() {
        let small = Record { api: Api::Sysv, key: 1, goodbye: false, died: 0, ..LARGEST.clone() };
        for record in [LARGEST, small] {
            assert_eq!(parse(&record.encode()), Ok(record));
        }
    }

    #[test]
    fn a_damaged_line_is_named() {
        let text = String::from_utf8(LARGEST.encode().to_vec()).expect("text");
        let max = u64::MAX.to_string();
        for (from, to, line) in [
            ("ipc-lab mq 2", "ipc-lab mq 1", MAGIC),
            ("api posix", "api other", "api"),
            ("key 2147483647", "key 2147483648", "key"),
            ("key 2147483647", "key 0", "key"),
            ("size 16777216", "size 16777217", "size"),
            ("size 16777216", "size -1", "size"),
            ("structs 1", "structs 2", "structs"),
            ("consumers", "consumer", "consumers"),
            (&format!("died {max}"), &format!("died {max}0"), "died"),
            ("goodbye 1", "goodbye 2", "goodbye"),
            ("goodbye 1", "", "goodbye"),
            ("goodbye 1", "goodbye 1\nmore", "end"),
        ] {
            let damaged = text.replace(from, to);
            assert_ne!(damaged, text, "{from}");
            assert_eq!(Record::parse(&damaged), Err(line), "{to}");
        }
        for len in 0..LENGTH {
            // Cut anywhere: never a panic, and whole only where nothing but the filling is missing.
            let _ = parse(&LARGEST.encode()[..len]);
        }
    }
}
