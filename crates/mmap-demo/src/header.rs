//! What a mapped file begins with, and how it is told from any other file.
//!
//! ```text
//!   0        8         12       16         24   64                 320     4096          4096+capacity
//!   +--------+---------+--------+----------+----+------------------+-------+-------------+
//!   | magic  | version | header | capacity | 0… | Positions        | 0…    | bytes       |
//!   +--------+---------+--------+----------+----+------------------+-------+-------------+
//!     8 bytes  u32       u32      u64            crate::positions            crate::ring
//! ```
//!
//! The magic, version, header length and capacity never change. They are read with pread(2), which cannot
//! raise SIGBUS, so that a file can be checked before it is mapped and again while it is.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes before the ring: one page.
pub const HEADER: usize = 4096;
/// Where the positions are.
pub const POSITIONS: usize = 64;
/// The first bytes of the file.
pub const MAGIC: [u8; 8] = *b"ipc-map\n";
/// Changes with the layout.
pub const VERSION: u32 = 1;
/// The smallest ring: one page.
pub const MIN_CAPACITY: u64 = 4096;
/// The largest ring.
pub const MAX_CAPACITY: u64 = 1 << 40;

/// The constant part of the header.
pub(crate) fn header(capacity: u64) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[0..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&(HEADER as u32).to_le_bytes());
    bytes[16..24].copy_from_slice(&capacity.to_le_bytes());
    bytes
}

/// Checks the header and the size: the ring's capacity. Read by pread(2), which cannot raise SIGBUS.
pub(crate) fn check(file: &File, path: &Path) -> io::Result<u64> {
    let mut found = [0; 24];
    let header = file.read_exact_at(&mut found, 0);
    // After the read: the file may be cut at any moment, and the length shall explain what was read.
    let len = file.metadata()?.len();
    match header {
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
            return Err(damaged(path, &format!("it has {len} bytes, and a header alone has {HEADER}")));
        }
        done => done?,
    }
    let u32_at = |i: usize| u32::from_le_bytes(found[i..i + 4].try_into().expect("four bytes"));
    let capacity = u64::from_le_bytes(found[16..24].try_into().expect("eight bytes"));
    if found[0..8] != MAGIC {
        return Err(damaged(path, &format!("magic is {:02x?}, not {MAGIC:02x?}", &found[0..8])));
    }
    if u32_at(8) != VERSION {
        return Err(damaged(path, &format!("version is {}, not {VERSION}", u32_at(8))));
    }
    if u32_at(12) != HEADER as u32 {
        return Err(damaged(path, &format!("header length is {}, not {HEADER}", u32_at(12))));
    }
    if !capacity.is_power_of_two() || !(MIN_CAPACITY..=MAX_CAPACITY).contains(&capacity) {
        return Err(damaged(path, &format!("capacity is {capacity}, no power of two in range")));
    }
    let whole = HEADER as u64 + capacity;
    if len < whole {
        return Err(damaged(path, &format!("file shrank to {len} bytes; its header says {whole}")));
    }
    if len > whole {
        return Err(damaged(path, &format!("file length is {len}; its header says {whole}")));
    }
    Ok(capacity)
}

/// The directory that a path's last name is in.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// An error for a file that cannot be used, and is left as it is.
pub(crate) fn damaged(path: &Path, what: &str) -> io::Error {
    let why = format!("{what}: foreign or damaged; not touched; if nobody needs it: rm {}", path.display());
    at(path, ErrorKind::InvalidData, &why)
}

/// An error about the file at `path`.
pub(crate) fn at(path: &Path, kind: ErrorKind, what: &str) -> io::Error {
    io::Error::new(kind, format!("{}: {what}", path.display()))
}
