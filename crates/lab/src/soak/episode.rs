//! One episode: both sides start, are done to what the plan says, and then come to an end in peace.
//!
//! Whoever ends is started again. After the last act nothing is done to anybody any more: so the two that run
//! then, or are started once more, must get a whole stream through, and end, with nothing cleaned by hand.

use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::pairs::Role;
use crate::soak::actor::Actor;
use crate::soak::arena::Arena;
use crate::soak::ledger::{End, Ledger, Sums};
use crate::soak::plan::{Act, Fault, Plan};
use crate::soak::promise::Promise;
use crate::stop;

/// How often the pipes are looked at. A consumer fills one in about that time.
const TICK: Duration = Duration::from_micros(500);
/// How many records a producer sends that is started for the end.
const LAST: u64 = 1000;
/// A consumer that came after the last stream waits for another, as it may; then it is asked to leave.
const LATE: Duration = Duration::from_secs(1);

/// What came of an episode.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How often a producer, and a consumer, died of SIGKILL.
    pub kills: [u64; 2],
    /// How often somebody was stopped.
    pub stops: u64,
    /// How often somebody left because it was asked to.
    pub leaves: u64,
    /// The items.
    pub sums: Sums,
    /// What must not be.
    pub findings: Vec<String>,
}

struct Episode<'a> {
    arena: &'a mut Arena,
    plan: &'a Plan,
    promise: Promise,
    ledger: Ledger,
    outcome: Outcome,
    /// Producer and consumer.
    sides: [Option<Actor>; 2],
    /// When who is away comes back.
    back: [Instant; 2],
    /// Whether anything was done to anybody yet.
    disturbed: bool,
    /// All acts are over.
    peace: bool,
    /// Something is wrong already, and who still runs is not waited for.
    broken: bool,
    /// Producers from this one on were started in peace.
    last: u64,
    /// One of them, once it has ended with 0.
    done: Option<(u64, Instant)>,
}

/// Plays one episode in an empty arena, and leaves it empty.
///
/// # Errors
/// When a signal asks for the end, or this program itself fails.
pub fn play(arena: &mut Arena, plan: &Plan) -> Result<Outcome> {
    let now = Instant::now();
    let promise = Promise::of(arena.subject, plan.slots);
    let mut episode = Episode {
        arena,
        plan,
        promise,
        ledger: Ledger::default(),
        outcome: Outcome::default(),
        sides: [None, None],
        back: [now; 2],
        disturbed: false,
        peace: false,
        broken: false,
        last: u64::MAX,
        done: None,
    };
    episode.start(plan.first)?;
    for act in &plan.acts {
        episode.go_on_until(Instant::now() + act.after)?;
        episode.act(act);
    }
    episode.come_to_an_end()?;
    let Episode { ledger, mut outcome, sides, broken, done, .. } = episode;
    drop(sides);
    // A semaphore's buffer may still lack what the dead have taken along.
    if let Some((last, _)) = done
        && !broken
        && !promise.lock
        && !ledger.is_complete(last)
    {
        outcome
            .findings
            .push("nothing was done any more, and not all items of the last producer came".into());
    }
    let (sums, beyond) = ledger.judge(&promise, plan.gathers);
    outcome.sums = sums;
    outcome.findings.extend(beyond);
    let left = arena.clear();
    // Who was killed just now could clear nothing up.
    outcome.findings.extend(left.into_iter().filter(|_| !broken));
    Ok(outcome)
}

impl Episode<'_> {
    fn start(&mut self, role: Role) -> Result<()> {
        let mut actor = self.arena.start(role, self.plan)?;
        if role == Role::Producer {
            self.ledger.starts(actor.run);
            if self.peace {
                self.last = self.last.min(actor.run);
                actor.finish(LAST);
            }
        }
        self.sides[role as usize] = Some(actor);
        Ok(())
    }

    fn act(&mut self, act: &Act) {
        // It has just ended by itself, and is not back yet.
        let Some(actor) = &mut self.sides[act.to as usize] else { return };
        self.disturbed = true;
        match act.fault {
            Fault::Stop(time) => {
                actor.stopped = Some(Instant::now() + time);
                actor.signal(Signal::SIGSTOP);
                self.outcome.stops += 1;
                return;
            }
            Fault::Kill => actor.signal(Signal::SIGKILL),
            Fault::Interrupt => actor.signal(Signal::SIGINT),
            Fault::Terminate => actor.signal(Signal::SIGTERM),
        }
        actor.hits.push(act.fault);
        self.back[act.to as usize] = Instant::now() + act.away;
    }

    fn go_on_until(&mut self, until: Instant) -> Result<()> {
        loop {
            self.look()?;
            let now = Instant::now();
            if now >= until || self.broken {
                return Ok(());
            }
            std::thread::sleep(TICK.min(until - now));
        }
    }

    fn come_to_an_end(&mut self) -> Result<()> {
        let patience = self.arena.patience;
        let deadline = Instant::now() + patience;
        while !self.is_over() && !self.broken {
            if !self.peace && self.sides.iter().flatten().all(|actor| actor.hits.is_empty()) {
                // Not before: a producer could end well, and what it left be lost with a consumer that is dying.
                self.peace = true;
                if let Some(producer) = &mut self.sides[Role::Producer as usize] {
                    producer.finish(0);
                }
            }
            self.go_on_until(Instant::now() + TICK)?;
            self.ask_who_came_too_late();
            if Instant::now() > deadline {
                let hung = self.sides.iter().flatten().map(|actor| {
                    let (role, said) = (actor.role.name(), actor.said());
                    format!("the {role} did not end within {patience:?}; it said last: {}", last_line(&said))
                });
                self.outcome.findings.extend(hung);
                self.broken = true;
            }
        }
        Ok(())
    }

    /// A consumer that was started when all had been received waits for another stream, as it may.
    fn ask_who_came_too_late(&mut self) {
        if let (Some((stream, since)), Some(consumer)) = (self.done, &mut self.sides[Role::Consumer as usize])
            && consumer.hits.is_empty()
            && self.ledger.consumer_of(stream) != Some(consumer.run)
            && since.max(consumer.since).elapsed() > LATE
        {
            consumer.hits.push(Fault::Interrupt);
            consumer.signal(Signal::SIGINT);
        }
    }

    /// The last producer's 0 is there, nobody runs, and nothing is left that a consumer could fetch.
    fn is_over(&self) -> bool {
        let Some((stream, _)) = self.done else { return false };
        self.sides.iter().all(Option::is_none) && (self.ledger.is_complete(stream) || !self.promise.outlives)
    }

    /// Whether the last consumer has done all that there was to do; perhaps before its producer has ended.
    fn has_served(&self) -> bool {
        match (&self.done, &self.sides[Role::Producer as usize]) {
            (Some(_), _) => self.is_over(),
            (None, Some(last)) => last.run >= self.last && self.ledger.has(last.run, LAST),
            (None, None) => false,
        }
    }

    /// Feeds, drains, and starts again whoever has ended.
    fn look(&mut self) -> Result<()> {
        stop::check()?;
        for role in [Role::Producer, Role::Consumer] {
            let Some(actor) = &mut self.sides[role as usize] else { continue };
            if actor.stopped.is_some_and(|until| until <= Instant::now()) {
                actor.stopped = None;
                actor.signal(Signal::SIGCONT);
            }
            actor.feed()?;
            let run = actor.run;
            actor.drain(|record| self.ledger.received(run, record))?;
        }
        for role in [Role::Producer, Role::Consumer] {
            if let Some(actor) = &mut self.sides[role as usize]
                && let Some(status) = actor.ended()?
            {
                self.buried(role, status)?;
            }
            let wanted = match role {
                Role::Producer => self.done.is_none(),
                Role::Consumer => !self.has_served(),
            };
            if self.sides[role as usize].is_none() && wanted && self.back[role as usize] <= Instant::now() {
                self.start(role)?;
            }
        }
        Ok(())
    }

    fn buried(&mut self, role: Role, status: i32) -> Result<()> {
        let Some(mut actor) = self.sides[role as usize].take() else { return Ok(()) };
        let (run, said) = (actor.run, actor.said());
        self.outcome.kills[role as usize] += u64::from(status == 137);
        self.outcome.leaves += u64::from(matches!(status, 130 | 143));
        match role {
            Role::Producer => {
                let consumer = self.sides[Role::Consumer as usize].as_ref().map(|c| c.run);
                let end = End { taken: actor.taken()?, status, said: items_in(&said), consumer };
                self.ledger.ended(run, end);
                if status == 0 && run >= self.last {
                    self.done = Some((run, Instant::now()));
                }
            }
            Role::Consumer => {
                actor.drain(|record| self.ledger.received(run, record))?;
                if actor.is_cut() && status != 137 {
                    self.ledger.torn();
                }
                if !actor.hits.is_empty() {
                    self.ledger.lost_consumer(run, status == 137);
                }
            }
        }
        if !self.may_end_with(&actor, status, &said) {
            let hits: Vec<_> = actor.hits.iter().map(Fault::to_string).collect();
            let hits = if hits.is_empty() { "left alone".into() } else { hits.join(", ") };
            let finding = format!("the {} ({hits}) ended with {status}: {}", role.name(), last_line(&said));
            self.outcome.findings.push(finding);
            self.broken = true;
        }
        Ok(())
    }

    fn may_end_with(&self, actor: &Actor, status: i32, said: &str) -> bool {
        let is_consumer = actor.role == Role::Consumer;
        match status {
            0 => is_consumer || self.peace,
            3 => self.disturbed,
            4 => is_consumer && self.promise.cut && self.disturbed && said.contains("truncated"),
            130 => actor.hits.contains(&Fault::Interrupt),
            143 => actor.hits.contains(&Fault::Terminate),
            137 => actor.hits.contains(&Fault::Kill),
            _ => false,
        }
    }
}

/// `items` in the JSON object that ends what a producer says.
fn items_in(said: &str) -> Option<u64> {
    let object: serde_json::Value = serde_json::from_str(said.lines().last()?).ok()?;
    object["items"].as_u64()
}

fn last_line(said: &str) -> &str {
    let lines = || said.lines().rev().filter(|line| !line.is_empty() && !line.starts_with('{'));
    lines().find(|line| line.starts_with("error: ")).or_else(|| lines().next()).unwrap_or("nothing")
}
