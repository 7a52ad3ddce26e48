//! Where the episodes of one variant take place: a run-time directory, a name and an address of their own, and
//! a look at what is left there.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use crate::bench::subject::Subject;
use crate::channels::{self, Selection};
use crate::pairs::{self, Pair, Role};
use crate::soak::actor::Actor;
use crate::soak::plan::Plan;
use crate::soak::record::RECORD;
use crate::stage::{self, Stage};

/// The place of a variant.
#[derive(Debug)]
pub struct Arena {
    /// Which variant.
    pub subject: &'static Subject,
    /// Who has not ended after so long in peace, hangs.
    pub patience: Duration,
    pair: &'static Pair,
    stage: Stage,
    /// What the processes say.
    words: TempDir,
    addr: String,
    runs: u64,
    pids: BTreeSet<u32>,
}

impl Arena {
    /// An empty one.
    pub fn new(subject: &'static Subject, patience: Duration) -> Result<Arena> {
        let pair = pairs::named(&[subject.method().to_owned()])[0];
        let name = format!("soak-{}-{}", std::process::id(), subject.name.replace(':', "-"));
        Ok(Arena {
            subject,
            patience,
            pair,
            stage: Stage::named(&[pair], name)?,
            words: stage::private_dir()?,
            addr: format!("127.0.0.1:{}", stage::free_port()),
            runs: 0,
            pids: BTreeSet::new(),
        })
    }

    /// Starts a side.
    pub fn start(&mut self, role: Role, plan: &Plan) -> Result<Actor> {
        let (size, slots) = (RECORD.to_string(), plan.slots.to_string());
        let own = match role {
            Role::Producer => &["--input", "-", "--size", &size, "--json"][..],
            // A pause, however short, is what gathered output is written before.
            Role::Consumer if !plan.gathers => &["--output", "-", "--delay", "1ns"],
            Role::Consumer => &["--output", "-"],
        };
        let shape = if role == Role::Producer { self.subject.producer } else { &[] };
        let filled = |arg: &&'static str| match *arg {
            "{addr}" => self.addr.clone(),
            "{slots}" => slots.clone(),
            other => other.to_owned(),
        };
        let told: Vec<String> = self.subject.both.iter().chain(shape).map(filled).collect();
        let args: Vec<&str> =
            told.iter().map(String::as_str).chain(own.iter().copied()).chain(["--quiet"]).collect();
        self.runs += 1;
        let said = self.words.path().join(role.name());
        let actor = Actor::start(self.stage.command(self.pair, role, &args), role, self.runs, said)?;
        self.pids.insert(actor.pid());
        Ok(actor)
    }

    /// What an episode has left, and what is not meant to stay. The mapped file is, and is removed.
    pub fn clear(&mut self) -> Vec<String> {
        let mut left: Vec<_> = self.stage.clear().err().map(|e| format!("{e:#}")).into_iter().collect();
        left.extend(queues_of(&std::mem::take(&mut self.pids)));
        left
    }

    /// What there is of all episodes, as `ipc-lab ps` finds it.
    pub fn left(&self) -> Result<Vec<String>> {
        let mut left = Vec::new();
        for dir in [Some(self.stage.dir().to_owned()), None] {
            let selection = Selection { name: Some(self.stage.name().to_owned()), dir };
            let (channels, _) = channels::find(&selection)?;
            left.extend(channels.into_iter().map(|channel| format!("left behind: {}", channel.object.what)));
        }
        Ok(left)
    }
}

/// A System V queue whose registry is gone has no name; but the kernel knows who sent and received last.
fn queues_of(pids: &BTreeSet<u32>) -> Vec<String> {
    let queues = fs::read_to_string("/proc/sysvipc/msg").unwrap_or_default();
    let ours = queues.lines().skip(1).filter_map(|line| {
        // key msqid perms cbytes qnum lspid lrpid
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_ours = |at: usize| words.get(at)?.parse().ok().filter(|pid| pids.contains(pid));
        is_ours(5).or(is_ours(6)).map(|_| format!("left behind: System V queue {}", words[1]))
    });
    ours.collect()
}
