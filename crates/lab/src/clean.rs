//! `ipc-lab clean`: removes what the dead left behind, and nothing else.
//!
//! Nothing is needed for the pairs themselves, which clear up after the dead when they start. It is for who wants
//! to go home: no name, queue or object stays of processes that were killed.
//!
//! What may be removed is decided twice: by a look, and then under the channel's guard, where nobody can come or
//! leave. An object that names of another run-time directory could lead to is removed only while it is locked
//! exclusively, which those who have it open would not allow.

use std::fs::{self, TryLockError};
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use common::place::{self, Guard, Place};
use console::Style;
use mmap_demo::map::Map;
use mq_demo::registry::{self, Api};
use mq_demo::rendezvous;
use mq_demo::sysv::SysvQueue;
use nix::mqueue::mq_unlink;
use nix::sys::mman::shm_unlink;
use nix::unistd::geteuid;

use crate::channels::objects;
use crate::channels::{Channel, Selection, State, find, look, look_at_orphan};
use crate::play::{print, said};
use crate::ps;

/// An object to which no name leads is as young as that: somebody may just be making it.
const NEW: Duration = Duration::from_secs(2);

/// What is to be done with a channel.
#[derive(Debug)]
enum Fate {
    /// All of it goes.
    Remove,
    /// The object is kept for this reason; the names of the dead go.
    Keep(String),
    /// It is not touched, for this reason.
    Leave(String),
}

/// What `clean` takes.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Also what is there to outlive its makers, with all that nobody has read: mapped files, and queues that
    /// hold messages
    #[arg(long)]
    kept: bool,
}

/// Removes what is dead and says so: whether nothing stood in the way.
pub fn clean(args: &Args) -> Result<bool> {
    let selection = &args.selection;
    let (channels, unseen) = find(selection)?;
    let mut good = true;
    let mut removed = 0;
    for channel in &channels {
        let called = format!("{} ({})", channel.name, channel.method);
        let outcome = match fate(channel, args) {
            Fate::Leave(why) => Ok((Vec::new(), Some(why))),
            Fate::Remove if args.dry_run => Ok((pieces(channel, true), None)),
            Fate::Keep(why) if args.dry_run => Ok((pieces(channel, false), Some(why))),
            _ => remove(channel, args),
        };
        match outcome {
            Ok((pieces, why)) => {
                let verb = if args.dry_run { "would remove" } else { "removed" };
                if !pieces.is_empty() {
                    removed += 1;
                    print(&said(
                        &Style::new().green(),
                        &format!("{verb} "),
                        &format!("{called}: {}", pieces.join(", ")),
                    ))?;
                }
                if let Some(why) = why {
                    print(&said(&Style::new(), "left ", &format!("{called}: {why}")))?;
                }
            }
            Err(e) => {
                good = false;
                print(&said(&Style::new().red(), "error: ", &format!("clean {called}: {e:#}")))?;
            }
        }
    }
    if removed == 0 && good {
        print(&format!("nothing to clean in {}\n", ps::places(selection)?))?;
    }
    for reason in &unseen {
        eprintln!("not seen: {reason}");
    }
    Ok(good)
}

/// Removes all channels of a directory that is our own, those that are kept too, as far as nobody lives.
pub fn sweep(dir: &Path) -> Result<()> {
    let selection = Selection { dir: Some(dir.to_owned()), name: None };
    let all = Args { selection, dry_run: false, kept: true };
    let (channels, _) = find(&all.selection)?;
    channels.iter().try_for_each(|channel| remove(channel, &all).map(drop))
}

fn fate(channel: &Channel, args: &Args) -> Fate {
    let object = &channel.object;
    if channel.owner != geteuid() {
        return Fate::Leave(format!("it is user {}'s", channel.owner));
    }
    match channel.state() {
        State::Alive => {
            let living = channel.holders.iter().filter(|h| h.alive).map(ToString::to_string);
            let living: Vec<_> = living.collect();
            let note = object.note.as_deref().unwrap_or("in use");
            Fate::Leave(if living.is_empty() {
                note.into()
            } else {
                format!("in use by {}", living.join(", "))
            })
        }
        State::Kept if !args.kept => {
            let level = object.level.map_or_else(String::new, |level| format!(" ({level})"));
            Fate::Keep(format!(
                "{}{level} is there to outlive its makers; --kept removes it too",
                object.what
            ))
        }
        // Somebody has put something else there.
        State::Dead if channel.leading && !object.is_known => {
            Fate::Keep(object.note.clone().unwrap_or_else(|| "it is not what it should be".into()))
        }
        State::Kept | State::Dead => Fate::Remove,
    }
}

/// What there is to be removed, in words.
fn pieces(channel: &Channel, object: bool) -> Vec<String> {
    let mut pieces = Vec::new();
    if object && !channel.object.missing {
        pieces.push(channel.object.what.clone());
    }
    pieces.extend(channel.holders.iter().map(|h| {
        let role = h.role.map_or("process", place::Role::name);
        format!("the name of the dead {role} {}", h.pid)
    }));
    if pieces.is_empty() && channel.guard && object {
        pieces.push("its guard".into());
    }
    pieces
}

/// Removes a channel, if that is still right when nobody can come or leave: what went, and why anything stays.
fn remove(channel: &Channel, args: &Args) -> Result<(Vec<String>, Option<String>)> {
    let Some(dir) = &channel.dir else { return remove_orphan(channel, args) };
    let names = Place::at(dir.clone())?.channel(&channel.name, channel.ending);
    let guard = names.lock()?;
    let Some(now) = look(dir, channel.owner, &channel.name, channel.ending)? else {
        return Ok((Vec::new(), Some("it is gone already".into())));
    };
    match fate(&now, args) {
        Fate::Leave(why) => Ok((Vec::new(), Some(why))),
        Fate::Keep(why) => {
            forget_dead(&now, &names, &guard)?;
            Ok((pieces(&now, false), Some(why)))
        }
        Fate::Remove => match remove_object(&now, &names, &guard)? {
            Some(why) => Ok((Vec::new(), Some(why))),
            None => {
                forget_dead(&now, &names, &guard)?;
                Ok((pieces(&now, true), None))
            }
        },
    }
}

/// Removes the names of the dead, and the queues for receipts to which they lead.
fn forget_dead(channel: &Channel, names: &place::Channel, guard: &Guard<'_>) -> Result<()> {
    if channel.ending == "mq" {
        rendezvous::clear(names, &guard.attached()?);
    }
    guard.forget_dead()?;
    Ok(())
}

/// Removes the object and what leads to it, under the guard; or says why not.
fn remove_object(channel: &Channel, names: &place::Channel, _guard: &Guard<'_>) -> Result<Option<String>> {
    let path = names.path();
    match channel.ending {
        "mq" => {
            if let Some(record) = registry::read(names)? {
                match record.api {
                    Api::Sysv => {
                        let queue = SysvQueue::open(record.key, record.size);
                        // It may have been removed by hand.
                        if let Ok(queue) = queue {
                            queue.remove()?;
                        }
                    }
                    Api::Posix => {
                        if let Some(why) = unlink(&channel.name, "mq")? {
                            return Ok(Some(why));
                        }
                    }
                }
            }
            registry::remove(names)?;
        }
        "shm" => {
            if let Some(why) = unlink(&channel.name, "shm")? {
                return Ok(Some(why));
            }
            remove_file(&path)?;
        }
        "map" => {
            // Through its own library, so that it is a ring, and nobody else's.
            if !channel.name.starts_with('@')
                && let Some(map) = Map::open(&path)?
            {
                for role in [place::Role::Producer, place::Role::Consumer] {
                    match map.claim(role) {
                        // Somebody who is just dying has closed its name before its file.
                        Err(e) if e.kind() == ErrorKind::AddrInUse => return Ok(Some(e.to_string())),
                        claimed => claimed?,
                    }
                }
                remove_file(&path)?;
            }
        }
        // The look found a FIFO, or a socket at which nobody listens.
        _ if channel.leading => remove_file(&path)?,
        _ => {}
    }
    Ok(None)
}

/// An object to which no name leads has no guard either: its own lock has to do.
fn remove_orphan(channel: &Channel, args: &Args) -> Result<(Vec<String>, Option<String>)> {
    let Some(now) = look_at_orphan(channel)? else {
        return Ok((Vec::new(), Some("it is gone already".into())));
    };
    if let Fate::Leave(why) | Fate::Keep(why) = fate(&now, args) {
        return Ok((Vec::new(), Some(why)));
    }
    let Some(file) = objects::open(&now.name, now.ending)? else { return Ok((Vec::new(), None)) };
    // Whoever has just made an object has not locked it for a moment.
    let age = SystemTime::now().duration_since(file.metadata()?.modified()?).unwrap_or_default();
    if age < NEW {
        let why = "somebody may just be making it: try again in two seconds";
        return Ok((Vec::new(), Some(why.into())));
    }
    match unlink(&now.name, now.ending)? {
        Some(why) => Ok((Vec::new(), Some(why))),
        None => Ok((pieces(&now, true), None)),
    }
}

/// Removes a shared-memory object or a POSIX queue that nobody has open; or says that somebody has.
fn unlink(name: &str, ending: &str) -> Result<Option<String>> {
    let Some(file) = objects::open(name, ending)? else { return Ok(None) };
    // Held until the name is gone. Whoever uses such an object holds a shared lock on it.
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Some("in use from another run-time directory".into())),
        Err(TryLockError::Error(e)) => return Err(e.into()),
    }
    let object = objects::object_name(name);
    let gone = if ending == "shm" { shm_unlink(object.as_str()) } else { mq_unlink(object.as_str()) };
    gone.with_context(|| format!("remove {object}"))?;
    Ok(None)
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(e).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
