//! Looks at a ring's file without taking part: no lock, no mapping, and not one byte changed.
//!
//! Somebody who only wants to know how full the ring is (`ipc-lab ps`) reads the file's header with pread(2),
//! which cannot raise SIGBUS. All of it is foreign data: checked, and then used from the copy alone.
//!
//! System calls: open, fstat, pread.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use common::place::check_private;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::header::{POSITIONS, at, check};
use crate::positions::Positions;

/// What a file said at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Bytes that fit into the ring.
    pub capacity: u64,
    /// Bytes of the records that were committed and not processed yet. A guess: others write and read
    /// while this is read.
    pub unread: u64,
}

/// Reads how large a ring is, and how full; `None` if there is no such file.
///
/// # Errors
/// `PermissionDenied` if it is not this user's alone; `InvalidData`, naming what is wrong, if it is no ring.
pub fn inspect(path: &Path) -> io::Result<Option<Seen>> {
    // O_NONBLOCK: somebody may have put a FIFO there.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = match open(path, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::ENOENT) => return Ok(None),
        Err(e) => return Err(at(path, io::Error::from(e).kind(), e.desc())),
    };
    check_private(&file, |t| t.is_file()).map_err(|e| at(path, e.kind(), &e.to_string()))?;
    let capacity = check(&file, path)?;
    let mut positions = [0; size_of::<Positions>()];
    file.read_exact_at(&mut positions, POSITIONS as u64)?;
    let long = |at: usize| u64::from_le_bytes(*positions[at..].first_chunk().expect("within the positions"));
    // Read while others wrote, one of the two can be newer than the other.
    let unread = long(Positions::TAIL).wrapping_sub(long(Positions::HEAD)).min(capacity);
    Ok(Some(Seen { capacity, unread }))
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;
    use crate::map::Map;

    #[test]
    fn what_is_committed_is_seen_and_nothing_is_changed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.map");
        assert_eq!(inspect(&path).expect("none"), None);
        // Positions wrap; a ring may begin just before that.
        let start = u64::MAX - 63;
        let map = Map::create(&path, 4096, start).expect("a ring");
        for (tail, head, unread) in [(0, 0, 0), (96, 0, 96), (96, 32, 64), (4096, 0, 4096), (8192, 0, 4096)] {
            map.positions().commit(start.wrapping_add(tail));
            map.positions().release(start.wrapping_add(head));
            let before = std::fs::read(&path).expect("read");
            assert_eq!(inspect(&path).expect("a ring"), Some(Seen { capacity: 4096, unread }));
            assert!(std::fs::read(&path).expect("read") == before);
        }
        std::fs::write(&path, "too short").expect("write");
        assert_eq!(inspect(&path).expect_err("no ring").kind(), ErrorKind::InvalidData);
    }
}
