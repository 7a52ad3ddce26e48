//! The binaries of all pairs, for tests: built as this test was built, by cargo, which does nothing if they are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where all of them are, `ipc-lab` among them.
pub fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let dir = Path::new(env!("CARGO_BIN_EXE_ipc-lab")).parent().expect("a directory");
        let profile = match dir.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(name) => name,
        };
        // The whole workspace: of a part of it, cargo would build the shared crates with other features, anew.
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--workspace", "--bins", "--profile", profile]);
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(cargo.status().expect("run cargo").success(), "build the binaries");
        dir.to_owned()
    })
}
