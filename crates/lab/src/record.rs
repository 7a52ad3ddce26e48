//! `ipc-lab record`: runs a real pair and draws who ran, who waited, and which item crossed when.
//!
//! Nothing is measured that a user could not see: the lines that the processes print, stamped as they arrive.
//!
//! ```text
//! waiting for a producer on …      it waits from now on, until its next line
//! blocked: pipe empty              …
//! unblocked after 407.5ms          it has waited for that since then, and why is said in the line before
//! sent #1 …                        the item has left, or with a call: the answer has come
//! received #1 … from 4711 after …  the item has come
//! ```

mod draw;
mod scenes;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::builder::PossibleValuesParser;

use crate::cast::{Cast, Event};
use crate::pairs::{self, Pair, Role};
use crate::play::print;
use crate::stage::Stage;
use scenes::{Scene, Step};

/// A scene takes a few seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// What `record` takes.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Which pair
    #[arg(value_name = "METHOD", value_parser = PossibleValuesParser::new(pairs::NAMES))]
    method: String,
    /// The picture, an SVG file [default: METHOD-time.svg]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Instead of the scene that is played: the producer's arguments, as in --producer "--count 5 --interval 0"
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    producer: Option<String>,
    /// Likewise the consumer's, which is started first
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    consumer: Option<String>,
}

/// What one process did. Times count from the start of the first.
#[derive(Debug)]
struct Actor {
    role: Role,
    pid: u32,
    /// The command's arguments.
    args: Vec<String>,
    start: Duration,
    end: Duration,
    status: i32,
    waits: Vec<Wait>,
    /// Items that it sent, or whose answer came, by number.
    sent: Vec<(u64, Duration)>,
    received: Vec<Received>,
    /// The line with which it failed.
    error: String,
}

/// A time in which a process could not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wait {
    from: Duration,
    to: Duration,
    /// In its own words.
    why: String,
}

/// An item that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Received {
    seq: u64,
    /// The producer's process id.
    from: u32,
    at: Duration,
    /// For how long it was on its way.
    after: Duration,
}

/// Records a pair's scene and writes the picture.
pub fn record(args: &Args) -> Result<bool> {
    let named = pairs::named(std::slice::from_ref(&args.method));
    let [pair] = named[..] else { bail!("no pair is called {}", args.method) };
    let own = args.producer.is_some() || args.consumer.is_some();
    let words =
        |text: &Option<String>| text.as_deref().unwrap_or("").split_whitespace().map(String::from).collect();
    let scene = if own {
        Scene::of_ones_own(pair, words(&args.producer), words(&args.consumer))
    } else {
        scenes::of(pair)
    };
    let actors = play(pair, &scene)?;
    let svg = draw::svg(pair, &scene.title, &actors);
    let out = args.out.clone().unwrap_or_else(|| format!("{}-time.svg", pair.method).into());
    fs::write(&out, svg).with_context(|| format!("write {}", out.display()))?;
    print(&format!("{}: {}\n", out.display(), scene.title))?;
    Ok(true)
}

/// Plays a scene on an empty stage, and writes down what happens.
fn play(pair: &Pair, scene: &Scene) -> Result<Vec<Actor>> {
    let stage = Stage::new(&[pair])?;
    let mut cast = Cast::new(LIMIT);
    let mut actors: Vec<Actor> = Vec::new();
    let begin = Instant::now();
    for step in &scene.steps {
        match step {
            Step::Start(role, args) => {
                let start = begin.elapsed();
                let words: Vec<&str> = args.iter().map(String::as_str).collect();
                let who = cast.start(stage.command(pair, *role, &words))?;
                let pid = cast.pid(who);
                actors.push(Actor::new(*role, pid, args.clone(), start));
            }
            Step::Until(text) => {
                let last = actors.len() - 1;
                follow(&mut cast, &mut actors, begin, |event| match event {
                    Event::Line { who, text: line } => *who == last && line.contains(text.as_str()),
                    Event::End { who, .. } => *who == last,
                    Event::Quiet => false,
                })?;
            }
            Step::Pause(time) => {
                let until = begin.elapsed() + *time;
                follow(&mut cast, &mut actors, begin, |_| begin.elapsed() >= until)?;
                // Nothing happens where nobody is left.
                std::thread::sleep(until.saturating_sub(begin.elapsed()));
            }
            Step::End => {
                let last = actors.len() - 1;
                follow(
                    &mut cast,
                    &mut actors,
                    begin,
                    |event| matches!(event, Event::End { who, .. } if *who == last),
                )?;
            }
        }
    }
    follow(&mut cast, &mut actors, begin, |_| false)?;
    for actor in &actors {
        let binary = pair.binary(actor.role);
        ensure!(actor.received.len() + actor.sent.len() > 0, "{binary} has moved no item: nothing to draw");
    }
    stage.clear()?;
    Ok(actors)
}

/// Writes down what happens until it is enough, or all have ended.
fn follow(
    cast: &mut Cast,
    actors: &mut [Actor],
    begin: Instant,
    enough: impl Fn(&Event) -> bool,
) -> Result<()> {
    while let Some(event) = cast.next()? {
        let now = begin.elapsed();
        match &event {
            Event::Line { who, text } => actors[*who].says(text, now),
            Event::End { who, status } => {
                let actor = &mut actors[*who];
                actor.ends(*status, now);
                // A lost peer or a time-out can be drawn; who could not even begin leaves the other waiting.
                let role = actor.role.name();
                ensure!(![1, 2].contains(status), "the {role} ended with {status}: {}", actor.error);
            }
            Event::Quiet => {}
        }
        if enough(&event) {
            break;
        }
    }
    Ok(())
}

impl Actor {
    fn new(role: Role, pid: u32, args: Vec<String>, start: Duration) -> Actor {
        let (waits, sent, received) = (Vec::new(), Vec::new(), Vec::new());
        Actor { role, pid, args, start, end: start, status: 0, waits, sent, received, error: String::new() }
    }

    /// One of its lines.
    fn says(&mut self, line: &str, now: Duration) {
        let open = self.waits.last_mut().filter(|wait| wait.to == Duration::MAX);
        if let Some(after) = line.strip_prefix("unblocked after ").and_then(duration) {
            if let Some(wait) = open {
                wait.to = now;
                // It was said after a while; the time that is told begins with the wait itself.
                wait.from = now.saturating_sub(after);
            }
            return;
        }
        if let Some(wait) = open {
            // The next line of one who was waiting for somebody: that one has come.
            wait.to = now;
        }
        if let Some(why) = line.strip_prefix("blocked: ") {
            self.waits.push(Wait { from: now, to: Duration::MAX, why: why.to_owned() });
        } else if let Some(whom) = line.strip_prefix("waiting for a ") {
            let whom = whom.split(' ').next().unwrap_or_default();
            self.waits.push(Wait { from: now, to: Duration::MAX, why: format!("no {whom} yet") });
        } else if let Some(seq) = line.strip_prefix("sent #").and_then(number) {
            self.sent.push((seq, now));
        } else if let Some(received) = received(line, now) {
            self.received.push(received);
        } else if line.starts_with("error: ") {
            line.clone_into(&mut self.error);
        }
    }

    fn ends(&mut self, status: i32, now: Duration) {
        (self.end, self.status) = (now, status);
        if let Some(wait) = self.waits.last_mut() {
            wait.to = wait.to.min(now);
        }
    }

    /// What an argument of its command says, if it is a duration: `--delay`.
    fn told(&self, flag: &str) -> Option<Duration> {
        let at = self.args.iter().position(|a| a == flag)?;
        duration(self.args.get(at + 1)?)
    }
}

/// `received #1  64 B  from 4711  after 56.0µs`
fn received(line: &str, at: Duration) -> Option<Received> {
    let rest = line.strip_prefix("received #")?;
    let word_after = |word: &str| rest.split_whitespace().skip_while(|w| *w != word).nth(1);
    let from = word_after("from")?.parse().ok()?;
    Some(Received { seq: number(rest)?, from, at, after: duration(word_after("after")?)? })
}

/// The number with which a text begins.
fn number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// `56.0µs`, `1.2s`, `400ms`: a duration as Rust prints it, and as the flags are given.
fn duration(text: &str) -> Option<Duration> {
    let word = text.split_whitespace().next()?;
    let digits = word.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let unit = match &word[digits..] {
        "ns" => 1e-9,
        "µs" | "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(word[..digits].parse::<f64>().ok()? * unit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn lines_become_waits_and_items() {
        let mut actor = Actor::new(Role::Consumer, 2, vec!["--delay".into(), "20ms".into()], Duration::ZERO);
        for (at, line) in [
            (1, "waiting for a producer on \"demo\"; start one with: cargo run --bin pipe-producer"),
            (50, "received #0  64 B  from 4711  after 121.9µs"),
            (160, "blocked: pipe empty"),
            (460, "unblocked after 400.0ms"),
            (461, "received #1  64 B  from 4711  after 1.2s"),
            (500, "blocked: pipe empty"),
        ] {
            actor.says(line, at * MS);
        }
        actor.ends(0, 900 * MS);
        let wait = |from: u32, to: u32, why: &str| Wait { from: from * MS, to: to * MS, why: why.into() };
        let empty = "pipe empty";
        assert_eq!(
            actor.waits,
            [wait(1, 50, "no producer yet"), wait(60, 460, empty), wait(500, 900, empty)]
        );
        let item = |seq, at: u32, after| Received { seq, from: 4711, at: at * MS, after };
        let received = [item(0, 50, Duration::from_nanos(121_900)), item(1, 461, 1200 * MS)];
        assert_eq!(actor.received, received);
        assert_eq!(actor.told("--delay"), Some(20 * MS));
    }

    #[test]
    fn what_is_no_duration_is_none() {
        for text in ["", "s", "1", "1h", "x ms", "1..2s", "-1s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
