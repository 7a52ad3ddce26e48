//! One run of a pair: the two real binaries, what they report, what the kernel counted, and a check of it all.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::bench::before;
use crate::bench::count::{Means, REFUSED};
use crate::bench::floor::QUANTILES;
use crate::bench::payload::Payload;
use crate::bench::subject::{Pattern, Subject, slots};
use crate::cast::{Cast, Event, Usage};
use crate::pairs::{self, Pair, Role};
use crate::stage::{self, Stage};

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Which binaries, told what.
    pub subject: &'static Subject,
    /// Who sends what when.
    pub pattern: Pattern,
    /// Bytes of an item's payload.
    pub size: usize,
    /// How many items each producer sends.
    pub items: u64,
    /// How many producers there are, and consumers.
    pub sides: [usize; 2],
    /// The pause between two of them.
    pub interval: Duration,
    /// Whether the system calls are counted; if so, nothing else is to be believed.
    pub counted: Option<Means>,
}

impl Run {
    /// How many items all producers together send.
    pub fn total(&self) -> u64 {
        self.items * self.sides[0] as u64
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Between the first item and the last, by the slower side's clock.
    pub seconds: f64,
    /// From before an item was handed to the channel until the consumer had it: [`QUANTILES`].
    pub latency_ns: [f64; 4],
    /// Of both sides, from their starts to their ends.
    pub usage: Usage,
    /// Likewise, if they were counted.
    pub calls: u64,
}

/// The variant does not do what was asked for, and says why.
#[derive(Debug)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// This machine does not let us count system calls.
#[derive(Debug)]
pub struct NoCount(String);

impl fmt::Display for NoCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoCount {}

/// Where pairs are run.
#[derive(Debug)]
pub struct Track {
    stage: Stage,
    itself: PathBuf,
    pin: Option<[usize; 2]>,
    /// What is sent in the pattern of that name.
    pub file: Option<Payload>,
}

/// A side that has ended, or not yet.
#[derive(Default)]
struct Side {
    /// It has said so.
    waits: bool,
    lines: Vec<String>,
    status: Option<i32>,
}

impl Track {
    /// For these subjects. `pin` are the CPUs of producer and consumer.
    pub fn new(
        subjects: &[&'static Subject],
        pin: Option<[usize; 2]>,
        file: Option<Payload>,
    ) -> Result<Track> {
        let pairs: Vec<_> = subjects.iter().map(|s| pair(s)).collect();
        let itself = std::env::current_exe().context("find this program")?;
        Ok(Track { stage: Stage::new(&pairs)?, itself, pin, file })
    }

    /// Runs a pair once, with `limit` for all of it. Nothing is left, whatever happened.
    ///
    /// # Errors
    /// [`Refused`], [`NoCount`], [`Stopped`](crate::stop::Stopped); else a side failed, or an item was lost, doubled, out of order
    /// or damaged.
    pub fn run(&self, run: &Run, limit: Duration) -> Result<Sample> {
        let result = self.play(run, limit);
        if result.is_err() {
            self.take_what_is_left(run.subject);
        }
        let cleared = self.stage.clear();
        let sample = result?;
        cleared?;
        Ok(sample)
    }

    fn play(&self, run: &Run, limit: Duration) -> Result<Sample> {
        let args = self.args(run)?;
        let mut cast = Cast::new(limit);
        let [producers, consumers] = run.sides;
        // The consumers first, then the producers, once all consumers wait.
        let mut sides: Vec<Side> =
            std::iter::repeat_with(Side::default).take(producers + consumers).collect();
        for _ in 0..consumers {
            cast.start(self.command(run, Role::Consumer, &args)?)?;
        }
        let mut producers_started = false;
        while let Some(event) = cast.next()? {
            match event {
                Event::Line { who, text } => {
                    sides[who].waits |= text.contains("waiting");
                    sides[who].lines.push(text);
                    if !producers_started && sides[..consumers].iter().all(|side| side.waits) {
                        producers_started = true;
                        for _ in 0..producers {
                            cast.start(self.command(run, Role::Producer, &args)?)?;
                        }
                    }
                }
                Event::End { who, status } => {
                    sides[who].status = Some(status);
                    // The others may wait for the next to come in its place.
                    if status != 0 || !producers_started {
                        break;
                    }
                }
                Event::Quiet => {}
            }
        }
        let role = |who| if who < consumers { Role::Consumer } else { Role::Producer };
        // Whose refusal explains the other's end comes first.
        for (who, side) in sides.iter().enumerate().rev() {
            side.check(role(who), run)?;
        }
        ensure!(
            producers_started && sides.iter().all(|side| side.status.is_some()),
            "the consumer did not wait for a producer"
        );
        let reports: Vec<_> = sides.iter().map(|side| side.json("role")).collect();
        let (consumed, produced) = reports.split_at(consumers);
        let mut sample = checked(run, consumed, produced)?;
        for (who, side) in sides.iter().enumerate() {
            let usage = cast.usage(who);
            sample.usage.cpu += usage.cpu;
            sample.usage.voluntary += usage.voluntary;
            sample.usage.involuntary += usage.involuntary;
            if run.counted.is_some() {
                let calls = side.json("system_calls")["system_calls"].as_u64();
                sample.calls += calls.context("the system calls were not counted")?;
            }
        }
        Ok(sample)
    }

    /// What the producer is told, and the consumer.
    fn args(&self, run: &Run) -> Result<[Vec<String>; 2]> {
        let [answered, producer_answered] = match run.pattern {
            Pattern::RoundTrip => run.subject.round_trip.context("nothing comes back")?,
            _ => [&[][..]; 2],
        };
        let addr = format!("127.0.0.1:{}", stage::free_port());
        let filled =
            |args: &[&[&str]]| args.concat().into_iter().map(|arg| filled(arg, run.size, &addr)).collect();
        let both = [run.subject.both, answered, &["--quiet", "--json"]].concat();
        let mut producer: Vec<_> = filled(&[&both, run.subject.producer, producer_answered]);
        let mut consumer: Vec<_> = filled(&[&both]);
        producer.extend(["--count".to_owned(), run.items.to_string()]);
        producer.extend(["--size".to_owned(), run.size.to_string()]);
        producer.extend(["--interval".to_owned(), format!("{}ns", run.interval.as_nanos())]);
        if run.pattern == Pattern::File {
            let file = self.file.as_ref().context("there is no file")?;
            producer.extend(["--input".to_owned(), file.path()]);
            consumer.extend(["--output".to_owned(), "/dev/null".to_owned()]);
        }
        Ok([producer, consumer])
    }

    fn command(&self, run: &Run, role: Role, [producer, consumer]: &[Vec<String>; 2]) -> Result<Command> {
        let args = if role == Role::Producer { producer } else { consumer };
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let mut command = self.stage.command(pair(run.subject), role, &args);
        if let Some(means) = run.counted {
            let mut counting = Command::new(&self.itself);
            counting.args(["bench-part", "count", means.name(), "--"]);
            counting.arg(command.get_program()).args(command.get_args());
            counting.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
            counting.stdin(Stdio::null());
            command = counting;
        }
        if let Some([producer, consumer]) = self.pin {
            let cpu = if role == Role::Producer { producer } else { consumer };
            before::pinned(&mut command, cpu).context("pin")?;
        }
        Ok(command)
    }

    /// A queue that holds messages outlives a run that was cut short; a consumer takes them, and removes it.
    fn take_what_is_left(&self, subject: &Subject) {
        if subject.method() == "mq" {
            let args = [subject.both, &["--quiet", "--timeout", "200ms"]].concat();
            let mut command = self.stage.command(pair(subject), Role::Consumer, &args);
            let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

/// An argument, with what it stands for.
pub fn filled(arg: &str, size: usize, addr: &str) -> String {
    match arg {
        "{addr}" => addr.to_owned(),
        "{slots}" => slots(size).to_string(),
        other => other.to_owned(),
    }
}

/// Whose binaries they are.
pub fn pair(subject: &Subject) -> &'static Pair {
    pairs::named(&[subject.method().to_owned()])[0]
}

impl Side {
    /// The last line that is an object with this key.
    fn json(&self, key: &str) -> Value {
        let objects = self.lines.iter().rev().flat_map(|line| serde_json::from_str::<Value>(line));
        objects.into_iter().find(|value| value.get(key).is_some()).unwrap_or_default()
    }

    /// Fails unless it has ended well, or has yet to end because the other one did not.
    fn check(&self, role: Role, run: &Run) -> Result<()> {
        let error = self.lines.iter().rev().find_map(|line| line.strip_prefix("error: "));
        if let Some(refused) = self.lines.iter().find(|line| line.starts_with(REFUSED)) {
            bail!(NoCount(refused.trim_start_matches("error: ").to_owned()));
        }
        match self.status {
            // Before its first item, and not for want of the other side.
            Some(1 | 2)
                if role == Role::Producer && self.json("items")["items"].as_u64().unwrap_or(0) == 0 =>
            {
                bail!(Refused(error.unwrap_or("refused without a reason").to_owned()))
            }
            Some(0) | None => Ok(()),
            Some(status) => {
                let binary = pair(run.subject).binary(role);
                bail!("{binary} ended with {status}: {}", error.unwrap_or("without a reason"))
            }
        }
    }
}

/// The reports of consumers and producers, if they say that every item came, once, in order and intact.
fn checked(run: &Run, consumers: &[Value], producers: &[Value]) -> Result<Sample> {
    let number =
        |from: &Value, key: &str| from[key].as_f64().with_context(|| format!("no {key} in the JSON"));
    let sum = |from: &[Value], key: &str| -> Result<f64> { from.iter().map(|side| number(side, key)).sum() };
    for fault in ["lost", "duplicated", "reordered", "corrupted"] {
        let found = sum(consumers, fault)?;
        ensure!(found == 0.0, "{found} items {fault}");
    }
    // What one of several does not have another has: all of them together have everything.
    let gaps = sum(consumers, "gaps")?;
    ensure!(gaps == 0.0 || consumers.len() > 1, "{gaps} items gaps");
    let wanted = run.total() as f64;
    for (verb, sides) in [("sent", producers), ("received", consumers)] {
        let (items, bytes) = (sum(sides, "items")?, sum(sides, "bytes")?);
        ensure!(items == wanted, "{items} of {wanted} items were {verb}");
        ensure!(bytes == items * run.size as f64, "{items} items of {} B, {bytes} B were {verb}", run.size);
        for side in sides {
            let (method, variant) = (side["method"].as_str(), side["variant"].as_str());
            let (wanted, other) = ((run.subject.method(), run.subject.reported()), (method, variant));
            ensure!(other == (Some(wanted.0), Some(wanted.1)), "{wanted:?} says that it is {other:?}");
        }
    }
    // Of several consumers the worst, whose figures are the smallest that hold for all.
    let worst = |of: &dyn Fn(&Value) -> Result<f64>, sides: &[Value]| {
        sides.iter().map(of).try_fold(0.0, |most: f64, one| one.map(|one| most.max(one)))
    };
    let mut latency_ns = [0.0; 4];
    for (ns, (_, name)) in latency_ns.iter_mut().zip(QUANTILES) {
        *ns = worst(&|side| number(&side["latency_ns"], name), consumers)?;
    }
    let elapsed = |side: &Value| number(side, "elapsed_s");
    let seconds = worst(&elapsed, consumers)?.max(worst(&elapsed, producers)?);
    Ok(Sample { seconds, latency_ns, ..Sample::default() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bench::subject::SUBJECTS;

    fn run() -> Run {
        let (subject, pattern) = (&SUBJECTS[0], Pattern::Stream);
        Run { subject, pattern, size: 64, items: 10, sides: [1, 1], interval: Duration::ZERO, counted: None }
    }

    fn reports() -> [Value; 2] {
        let side = json!({"method": "pipe", "variant": "fifo", "items": 10, "bytes": 640, "elapsed_s": 0.5});
        let mut consumer = side.clone();
        for fault in ["lost", "gaps", "duplicated", "reordered", "corrupted"] {
            consumer[fault] = 0.into();
        }
        consumer["latency_ns"] = json!({"p50": 1, "p99": 2, "p999": 3, "max": 4});
        [consumer, side]
    }

    #[test]
    fn every_item_must_have_come_once_in_order_and_intact() {
        let check = |run: &Run, [consumer, producer]: [Value; 2]| checked(run, &[consumer], &[producer]);
        let sample = check(&run(), reports()).expect("all is well");
        assert_eq!((sample.seconds, sample.latency_ns), (0.5, [1.0, 2.0, 3.0, 4.0]));
        for (side, key, value) in [
            (0, "lost", json!(1)),
            (0, "gaps", json!(1)),
            (0, "duplicated", json!(1)),
            (0, "reordered", json!(1)),
            (0, "corrupted", json!(1)),
            (0, "items", json!(9)),
            (1, "items", json!(11)),
            (0, "bytes", json!(639)),
            (1, "bytes", json!(641)),
            (0, "variant", json!("anonymous")),
            (0, "lost", Value::Null),
            (0, "latency_ns", Value::Null),
        ] {
            let mut reports = reports();
            reports[side][key] = value.clone();
            check(&run(), reports).expect_err(&format!("{side} {key} {value}"));
        }
    }

    #[test]
    fn several_share_the_items_and_the_slowest_counts() {
        let run = Run { sides: [2, 2], ..run() };
        let [mut consumer, producer] = reports();
        (consumer["gaps"], consumer["items"], consumer["bytes"]) = (json!(9), json!(12), json!(768));
        let mut other = consumer.clone();
        (other["items"], other["bytes"], other["elapsed_s"]) = (json!(8), json!(512), json!(0.7));
        other["latency_ns"]["p50"] = json!(9);
        let both = [producer.clone(), producer];
        let sample = checked(&run, &[consumer.clone(), other.clone()], &both).expect("all is well");
        assert_eq!((sample.seconds, sample.latency_ns[0]), (0.7, 9.0));
        other["items"] = json!(7);
        checked(&run, &[consumer, other], &both).expect_err("one is missing");
    }
}
