//! A process's run from its arguments to its exit status: waiting, being stopped, and what it says.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::args::{self, Both};
use crate::exit::{self, Stopped};
use crate::item;
use crate::place::{Role, Watch};
use crate::report::Report;
use crate::sink::Output;
use crate::watcher::{Watcher, stop_signal};

mod gauge;
mod items;
mod speech;

/// A wait is worth a line once it has lasted so long.
const WORTH_A_LINE: Duration = Duration::from_millis(100);

/// Which pair, variant and side a process is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// `"pipe"`, `"mq"`, …: the binary is `METHOD-ROLE`.
    pub method: &'static str,
    /// The mechanism in use: `"fifo"`, `"sysv"`, `"ring"`, …
    pub variant: &'static str,
    /// This process's side.
    pub role: Role,
}

/// The run of one process.
#[derive(Debug)]
pub struct Session {
    /// What is counted and printed.
    pub report: Report,
    identity: Identity,
    consumer: Option<args::Consumer>,
    output: Output,
    name: String,
    /// What the other side must be told, besides the name.
    other_side_needs: String,
    timeout: Option<Duration>,
    nonblocking: bool,
    watcher: Watcher,
    gauge: Option<gauge::Gauge>,
    /// Somebody types the items into this terminal.
    typed_input: bool,
    /// The channel makes this process wait.
    blocked: bool,
    /// Items that the channel's writer has gathered, head and length, and not yet handed over.
    gathered: VecDeque<([u8; item::HEADER], usize)>,
}

impl Session {
    /// Runs a producer from start to end: `run` does the work, then the summary is printed and the exit
    /// status found.
    pub fn producer(
        method: &'static str,
        variant: &'static str,
        args: &args::Producer,
        run: impl FnOnce(&mut Session) -> Result<()>,
    ) -> ExitCode {
        let identity = Identity { method, variant, role: Role::Producer };
        Session::run(identity, &args.both, None, |session| {
            let typed = |path: &PathBuf| path.as_os_str() == "-" && io::stdin().is_terminal();
            session.typed_input = args.input.as_ref().is_some_and(typed);
            run(session)
        })
    }

    /// Runs a consumer from start to end, likewise. `--output`, `--delay` and `--count` are taken care of by
    /// [`Session::received`].
    pub fn consumer(
        method: &'static str,
        variant: &'static str,
        args: &args::Consumer,
        run: impl FnOnce(&mut Session) -> Result<()>,
    ) -> ExitCode {
        let identity = Identity { method, variant, role: Role::Consumer };
        Session::run(identity, &args.both, Some(args), run)
    }

    fn run(
        identity: Identity,
        both: &Both,
        consumer: Option<&args::Consumer>,
        run: impl FnOnce(&mut Session) -> Result<()>,
    ) -> ExitCode {
        match Session::start(identity, both, consumer) {
            Ok(mut session) => {
                let result = session.open_output().and_then(|()| run(&mut session));
                session.finish(result)
            }
            Err(e) => {
                eprintln!("error: {e:#}");
                ExitCode::from(1)
            }
        }
    }

    fn start(identity: Identity, both: &Both, consumer: Option<&args::Consumer>) -> Result<Session> {
        Ok(Session {
            report: Report::new(identity, both, consumer.is_some_and(|c| c.to_stdout())),
            consumer: consumer.cloned(),
            output: Output::default(),
            identity,
            name: both.name.clone(),
            other_side_needs: String::new(),
            timeout: both.timeout,
            nonblocking: both.nonblocking,
            watcher: Watcher::start()?,
            gauge: None,
            typed_input: false,
            blocked: false,
            gathered: VecDeque::new(),
        })
    }

    fn finish(mut self, result: Result<()>) -> ExitCode {
        self.end_gauge();
        let mut status = 0;
        if let Err(e) = &result {
            status = exit::status(e);
        }
        if status != 2 {
            status = exit::worse(status, self.report.verdict());
        }
        if let Some(stopped) = self.stopped() {
            // Also if the stream ended in the same moment: a signal's status wins.
            status = exit::worse(status, exit::status(&stopped.into()));
        }
        let flushed = self.flush();
        if let (Ok(()), Err(e)) = (&result, &flushed) {
            status = exit::worse(status, exit::status(e));
        }
        for e in [result, flushed].into_iter().filter_map(Result::err).take(1) {
            match (e.downcast_ref::<Stopped>(), format!("{e:#}")) {
                (Some(stopped), _) => self.say(&stopped.to_string()),
                (None, reason) if reason.is_empty() => {}
                (None, reason) => self.say(&format!("error: {reason}")),
            }
        }
        if status != 2 {
            let summary = self.report.summary();
            self.say(&summary);
            if let Some(json) = self.report.json() {
                // The last line of its stream: nothing is said after it.
                let _ = self.write(if self.report.output_is_stdout() { 2 } else { 1 }, json.as_bytes());
            }
        }
        ExitCode::from(status)
    }

    /// News about the peers interrupt a wait from now on, and call its `look`.
    pub fn watch(&mut self, watch: Watch) {
        self.watcher.watch(watch);
    }

    /// Whether a signal has asked for the end.
    pub fn stopped(&self) -> Option<Stopped> {
        stop_signal().map(Stopped)
    }

    /// Fails if a signal has asked for the end.
    pub fn check(&self) -> Result<()> {
        self.stopped().map_or(Ok(()), |stopped| Err(stopped.into()))
    }

    /// Does `op` on a channel, waiting for it as long as it takes.
    ///
    /// `op` is tried without blocking first (`false`), then blocks (`true`) until it has succeeded or was
    /// interrupted. When somebody came, left or died, `look` is called and `op` tried again, which is where
    /// an end or a lost peer comes to light. `why` says what is waited for: "queue full 3/3".
    ///
    /// # Errors
    /// [`Stopped`]; `TimedOut` after `--timeout`; what `look` or `op` fail with.
    pub fn wait<Q, T>(
        &mut self,
        channel: &mut Q,
        why: fn(&Q) -> String,
        look: fn(&mut Q) -> io::Result<()>,
        mut op: impl FnMut(&mut Q, bool) -> io::Result<T>,
    ) -> Result<T> {
        self.check()?;
        if self.watcher.peers_changed() {
            self.wipe_gauge();
            look(channel)?;
        }
        match op(channel, false) {
            Err(e) if is_for_later(&e) => {}
            done => return Ok(done?),
        }
        self.flush()?;
        let since = Instant::now();
        let mut announced = false;
        let mut pause = Duration::from_micros(500);
        self.blocked = true;
        let worth_a_line = if self.gauge_shows_waits() { 10 * WORTH_A_LINE } else { WORTH_A_LINE };
        let result = loop {
            self.draw();
            // Whoever must not block tries again after a pause, which grows to 50 ms.
            let outcome = if self.nonblocking {
                self.report.would_block();
                self.warn(
                    match self.identity.role {
                        Role::Producer => "would block",
                        Role::Consumer => "null message",
                    },
                    || why(channel),
                );
                pause = (pause * 2).min(Duration::from_millis(50));
                self.sleep(pause)?;
                Err(ErrorKind::Interrupted.into())
            } else {
                let deadline = if announced {
                    self.timeout.map(|t| since + t)
                } else {
                    Some(since + worth_a_line.min(self.timeout.unwrap_or(worth_a_line)))
                };
                let deadline = self.or_drawing(deadline);
                match self.watcher.interruptible(deadline, true, || op(channel, true)) {
                    // There is nothing to block in: only news can change anything.
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {
                        self.watcher.pause(deadline, true);
                        Err(e)
                    }
                    outcome => outcome,
                }
            };
            match outcome {
                Err(e) if is_for_later(&e) => {}
                done => break done,
            }
            if let Some(stopped) = self.stopped() {
                self.report.waited(since.elapsed());
                return Err(stopped.into());
            }
            if self.watcher.peers_changed() {
                self.wipe_gauge();
                look(channel)?;
            }
            match op(channel, false) {
                Err(e) if is_for_later(&e) => {}
                done => break done,
            }
            let waited = since.elapsed();
            if self.timeout.is_some_and(|t| waited >= t) {
                self.report.waited(waited);
                let gone = format!("{}: nothing moved for {:.1?} (--timeout)", why(channel), waited);
                return Err(io::Error::new(ErrorKind::TimedOut, gone).into());
            }
            if !announced && !self.nonblocking && waited >= worth_a_line {
                announced = true;
                self.say(&format!("blocked: {}", why(channel)));
            }
        };
        self.blocked = false;
        self.report.waited(since.elapsed());
        let done = result?;
        if announced {
            self.say(&format!("unblocked after {:.1?}", since.elapsed()));
        }
        Ok(done)
    }

    /// Waits until `op` succeeds, for which the other side must come: says so at once, with the command
    /// that starts it. `op` is tried again when names come or go, so a [`Session::watch`] comes first;
    /// `op(true)` may block, or fail with `WouldBlock` if there is nothing to block in.
    ///
    /// # Errors
    /// As [`Session::wait`].
    pub fn meet<T>(&mut self, mut op: impl FnMut(bool) -> io::Result<T>) -> Result<T> {
        let since = Instant::now();
        let deadline = self.timeout.map(|t| since + t);
        let first_line = since + WORTH_A_LINE;
        let mut said = false;
        loop {
            self.check()?;
            self.watcher.peers_changed();
            // Whoever is there may be gone a moment later, and then even this blocks: in the open of a FIFO, say.
            let soon = if said { deadline } else { Some(deadline.map_or(first_line, |d| d.min(first_line))) };
            match self.watcher.interruptible(soon, true, || op(false)) {
                // By news, which are looked at above.
                Err(e) if e.kind() == ErrorKind::Interrupted && since.elapsed() < WORTH_A_LINE => continue,
                Err(e) if is_for_later(&e) => {}
                done => {
                    // What changed while we met is for the channel's first wait to look at.
                    self.watcher.look_again();
                    return Ok(done?);
                }
            }
            if !said {
                said = true;
                self.flush()?;
                let (role, hint) = (self.identity.role.other().name(), self.start_hint());
                self.say(&format!("waiting for a {role} on \"{}\"; start one with: {hint}", self.name));
            }
            if deadline.is_some_and(|d| Instant::now() >= d) {
                let (method, role) = (self.identity.method, self.identity.role.other().name());
                let gone = format!(
                    "no {method}-{role} came within {:.1?} (--timeout); start one with: {}",
                    since.elapsed(),
                    self.start_hint()
                );
                return Err(io::Error::new(ErrorKind::TimedOut, gone).into());
            }
            self.draw();
            let deadline = self.or_drawing(deadline);
            match self.watcher.interruptible(deadline, true, || op(true)) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.watcher.pause(deadline, true),
                Err(e) if is_for_later(&e) => {}
                done => {
                    self.watcher.look_again();
                    return Ok(done?);
                }
            }
        }
    }

    /// What the other side must be told too, so that both meet: `--file /data/x.map`.
    pub fn other_side_needs(&mut self, args: impl Into<String>) {
        self.other_side_needs = args.into();
    }

    /// The command that starts the other side.
    pub fn start_hint(&self) -> String {
        let mut hint =
            format!("cargo run --bin {}-{}", self.identity.method, self.identity.role.other().name());
        let name = if self.name == "demo" { String::new() } else { format!("--name {}", self.name) };
        let flags: Vec<_> =
            [name.as_str(), &self.other_side_needs].into_iter().filter(|f| !f.is_empty()).collect();
        if !flags.is_empty() {
            hint += &format!(" -- {}", flags.join(" "));
        }
        hint
    }

    /// Sleeps, unless something asks for the end meanwhile.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn sleep(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        self.flush()?;
        while Instant::now() < until {
            self.check()?;
            self.draw();
            self.watcher.pause(self.or_drawing(Some(until)), false);
        }
        self.check()
    }

    /// A read or write of our own input or output, which may block for as long as it likes.
    ///
    /// # Errors
    /// [`Stopped`], and what `io` fails with.
    pub fn transfer(&mut self, mut io: impl FnMut() -> io::Result<usize>) -> Result<usize> {
        loop {
            let deadline = self.or_drawing(None);
            match self.watcher.interruptible(deadline, false, &mut io) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {
                    self.check()?;
                    self.draw();
                }
                done => return Ok(done?),
            }
        }
    }
}

/// Neither success nor failure: to be tried again.
fn is_for_later(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
