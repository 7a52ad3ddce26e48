//! Where a consumer's payloads go: a file, standard output, or nowhere.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

/// So many bytes are gathered before they are written.
const ENOUGH: usize = 64 * 1024;

/// `--output`, and the payloads that wait to be written there.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) fd: Option<OwnedFd>,
    /// For messages: `--output FILE`.
    pub(crate) what: String,
    gathered: Vec<u8>,
}

impl Output {
    /// Opens (and empties) the file; `-` is standard output.
    pub(crate) fn open(path: &Path) -> io::Result<Output> {
        let fd = if path.as_os_str() == "-" {
            io::stdout().as_fd().try_clone_to_owned()?
        } else {
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_CLOEXEC;
            nix::fcntl::open(path, flags, Mode::from_bits_truncate(0o644))?
        };
        Ok(Output { fd: Some(fd), what: format!("--output {}", path.display()), gathered: Vec::new() })
    }

    /// Takes a payload to be written with others; not if it is worth a write of its own.
    pub(crate) fn gather(&mut self, payload: &[u8]) -> bool {
        if self.fd.is_some() {
            if payload.len() >= ENOUGH {
                return false;
            }
            self.gathered.extend_from_slice(payload);
        }
        true
    }

    pub(crate) fn is_full(&self) -> bool {
        self.gathered.len() >= ENOUGH
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.gathered)
    }
}
