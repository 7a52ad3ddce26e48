//! The stage: a run-time directory and a channel name of our own, and a look at what is left there.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::clean;
use crate::pairs::{Pair, Role};

/// Where the processes of one run meet, apart from all others on this machine.
#[derive(Debug)]
pub struct Stage {
    dir: TempDir,
    name: String,
    binaries: PathBuf,
}

impl Stage {
    /// A new one; `pairs` are those whose binaries must be there.
    pub fn new(pairs: &[&Pair]) -> Result<Stage> {
        Stage::named(pairs, format!("lab-{}", std::process::id()))
    }

    /// The same with a channel name of the caller's choice, which no other's may end with.
    pub fn named(pairs: &[&Pair], name: String) -> Result<Stage> {
        let itself = std::env::current_exe().context("find this program")?;
        let binaries = itself.parent().context("find this program's directory")?.to_owned();
        for pair in pairs {
            for role in [Role::Producer, Role::Consumer] {
                let binary = binaries.join(pair.binary(role));
                let (path, dir) = (binary.display(), binaries.display());
                ensure!(
                    binary.exists(),
                    "{path} is missing; build all of {dir} with: cargo build --workspace --release"
                );
            }
        }
        Ok(Stage { dir: private_dir()?, name, binaries })
    }

    /// The run-time directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The channel's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path for a file of the run's own.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The command that starts one side.
    pub fn command(&self, pair: &Pair, role: Role, args: &[&str]) -> Command {
        let mut command = Command::new(self.binaries.join(pair.binary(role)));
        command.args(["--name", &self.name]).args(args);
        command.env("XDG_RUNTIME_DIR", self.dir.path());
        command.stdin(Stdio::null());
        command
    }

    /// Removes the mapped file, which outlives its makers on purpose, and fails if anything else is left.
    /// The name of the mapped file, if there was one.
    pub fn clear(&self) -> Result<Option<String>> {
        let map = format!("{}.map", self.name);
        let removed = fs::remove_file(self.file(&map)).is_ok().then_some(map);
        let left = self.left();
        if !left.is_empty() {
            // The next pair is to start on an empty stage all the same. A name alone is not enough: it can lead
            // to a queue in the kernel, which nobody would find any more.
            let _ = clean::sweep(self.dir.path());
        }
        for path in &left {
            let _ = fs::remove_file(path);
        }
        let names: Vec<_> = left.iter().map(|p| p.display().to_string()).collect();
        ensure!(left.is_empty(), "left behind: {}", names.join(", "));
        Ok(removed)
    }

    fn left(&self) -> Vec<PathBuf> {
        let ours = |path: &PathBuf| {
            path.starts_with(self.dir.path()) || path.to_string_lossy().ends_with(&self.name)
        };
        [self.dir.path(), Path::new("/dev/shm"), Path::new("/dev/mqueue")]
            .iter()
            .flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten())
            .map(|entry| entry.path())
            .filter(ours)
            .collect()
    }
}

/// A temporary directory that will do as `XDG_RUNTIME_DIR`.
pub fn private_dir() -> Result<TempDir> {
    let private = Permissions::from_mode(0o700);
    let dir = tempfile::Builder::new().prefix("ipc-lab-").permissions(private).tempdir();
    dir.context("make a temporary directory")
}

/// A TCP port below those that the kernel gives to clients, each time another one.
pub fn free_port() -> u16 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let n = (std::process::id() % 20_000).wrapping_add(COUNT.fetch_add(1, Relaxed));
        let port = 10_000 + (n % 20_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.clear();
    }
}
