//! Which channels there are: found by the names in the run-time directories, and looked at without a trace.
//!
//! ```text
//!   places.rs      the run-time directories, and acting as their owner
//!   channels.rs    names in them become channels: who is attached, and who is dead
//!   objects.rs     what each leads to, and how full it is
//!   open_files.rs  what a process has open, without opening it
//!   orphans.rs     objects whose leading names are gone
//! ```
//!
//! Nothing here creates, changes or removes anything, takes the guard, or opens a FIFO: see
//! [`open_files`] for why that matters.

pub mod objects;
mod open_files;
mod orphans;
pub mod places;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use common::place::{self, Place, Role};
use nix::unistd::Uid;

use objects::Object;
use places::RuntimeDir;

/// What kinds of channels there are: the ending of their names, and the method.
const KINDS: [(&str, &str); 7] = [
    ("fifo", "pipe"),
    ("back", "pipe"),
    ("mq", "mq"),
    ("shm", "shm"),
    ("map", "mmap"),
    ("sock", "socket"),
    ("rpc.sock", "rpc"),
];

/// A channel: its names, who is attached, and the object that it is made of.
#[derive(Debug)]
pub struct Channel {
    /// The run-time directory; none for an object that no name leads to.
    pub dir: Option<PathBuf>,
    /// Whose it is.
    pub owner: Uid,
    /// `demo`
    pub name: String,
    /// `fifo`, `mq`, …: the ending of its names.
    pub ending: &'static str,
    /// `pipe`, `mq`, …
    pub method: &'static str,
    /// Who is attached, and the dead whose names are still there.
    pub holders: Vec<Holder>,
    /// Whether the guard's file is there.
    pub guard: bool,
    /// Whether `NAME.ENDING` is there.
    pub leading: bool,
    /// What it leads to.
    pub object: Object,
}

/// A process that is, or was, attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its side, where a name tells.
    pub role: Option<Role>,
    /// Whether it lives.
    pub alive: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dead = if self.alive { "" } else { " (dead)" };
        write!(f, "{} {}{dead}", self.role.map_or("pid", Role::name), self.pid)
    }
}

/// What is to be thought of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Somebody holds it.
    Alive,
    /// Nobody does, and it is meant to outlive its makers.
    Kept,
    /// Nobody does: all who did were killed.
    Dead,
}

impl State {
    /// As it is shown.
    pub const fn name(self) -> &'static str {
        match self {
            State::Alive => "alive",
            State::Kept => "kept",
            State::Dead => "dead",
        }
    }
}

impl Channel {
    /// Whether it is in use, or why it is still there.
    pub fn state(&self) -> State {
        match (self.holders.iter().any(|h| h.alive) || self.object.in_use, self.object.outlives) {
            (true, _) => State::Alive,
            (_, true) => State::Kept,
            _ => State::Dead,
        }
    }

    /// `DIR/NAME.ENDING`, if a name leads to it.
    pub fn path(&self) -> Option<PathBuf> {
        Some(self.dir.as_ref()?.join(format!("{}.{}", self.name, self.ending)))
    }
}

/// Which channels are meant.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Selection {
    /// Only those of this name
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Only those of this run-time directory [default: $XDG_RUNTIME_DIR, /run/user/UID and /tmp/ipc-lab-UID; as
    /// root those of all users]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// All channels that this user may see, and what could not be seen.
pub fn find(selection: &Selection) -> Result<(Vec<Channel>, Vec<String>)> {
    let (mut channels, mut unseen) = (Vec::new(), Vec::new());
    let dirs = places::all(selection.dir.as_deref())?;
    for dir in &dirs {
        let found = places::acting_as(dir.owner, || in_dir(dir, selection));
        match found.with_context(|| format!("look into {}", dir.path.display())) {
            Ok(found) => channels.extend(found),
            Err(e) => unseen.push(format!("{e:#}")),
        }
    }
    if selection.dir.is_none() {
        let orphans = orphans::find(&channels);
        channels.extend(orphans.into_iter().filter(|c| selection.name.as_ref().is_none_or(|n| *n == c.name)));
    }
    Ok((channels, unseen))
}

/// Looks at one channel again.
pub fn look(dir: &Path, owner: Uid, name: &str, ending: &str) -> Result<Option<Channel>> {
    let selection = Selection { dir: None, name: Some(name.to_owned()) };
    let found = in_dir(&RuntimeDir { path: dir.to_owned(), owner }, &selection)?;
    Ok(found.into_iter().find(|c| c.ending == ending))
}

/// Looks again at an object to which no name leads.
pub fn look_at_orphan(channel: &Channel) -> Result<Option<Channel>> {
    orphans::look(channel.owner, &channel.name, channel.ending)
}

/// The names that one channel has in a directory.
#[derive(Debug, Default)]
struct Names {
    guard: bool,
    leading: bool,
    attached: bool,
}

fn in_dir(dir: &RuntimeDir, selection: &Selection) -> Result<Vec<Channel>> {
    let mut all: BTreeMap<(String, &'static str), Names> = BTreeMap::new();
    for entry in fs::read_dir(&dir.path)?.flatten() {
        let file_name = entry.file_name();
        let Some((name, ending, rest)) = file_name.to_str().and_then(parse) else { continue };
        if selection.name.as_ref().is_some_and(|n| n != name) {
            continue;
        }
        let names = all.entry((name.to_owned(), ending)).or_default();
        match rest {
            "" => names.leading = true,
            ".lock" => names.guard = true,
            _ => names.attached = true,
        }
    }
    let mut channels = Vec::new();
    let place = Place::at(dir.path.clone())?;
    for ((name, ending), names) in all {
        let method = KINDS.iter().find(|k| k.0 == ending).expect("a known kind").1;
        let mut holders = holders(&place.channel(&name, ending))?;
        let object = objects::look(&place, &name, ending, &holders);
        // Many programs have a socket or a lock in such a directory. Ours is what bears our other names too,
        // or says itself what it is.
        let ours =
            names.attached || names.guard && (!names.leading || object.is_known) || object.says_what_it_is;
        if ours {
            holders.extend(&object.peers);
            channels.push(Channel {
                dir: Some(dir.path.clone()),
                owner: dir.owner,
                name,
                ending,
                method,
                holders,
                guard: names.guard,
                leading: names.leading,
                object,
            });
        }
    }
    Ok(channels)
}

/// Who is attached. Whoever is just coming looks dead for a moment, so the dead are looked at twice.
fn holders(channel: &place::Channel) -> Result<Vec<Holder>> {
    let mut all = channel.attached()?;
    if all.iter().any(|a| !a.alive) {
        std::thread::sleep(Duration::from_millis(20));
        all = channel.attached()?;
    }
    all.sort_by_key(|a| (a.role == Role::Consumer, a.pid));
    Ok(all.into_iter().map(|a| Holder { pid: a.pid, role: Some(a.role), alive: a.alive }).collect())
}

/// `demo.rpc.sock.consumer.4711` is the name `demo`, the kind `rpc.sock`, and the rest `.consumer.4711`.
fn parse(file_name: &str) -> Option<(&str, &'static str, &str)> {
    let (name, rest) = file_name.split_once('.')?;
    // `@` begins the name of a mapped file that is elsewhere: see mmap_demo::site.
    let plain = name.strip_prefix('@').unwrap_or(name);
    let is_name = (1..=64).contains(&plain.len())
        && plain.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let (ending, rest) = KINDS.iter().find_map(|(ending, _)| {
        let rest = rest.strip_prefix(ending)?;
        let pid = |role: &str| rest.strip_prefix(role).is_some_and(|pid| pid.parse::<u32>().is_ok());
        let ours = matches!(rest, "" | ".lock") || pid(".producer.") || pid(".consumer.");
        ours.then_some((*ending, rest))
    })?;
    is_name.then_some((name, ending, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_names_are_a_channels() {
        for (file_name, parts) in [
            ("demo.fifo", ("demo", "fifo", "")),
            ("demo.mq.lock", ("demo", "mq", ".lock")),
            ("a-b_9.rpc.sock.consumer.4711", ("a-b_9", "rpc.sock", ".consumer.4711")),
            ("@6cc13bddf2746ce7.map.producer.1", ("@6cc13bddf2746ce7", "map", ".producer.1")),
        ] {
            assert_eq!(parse(file_name), Some(parts));
        }
        for foreign in [
            "demo",
            "demo.",
            ".fifo",
            "demo.fifo2",
            "demo.fifo.",
            "demo.fifo.lock.2",
            "a b.fifo",
            "demo.sock.other.1",
            "demo.sock.consumer.",
            "demo.sock.consumer.x",
            "demo.sock.consumer.99999999999",
            "wayland-0.lock",
        ] {
            assert_eq!(parse(foreign), None, "{foreign}");
        }
        assert_eq!(parse(&format!("{}.fifo", "n".repeat(65))), None);
    }
}
