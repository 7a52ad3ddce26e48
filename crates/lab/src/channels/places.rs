//! The run-time directories in which channels can be, and acting as the user whose they are.
//!
//! Root sees those of all users, but not with root's power: whoever follows names that another user made
//! could be led anywhere. So root *becomes* that user for as long as it looks, and then the checks of the
//! demo crates (private, and mine) hold as they stand.
//!
//! System calls: lstat, seteuid; see also credentials(7).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::unistd::{Uid, geteuid, getuid, seteuid};

/// A directory that is closed to all but its owner.
#[derive(Debug)]
pub struct RuntimeDir {
    /// Where it is.
    pub path: PathBuf,
    /// Whose it is.
    pub owner: Uid,
}

/// The directories of this user, and of all users if this one is root; or the `only` one.
pub fn all(only: Option<&Path>) -> Result<Vec<RuntimeDir>> {
    if let Some(path) = only {
        let path = std::path::absolute(path)?;
        let dir = runtime_dir(&path).with_context(|| format!("look into {}", path.display()))?;
        ensure!(dir.owner == geteuid() || geteuid().is_root(), "{} is another user's", path.display());
        return Ok(vec![dir]);
    }
    let me = geteuid();
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let mut paths: Vec<PathBuf> = given.into_iter().collect();
    paths.extend([format!("/run/user/{me}").into(), format!("/tmp/ipc-lab-{me}").into()]);
    if me.is_root() {
        let of_all = |dir: &str, prefix: &str| -> Vec<PathBuf> {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            let named = entries.filter(|e| {
                let name = e.file_name();
                name.to_str().and_then(|n| n.strip_prefix(prefix)).is_some_and(|n| n.parse::<u32>().is_ok())
            });
            named.map(|e| e.path()).collect()
        };
        let mut others = [of_all("/run/user", ""), of_all("/tmp", "ipc-lab-")].concat();
        others.sort();
        paths.extend(others);
    }
    let mut seen = BTreeSet::new();
    let known = paths.into_iter().filter_map(|path| Some((identity(&path)?, runtime_dir(&path).ok()?)));
    let new = known.filter(|(identity, dir)| (dir.owner == me || me.is_root()) && seen.insert(*identity));
    Ok(new.map(|(_, dir)| dir).collect())
}

/// Checked as the demos check it: what is open to others is no place for names.
fn runtime_dir(path: &Path) -> Result<RuntimeDir> {
    let meta = fs::symlink_metadata(path)?;
    let private = meta.is_dir() && meta.permissions().mode() & 0o077 == 0;
    ensure!(private, "it must be a directory that is closed to other users (mode 0700)");
    Ok(RuntimeDir { path: path.to_owned(), owner: Uid::from_raw(meta.uid()) })
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Does something as another user, which only root can.
pub fn acting_as<T>(user: Uid, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let me = geteuid();
    if user == me {
        return act();
    }
    seteuid(user).with_context(|| format!("act as user {user}"))?;
    let done = act();
    seteuid(me).expect("root can become root again");
    done
}

/// Does something as who we really are, within [`acting_as`].
pub fn as_ourselves<T>(act: impl FnOnce() -> T) -> T {
    let (now, really) = (geteuid(), getuid());
    if now == really || seteuid(really).is_err() {
        return act();
    }
    let done = act();
    seteuid(now).expect("root can become any user");
    done
}
