//! Silence: what two connected processes do while nothing is to be done, and how soon an item comes after it.
//!
//! ```text
//! a pair:   item ── 0.25 s ── look ──────── 1 s ──────── look ── 0.25 s ── item ── …
//! another:      item ── 0.25 s ── look ──────── 1 s ──────── look ── 0.25 s ── item ── …
//! ```
//!
//! All pairs are silent at the same time, and each has its moment for its item, so that all of it takes no longer
//! than one pair would. Between them the bare exchanges wake a sleeper by each means, after the same silence.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::bench::bare::{Bare, Pace};
use crate::bench::before;
use crate::bench::measure::{filled, pair};
use crate::bench::subject::{Pattern, Subject};
use crate::cast::{Cast, Event};
use crate::figure::Figure;
use crate::pairs::Role;
use crate::stage::{Stage, free_port};
use crate::stop::Stopped;

/// From one item to the next.
pub const SILENCE: Duration = Duration::from_millis(1500);
/// Whatever an item stirs up has settled after this.
const SETTLED: Duration = Duration::from_millis(250);
/// As long as two processes are watched.
const WATCHED: Duration = Duration::from_secs(1);
/// One that connects, and five after a silence.
const ITEMS: u64 = 6;
/// The payload of each.
const SIZE: usize = 64;
const LIMIT: Duration = Duration::from_secs(60);

/// What was found of a subject.
#[derive(Debug)]
pub struct Idle {
    /// Of which one.
    pub subject: &'static Subject,
    /// The part of a silent second in which one of the two was on a CPU.
    pub cpu: Figure,
    /// How often one of them woke up in a silent second, only to sleep again.
    pub wake_ups: Figure,
    /// How long an item takes that comes after a silence, in nanoseconds.
    pub latency_ns: Figure,
    /// How long a bare wake-up by the same means takes then.
    pub bare_ns: f64,
    /// Why there are no figures.
    pub trouble: Option<String>,
}

impl Idle {
    /// How many times the bare wake-up it takes.
    pub fn over_bare(&self) -> f64 {
        self.latency_ns.median() / self.bare_ns
    }

    /// For the file.
    pub fn json(&self) -> Value {
        json!({
            "method": self.subject.method(),
            "variant": self.subject.variant(),
            "silence_s": SILENCE.as_secs_f64(),
            "cpu": self.cpu.json(),
            "wake_ups_per_s": self.wake_ups.json(),
            "latency_ns": self.latency_ns.json(),
            "bare_ns": self.bare_ns,
            "failed": self.trouble,
        })
    }
}

/// A pair, and what is known of it.
struct Actor {
    idle: Idle,
    stage: Stage,
    addr: String,
    consumer: usize,
    producer: Option<usize>,
    waits: bool,
    /// When its last item came, if there is a silence after it that has not been watched to its end.
    silent_since: Option<Instant>,
    before: Option<Look>,
}

/// All of it, at once.
pub fn measure(subjects: &[&'static Subject], pin: Option<[usize; 2]>) -> Result<Vec<Idle>> {
    let mut means: Vec<Bare> = Vec::new();
    for subject in subjects {
        if !means.contains(&subject.bare) {
            means.push(subject.bare);
        }
    }
    // Each has a moment of its own in the time from one item to the next.
    let moment = SILENCE / (subjects.len() + means.len()) as u32;
    std::thread::scope(|threads| {
        let bare: Vec<_> = (0..)
            .zip(&means)
            .map(|(i, bare)| {
                let pace = Pace { count: ITEMS - 1, interval: SILENCE };
                threads.spawn(move || {
                    std::thread::sleep(moment * (subjects.len() as u32 + i));
                    bare.measure(Pattern::Paced, SIZE, pace, pin)
                })
            })
            .collect();
        let idles = watch(subjects, moment, pin);
        let bare_ns: HashMap<_, _> = means
            .iter()
            .map(|bare| bare.to_string())
            .zip(bare.into_iter().map(|one| one.join().expect("a measurement does not panic")))
            .collect();
        let mut idles = idles?;
        for idle in &mut idles {
            match &bare_ns[&idle.subject.bare.to_string()] {
                Ok(ns) => idle.bare_ns = *ns,
                Err(e) if e.is::<Stopped>() => crate::stop::check()?,
                // It has no floor here.
                Err(_) => {}
            }
        }
        Ok(idles)
    })
}

fn watch(subjects: &[&'static Subject], moment: Duration, pin: Option<[usize; 2]>) -> Result<Vec<Idle>> {
    let mut cast = Cast::new(LIMIT);
    let mut actors = Vec::new();
    for (i, subject) in subjects.iter().enumerate() {
        let name = format!("lab-{}-idle{i}", std::process::id());
        actors.push(Actor::enter(subject, Stage::named(&[pair(subject)], name)?, &mut cast, pin)?);
    }
    let mut due = Instant::now();
    while let Some(event) = cast.next()? {
        let now = Instant::now();
        match event {
            Event::Line { who, text } => {
                if let Some(actor) = actors.iter_mut().find(|a| a.consumer == who) {
                    actor.hear(&text, now);
                }
            }
            Event::End { who, status } => {
                if let Some(actor) = actors.iter_mut().find(|a| a.consumer == who || a.producer == Some(who))
                {
                    actor.part(who, status, &cast);
                }
            }
            Event::Quiet => {}
        }
        for actor in &mut actors {
            actor.look(now, &cast);
        }
        let next = actors.iter_mut().find(|a| a.producer.is_none() && a.idle.trouble.is_none());
        if let Some(actor) = next
            && actor.waits
            && now >= due
        {
            actor.begin(&mut cast, pin)?;
            due = now + moment;
        }
    }
    for actor in &mut actors {
        if let Err(e) = actor.stage.clear() {
            actor.idle.trouble.get_or_insert(format!("{e:#}"));
        }
        if actor.idle.latency_ns.0.is_empty() {
            actor.idle.trouble.get_or_insert("no item came after a silence".into());
        }
    }
    Ok(actors.into_iter().map(|actor| actor.idle).collect())
}

impl Actor {
    fn enter(
        subject: &'static Subject,
        stage: Stage,
        cast: &mut Cast,
        pin: Option<[usize; 2]>,
    ) -> Result<Actor> {
        let addr = format!("127.0.0.1:{}", free_port());
        let (cpu, wake_ups, latency_ns) = Default::default();
        let idle = Idle { subject, cpu, wake_ups, latency_ns, bare_ns: f64::NAN, trouble: None };
        let (producer, silent_since, before) = (None, None, None);
        let mut actor =
            Actor { idle, stage, addr, consumer: 0, producer, waits: false, silent_since, before };
        actor.consumer = actor.start(Role::Consumer, &[], cast, pin.map(|[_, cpu]| cpu))?;
        Ok(actor)
    }

    fn begin(&mut self, cast: &mut Cast, pin: Option<[usize; 2]>) -> Result<()> {
        let (items, silence) = (ITEMS.to_string(), format!("{}ms", SILENCE.as_millis()));
        let args = [self.idle.subject.producer, &["--count", &items, "--interval", &silence]].concat();
        self.producer = Some(self.start(Role::Producer, &args, cast, pin.map(|[cpu, _]| cpu))?);
        Ok(())
    }

    fn start(&self, role: Role, more: &[&str], cast: &mut Cast, cpu: Option<usize>) -> Result<usize> {
        let subject = self.idle.subject;
        let args: Vec<_> = subject.both.iter().chain(more).map(|arg| filled(arg, SIZE, &self.addr)).collect();
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let mut command = self.stage.command(pair(subject), role, &args);
        cpu.map_or(Ok(()), |cpu| before::pinned(&mut command, cpu)).context("pin")?;
        cast.start(command)
    }

    /// The consumer has said something.
    fn hear(&mut self, text: &str, now: Instant) {
        self.waits |= text.contains("waiting");
        let Some((number, after)) = received(text) else { return };
        if number > 0 {
            self.idle.latency_ns.0.push(after);
        }
        // Nothing is silent after the last one, and what was not watched to its end was no silence.
        self.silent_since = (number + 1 < ITEMS).then_some(now);
        self.before = None;
    }

    /// One of the two has ended.
    fn part(&mut self, who: usize, status: i32, cast: &Cast) {
        (self.silent_since, self.before) = (None, None);
        if status != 0 {
            let side = if who == self.consumer { "consumer" } else { "producer" };
            self.idle.trouble.get_or_insert(format!("the {side} ended with {status}"));
            // The other one may wait for somebody else, for ever.
            for other in [Some(self.consumer), self.producer].into_iter().flatten().filter(|w| *w != who) {
                if cast.is_there(other) {
                    let _ = kill(Pid::from_raw(cast.pid(other) as i32), Signal::SIGTERM);
                }
            }
        }
    }

    /// Looks at both, if it is time.
    fn look(&mut self, now: Instant, cast: &Cast) {
        let (Some(since), Some(producer)) = (self.silent_since, self.producer) else { return };
        let due = self.before.as_ref().map_or(since + SETTLED, |before| before.at + WATCHED);
        if now < due {
            return;
        }
        let Ok(look) = Look::at([cast.pid(self.consumer), cast.pid(producer)]) else {
            self.silent_since = None;
            return;
        };
        let Some(before) = self.before.take() else {
            self.before = Some(look);
            return;
        };
        // A look that came so late may have seen the next item.
        if look.at < since + SILENCE - Duration::from_millis(50) {
            let seconds = (look.at - before.at).as_secs_f64();
            self.idle.cpu.0.push((look.cpu.saturating_sub(before.cpu)).as_secs_f64() / seconds);
            self.idle.wake_ups.0.push(look.wake_ups.saturating_sub(before.wake_ups) as f64 / seconds);
        }
        self.silent_since = None;
    }
}

/// What processes have used up to now.
struct Look {
    at: Instant,
    cpu: Duration,
    wake_ups: u64,
}

impl Look {
    fn at(pids: [u32; 2]) -> Result<Look> {
        let mut look = Look { at: Instant::now(), cpu: Duration::ZERO, wake_ups: 0 };
        for pid in pids {
            look.cpu += Duration::from(clock_gettime(clock_getcpuclockid(Pid::from_raw(pid as i32))?)?);
            let threads = fs::read_dir(format!("/proc/{pid}/task"))?;
            for thread in threads.flatten() {
                let status = fs::read_to_string(thread.path().join("status"))?;
                let switches = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"));
                look.wake_ups += switches.context("no switches")?.trim().parse::<u64>()?;
            }
        }
        ensure!(look.at.elapsed() < SETTLED, "somebody else had the CPU");
        Ok(look)
    }
}

/// `received #3  64 B  from 4711  after 21.3µs`: which one, and how many nanoseconds it took.
fn received(line: &str) -> Option<(u64, f64)> {
    let rest = line.strip_prefix("received #")?;
    let number = rest.split_whitespace().next()?.parse().ok()?;
    let after = rest.split_once(" after ")?.1.split_whitespace().next()?;
    let unit = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let factor = match unit {
        "ns" => 1.0,
        "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    Some((number, after.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_consumer_says_of_an_item_is_understood() {
        for (line, found) in [
            ("received #3  64 B  from 4711  after 21.5µs", Some((3, 21_500.0))),
            ("received #0  64 B  from 4711  after 850.0ns  more", Some((0, 850.0))),
            ("received #12  64 B  from 4711  after 1.5ms", Some((12, 1_500_000.0))),
            ("received #1  64 B  from 4711  after 2.0s", Some((1, 2e9))),
            ("received a corrupted item  64 B", None),
            ("waiting for a producer", None),
        ] {
            assert_eq!(received(line), found, "{line}");
        }
    }

    #[test]
    fn who_works_and_wakes_is_seen_to() {
        // Not this process, where threads of other tests come and go.
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "while sleep 0.001; do :; done"])
            .spawn()
            .expect("a shell");
        let until = Instant::now() + Duration::from_secs(60);
        let mut first = None;
        loop {
            assert!(Instant::now() < until, "it was not seen");
            // Fails where somebody else had the CPU meanwhile.
            let Ok(look) = Look::at([shell.id(); 2]) else { continue };
            let (cpu, wake_ups) = *first.get_or_insert((look.cpu, look.wake_ups));
            if look.cpu > cpu && look.wake_ups > wake_ups {
                break;
            }
        }
        shell.kill().expect("kill");
        shell.wait().expect("wait");
    }
}
