//! Looks at an object without taking part: no lock, no mapping, and not one byte changed.
//!
//! Who maps an object has a place at it, and others count on that. Somebody who only wants to know how full it
//! is (`ipc-lab ps`) reads the file behind it: one pread(2) of its first bytes, which cannot raise SIGBUS. All
//! of them are foreign data: checked, and then used from the copy alone.
//!
//! System calls: pread, fstat.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::mem::offset_of;
use std::os::unix::fs::FileExt;

use crate::buffer::format;
use crate::header::{CONTROL, Header, MAGIC, VERSION};
use crate::object::{Shape, SyncKind};
use crate::{ring, semaphore, slots, unsynchronized};

/// All control words of every mechanism are in the first bytes.
const LOOKED_AT: usize = CONTROL + 256;

/// What an object said at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How its processes keep out of each other's way.
    pub kind: SyncKind,
    /// How many slots, and how large.
    pub shape: Shape,
    /// Items in it. A guess: others push and pop while this is read.
    pub items: u64,
}

/// Reads what an object is, and how full; `None` if its creator has not finished it.
///
/// # Errors
/// `InvalidData` if it is not one of ours.
pub fn inspect(object: &File) -> io::Result<Option<Seen>> {
    let mut bytes = [0; LOOKED_AT];
    let size = object.metadata()?.len();
    let n = object.read_at(&mut bytes[..LOOKED_AT.min(size as usize)], 0)?;
    let long = |at: usize| u64::from_ne_bytes(*bytes[at..].first_chunk().expect("within the first bytes"));
    let word = |at: usize| u32::from_ne_bytes(*bytes[at..].first_chunk().expect("within the first bytes"));
    let foreign = || Err(io::Error::new(ErrorKind::InvalidData, "damaged or foreign"));
    match long(offset_of!(Header, magic)) {
        0 => return Ok(None),
        MAGIC if n >= CONTROL && word(offset_of!(Header, version)) == VERSION => {}
        _ => return foreign(),
    }
    let shape =
        Shape { slots: word(offset_of!(Header, slots)), slot_size: word(offset_of!(Header, slot_size)) };
    let said = word(offset_of!(Header, kind));
    let Some(kind) = SyncKind::ALL.into_iter().find(|kind| *kind as u32 == said) else { return foreign() };
    if !shape.is_possible() || (format(kind).size)(&shape) as u64 != size {
        return foreign();
    }
    let items = match kind {
        SyncKind::Semaphore => long(semaphore::TAIL).wrapping_sub(long(semaphore::HEAD)),
        SyncKind::Mutex => long(slots::QUEUES + 8).wrapping_sub(long(slots::QUEUES)),
        SyncKind::Ring | SyncKind::Duplex => long(ring::TAIL).wrapping_sub(long(ring::HEAD)),
        // Lost updates can have taken it below zero.
        SyncKind::None => (word(unsynchronized::COUNT) as i32).max(0) as u64,
    };
    // Read while others wrote, one of two counters can be newer than the other.
    Ok(Some(Seen { kind, shape, items: items.min(shape.slots.into()) }))
}

#[cfg(test)]
mod tests {
    use common::place::Place;

    use super::*;
    use crate::buffer::Buffer;

    #[test]
    fn what_is_pushed_is_seen_and_nothing_is_changed() {
        let shape = Shape { slots: 3, slot_size: 40 };
        let place = Place::open().expect("a place");
        for kind in SyncKind::ALL {
            let name = format!("inspect-{}-{}", kind.name(), std::process::id());
            let mut buffer = Buffer::create(&place, &name, kind, shape).expect("a buffer");
            let path = format!("/dev/shm/ipc-lab-{}-{name}", nix::unistd::geteuid());
            let object = File::open(&path).expect("open it for reading only");
            for items in 0..=3 {
                let before = std::fs::read(&path).expect("read");
                assert_eq!(inspect(&object).expect("ours"), Some(Seen { kind, shape, items }), "{kind:?}");
                assert!(std::fs::read(&path).expect("read") == before);
                let pushed = buffer.push(b"item", false);
                assert_eq!(pushed.is_ok(), items < 3, "{kind:?}");
            }
            buffer.leave().expect("leave");
        }
    }

    #[test]
    fn whatever_the_bytes_are_it_is_no_panic() {
        let file = tempfile();
        assert_eq!(inspect(&file).expect("empty"), None);
        for len in [1, 7, 8, 127, 128, 384, 4096] {
            file.set_len(0).expect("cut");
            file.write_all_at(&vec![0xA5; len], 0).expect("write");
            assert_eq!(inspect(&file).expect_err("foreign").kind(), ErrorKind::InvalidData, "{len}");
            // With our magic and version: the shape gives it away.
            file.write_all_at(&MAGIC.to_ne_bytes(), 0).expect("write");
            file.write_all_at(&VERSION.to_ne_bytes(), 8).expect("write");
            assert_eq!(inspect(&file).expect_err("foreign").kind(), ErrorKind::InvalidData, "{len}");
        }
    }

    /// A file without a name.
    fn tempfile() -> File {
        let path = std::env::temp_dir().join(format!("ipc-inspect-{}", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path).expect("create");
        std::fs::remove_file(path).expect("remove");
        file
    }
}
