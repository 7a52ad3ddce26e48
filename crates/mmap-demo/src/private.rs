//! The classic mistake: a file mapped `MAP_PRIVATE`. Everything works, and nobody else ever sees it.
//!
//! ```text
//!   MAP_SHARED    producer's page ----+                   MAP_PRIVATE   producer's page ---> its own copy
//!                                     +--> the file's                                        (since its first store)
//!                 consumer's page ----+                                 consumer's page ---> the file's
//! ```
//!
//! The first store to a page of a private mapping makes a copy of it (copy-on-write), which is this process's
//! anonymous memory: no store reaches the file, and no wake-up the other process. It is what programs and
//! libraries are loaded by, so it is easily taken for the way to map a file.
//!
//! System calls: mmap (`MAP_PRIVATE`); see mmap(2), and proc(5) for `/proc/PID/maps`, where the fourth letter
//! of `rw-p` says private, of `rw-s` shared.

#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::path::Path;

use memmap2::{MmapOptions, MmapRaw};

use crate::producer::Producer;
use crate::site::Site;

impl Producer {
    /// As [`Producer::attach`], but with a copy of the file that is this process's own.
    ///
    /// # Errors
    /// As [`Producer::attach`].
    pub fn attach_privately(site: Site, capacity: u64, longest: usize) -> io::Result<Producer> {
        Producer::attach_by(site, capacity, longest, |map| map.remapped(map_privately))
    }
}

fn map_privately(file: &File, len: usize) -> io::Result<MmapRaw> {
    // SAFETY: what `map_copy` makes is turned into a raw mapping at once, and no slice of it is ever formed: a
    // page that was not yet copied may change under us, as one of a shared mapping may.
    let copy = unsafe { MmapOptions::new().len(len).map_copy(file) }?;
    Ok(MmapRaw::from(copy))
}

/// Whether process `pid` has mapped the file at `path` privately and writable. False where that cannot be seen.
pub fn is_private(pid: u32, path: &Path) -> bool {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    // 7f3a2c000000-7f3a2c011000 rw-p 00000000 fe:00 1234    /run/user/1000/demo.map
    maps.lines().any(|line| {
        let named = line.find('/').is_some_and(|at| Path::new(&line[at..]) == path);
        named && line.split(' ').nth(1) == Some("rw-p")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Map;

    #[test]
    fn stores_to_a_private_mapping_stay_in_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.map");
        let shared = Map::create(&path, 4096, 0).expect("create");
        let me = std::process::id();
        assert!(!is_private(me, &path));
        let private = Map::open(&path).expect("open").expect("it is there");
        let private = private.remapped(map_privately).expect("map");
        assert!(is_private(me, &path));
        private.positions().arrive();
        private.positions().commit(64);
        private.write(0, b"for nobody");
        assert_eq!((private.positions().tail(), shared.positions().tail()), (64, 0));
        assert_eq!((private.positions().producers(), shared.positions().producers()), (1, 0));
        assert!(!fs::read(&path).expect("read").windows(10).any(|w| w == b"for nobody"));
        drop(private);
        assert!(!is_private(me, &path));
    }
}
