//! Which file a pair meets at, and who is attached to it.
//!
//! ```text
//!   --name demo           $XDG_RUNTIME_DIR/demo.map       names of the attached: demo.map.producer.4711 …
//!   --file /data/x.ring   /data/x.ring                    @76d1c09b8f0f3a52.map.producer.4711 …
//! ```
//!
//! Two processes that name one file meet, whatever their `--name`: the names of the attached then come from
//! the file's path (its FNV-1a hash), with symbolic links in its directory resolved.
//!
//! System calls: those of [`common::place`].

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use common::place::{Attachment, Channel, Guard, Place, Role};

use crate::header::{at, parent};

/// A file, and the names of who is attached to it.
#[derive(Clone, Debug)]
pub struct Site {
    /// Who is attached.
    pub channel: Channel,
    /// The mapped file.
    pub path: PathBuf,
}

impl Site {
    /// The file that was given, or `NAME.map`: see [`Site::at`] and [`Site::named`].
    ///
    /// # Errors
    /// As [`Site::at`].
    pub fn new(place: &Place, name: &str, file: Option<&Path>) -> io::Result<Site> {
        file.map_or_else(|| Ok(Site::named(place, name)), |file| Site::at(place, file))
    }

    /// The file `NAME.map` in the run-time directory.
    pub fn named(place: &Place, name: &str) -> Site {
        let channel = place.channel(name, "map");
        Site { path: channel.path(), channel }
    }

    /// A file anywhere.
    ///
    /// # Errors
    /// `NotFound` if its directory does not exist; `InvalidInput` if it is no path of a file.
    pub fn at(place: &Place, file: &Path) -> io::Result<Site> {
        let dir = parent(file);
        let Some(name) = file.file_name() else {
            return Err(at(file, ErrorKind::InvalidInput, "it is not the path of a file"));
        };
        // The file itself is not resolved: it may not exist yet, and must not be a link.
        let dir = fs::canonicalize(dir).map_err(|e| at(dir, e.kind(), &e.to_string()))?;
        if dir == fs::canonicalize(place.dir())?
            && let Some(name) = name.to_str().and_then(|n| n.strip_suffix(".map"))
        {
            // One of those that have a name.
            return Ok(Site::named(place, name));
        }
        let path = dir.join(name);
        let channel = place.channel(&format!("@{:016x}", fnv1a(path.as_os_str().as_bytes())), "map");
        Ok(Site { channel, path })
    }

    /// Takes a role, of which there is one.
    pub(crate) fn attach(&self, guard: &Guard<'_>, role: Role) -> io::Result<Attachment> {
        if let Some(other) = guard.attached()?.iter().find(|a| a.alive && a.role == role) {
            let why = format!("in use by {} {}; a mapped ring has one", role.name(), other.pid);
            return Err(at(&self.path, ErrorKind::AddrInUse, &why));
        }
        // Nobody will ever hear of the dead again: what they left is in the file.
        guard.forget_dead()?;
        guard.attach(role)
    }
}

/// The 64-bit FNV-1a hash: the same in every language, and spread well enough for paths.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hashes() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
