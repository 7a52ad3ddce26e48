//! The large file that is sent. It has no name: whatever ends this process, nothing is left of it.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};

use crate::stop;

/// The items that it is sent in, and the blocks of the programs beside.
pub const CHUNK: usize = 1 << 20;

/// A file that is in the page cache.
#[derive(Debug)]
pub struct Payload {
    file: File,
    len: usize,
}

impl Payload {
    /// A file of `len` bytes, a multiple of [`CHUNK`], that no filter on the way finds easy.
    pub fn make(len: usize) -> Result<Payload> {
        let dir = std::env::temp_dir();
        let why = || {
            let mib = len / CHUNK;
            format!("make a file of {mib} MiB in {} (TMPDIR says where, --file-size how long)", dir.display())
        };
        let mut file = tempfile::tempfile_in(&dir).with_context(why)?;
        let (mut random, mut chunk) = (fastrand::Rng::with_seed(1), vec![0; CHUNK]);
        for _ in 0..len / CHUNK {
            stop::check()?;
            random.fill(&mut chunk);
            file.write_all(&chunk).with_context(why)?;
        }
        // Else the disk would be busy with it while others are measured.
        file.sync_all().with_context(why)?;
        Ok(Payload { file, len })
    }

    /// How many items it makes.
    pub fn items(&self) -> u64 {
        (self.len / CHUNK) as u64
    }

    /// Where other processes find it, as long as this one lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn it_is_as_long_as_wanted_and_all_chunks_differ() {
        let payload = Payload::make(4 * CHUNK).expect("a file");
        let content = fs::read(payload.path()).expect("it can be read by its path");
        let chunks: Vec<_> = content.chunks_exact(CHUNK).collect();
        assert_eq!((chunks.len() as u64, content.len()), (payload.items(), 4 * CHUNK));
        assert!(chunks.windows(2).all(|two| two[0] != two[1]) && chunks[0][..8] != chunks[0][8..16]);
    }
}
