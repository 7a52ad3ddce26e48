//! Objects that bear our names and to which no known name leads: the directory of names is gone, or it is one
//! that we do not know (a process with another `XDG_RUNTIME_DIR`), and then they are in use.
//!
//! Or they are abstract sockets, whose names are in no directory.
//!
//! The objects lie in `/dev/shm` and, where that is mounted, `/dev/mqueue`. A System V queue has no name, so one whose
//! registry is gone cannot be told from any other program's.

use std::fs;

use anyhow::Result;
use common::place::Role;
use nix::unistd::{Uid, geteuid};

use super::objects::{self, Object};
use super::places::acting_as;
use super::{Channel, Holder, open_files};

/// Those to which none of `known` leads.
pub(super) fn find(known: &[Channel]) -> Vec<Channel> {
    let mut found = Vec::new();
    for (dir, ending) in [("/dev/mqueue", "mq"), ("/dev/shm", "shm")] {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let file_name = entry.file_name();
            let Some((owner, name)) = file_name.to_str().and_then(parse) else { continue };
            // `demo.4711` is the process 4711's own queue, in which it waits for receipts.
            let (channel, pid) = name.split_once('.').unwrap_or((name, ""));
            let leads_to = |c: &Channel| {
                let is_theirs = pid.is_empty() || c.holders.iter().any(|h| h.pid.to_string() == pid);
                c.ending == ending && c.owner == owner && c.name == channel && is_theirs
            };
            if known.iter().any(leads_to) || !(owner == geteuid() || geteuid().is_root()) {
                continue;
            }
            found.extend(acting_as(owner, || look(owner, name, ending)).ok().flatten());
        }
    }
    let is_listening = |words: &[&str]| words[3] == "00010000";
    for line in fs::read_to_string("/proc/net/unix").unwrap_or_default().lines() {
        // Num RefCount Protocol Flags Type St Inode Path
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(bound) = words.get(7).and_then(|path| path.strip_prefix('@')) else { continue };
        let Some((owner, name)) = bound.strip_suffix(".sock").and_then(parse) else { continue };
        // Who may look into the process that listens may see it; others could have taken the name.
        if is_listening(&words) && (owner == geteuid() || geteuid().is_root()) {
            found.extend(open_files::owner_of_socket(words[6]).map(|pid| listener(owner, name, bound, pid)));
        }
    }
    found.sort_by(|a, b| (a.owner.as_raw(), &a.name).cmp(&(b.owner.as_raw(), &b.name)));
    found
}

/// Looks at one, acting as its owner; nothing if it is not there, or not what it seems.
pub fn look(owner: Uid, name: &str, ending: &'static str) -> Result<Option<Channel>> {
    let Some(file) = objects::open(name, ending)? else { return Ok(None) };
    let object = match ending {
        "shm" => objects::memory_object(name, &file)?,
        _ => objects::posix(name)?.unwrap_or_default(),
    };
    // Receipts are for nobody but the process that waited for them.
    let outlives = ending == "mq" && !name.contains('.') && object.level.is_some_and(|level| level.used > 0);
    let pids = objects::lockers(&file);
    let note =
        (!pids.is_empty()).then(|| "in use from a run-time directory that is not known here".to_owned());
    let object = Object { outlives, note: note.or(object.note), ..object };
    let holders = pids.into_iter().map(|pid| Holder { pid, role: None, alive: true }).collect();
    let method = if ending == "shm" { "shm" } else { "mq" };
    Ok(Some(Channel {
        dir: None,
        owner,
        name: name.to_owned(),
        ending,
        method,
        holders,
        guard: false,
        leading: false,
        object,
    }))
}

/// An abstract socket at which a process listens.
fn listener(owner: Uid, name: &str, bound: &str, pid: u32) -> Channel {
    let holder = Holder { pid, role: Some(Role::Consumer), alive: true };
    let object = objects::abstract_socket(bound, holder);
    Channel {
        dir: None,
        owner,
        name: name.to_owned(),
        ending: "sock",
        method: "socket",
        holders: [&[holder], &object.peers[..]].concat(),
        guard: false,
        leading: false,
        object,
    }
}

/// `ipc-lab-1000-demo` is the user 1000's, and called demo; `ipc-lab-1000-demo.4711` belongs to one process of it.
fn parse(file_name: &str) -> Option<(Uid, &str)> {
    let (uid, name) = file_name.strip_prefix("ipc-lab-")?.split_once('-')?;
    let (channel, pid) = name.split_once('.').map_or((name, None), |(channel, pid)| (channel, Some(pid)));
    let is_name = (1..=64).contains(&channel.len())
        && channel.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && pid.is_none_or(|pid| pid.parse::<u32>().is_ok());
    let canonical = uid.bytes().all(|b| b.is_ascii_digit()) && (uid == "0" || !uid.starts_with('0'));
    (is_name && canonical).then_some((Uid::from_raw(uid.parse().ok()?), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_objects_bear_our_names() {
        for name in ["a-b_9", "demo.4711"] {
            assert_eq!(parse(&format!("ipc-lab-1000-{name}")), Some((Uid::from_raw(1000), name)));
        }
        for foreign in [
            "ipc-lab-",
            "ipc-lab-1000",
            "ipc-lab-1000-",
            "ipc-lab-x-demo",
            "ipc-lab-01-demo",
            "lab-1-demo",
            "ipc-lab-1-demo.",
            "ipc-lab-1-demo.x",
            "ipc-lab-1-demo.1.2",
        ] {
            assert_eq!(parse(foreign), None, "{foreign}");
        }
        assert_eq!(parse("ipc-lab-4294967296-demo"), None);
    }
}
