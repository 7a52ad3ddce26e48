//! A process's run from its arguments to its exit status: waiting, being stopped, and what it says.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use crate::args::{self, Both};
use crate::exit::{self, Stopped};
use crate::item;
use crate::place::{Role, Watch};
use crate::report::Report;
use crate::sink::Output;
use crate::watcher::{Watcher, stop_signal};

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
        Session::run(identity, &args.both, None, run)
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
        })
    }

    fn finish(mut self, result: Result<()>) -> ExitCode {
        let mut status = 0;
        if let Err(e) = &result {
            status = exit::status(e);
        }
        if status != 2 {
            status = exit::worse(status, self.report.verdict());
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
        let result = loop {
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
                    Some(since + WORTH_A_LINE.min(self.timeout.unwrap_or(WORTH_A_LINE)))
                };
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
            if !announced && !self.nonblocking && waited >= WORTH_A_LINE {
                announced = true;
                self.say(&format!("blocked: {}", why(channel)));
            }
        };
        self.report.waited(since.elapsed());
        if announced {
            self.say(&format!("unblocked after {:.1?}", since.elapsed()));
        }
        Ok(result?)
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
        let mut said = false;
        loop {
            self.check()?;
            self.watcher.peers_changed();
            match op(false) {
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
            self.watcher.pause(Some(until), false);
        }
        self.check()
    }

    /// A read or write of our own input or output, which may block for as long as it likes.
    ///
    /// # Errors
    /// [`Stopped`], and what `io` fails with.
    pub fn transfer(&mut self, mut io: impl FnMut() -> io::Result<usize>) -> Result<usize> {
        loop {
            match self.watcher.interruptible(None, false, &mut io) {
                Err(e) if e.kind() == ErrorKind::Interrupted => self.check()?,
                done => return Ok(done?),
            }
        }
    }

    /// Reports an item that was handed to the channel.
    pub fn sent(&mut self, item: &[u8]) -> Result<()> {
        self.sent_in_place(item.first_chunk().expect("an encoded item"), item.len())
    }

    /// The same for an item that was built in place, of which only the head is at hand.
    pub fn sent_in_place(&mut self, head: &[u8; item::HEADER], len: usize) -> Result<()> {
        self.report.sent(&item::Header::parse(head), len);
        self.after_item()
    }

    /// Checks and reports an item that was taken from the channel, writes its payload to `--output`, and
    /// spends `--delay` on it: whether more are wanted (`--count`). `lane` is the message type or priority
    /// that it came by, 0 where there is none.
    ///
    /// # Errors
    /// [`Stopped`], or when `--output` takes no more. A damaged item is counted, and no error here.
    pub fn received(&mut self, lane: u64, item: &[u8]) -> Result<bool> {
        let intact = item::open(item);
        self.report.received(lane, item.len(), intact.as_ref().map(|(header, _)| header));
        match intact {
            Some((_, payload)) if self.output.gather(payload) => {}
            Some((_, payload)) => {
                self.flush()?;
                self.output_all(payload)?;
            }
            None => self.warn_corrupted(item.len()),
        }
        self.processed()
    }

    /// The same for an item of `len` encoded bytes that was checked in pieces, in place. Its payload has
    /// been written by [`Session::write_output`] already, if that was wanted.
    ///
    /// # Errors
    /// As [`Session::received`].
    pub fn received_in_place(
        &mut self,
        lane: u64,
        len: usize,
        header: Option<&item::Header>,
    ) -> Result<bool> {
        self.report.received(lane, len, header);
        if header.is_none() {
            self.warn_corrupted(len);
        }
        self.processed()
    }

    /// Whether there is an `--output`, for a mechanism that writes payloads straight from its own memory.
    pub fn has_output(&self) -> bool {
        self.output.fd.is_some()
    }

    /// One write(2) to `--output`, which may block for as long as it likes: how much was taken.
    ///
    /// # Errors
    /// [`Stopped`]; `InvalidData` if `write` found its own memory damaged; status 1 for all else.
    ///
    /// # Panics
    /// If there is no `--output`.
    pub fn write_output(
        &mut self,
        mut write: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Result<usize> {
        let fd = self.output.fd.take().expect("--output");
        let written = self.transfer(|| write(fd.as_fd()));
        self.output.fd = Some(fd);
        written.map_err(|e| match e.downcast::<io::Error>() {
            Ok(e) if e.kind() != ErrorKind::InvalidData => own_output(e, &self.output.what).into(),
            Ok(e) => e.into(),
            Err(e) => e,
        })
    }

    fn warn_corrupted(&mut self, len: usize) {
        self.warn("corrupted item", || format!("{len} bytes whose checksum does not fit"));
    }

    /// What follows every received item.
    fn processed(&mut self) -> Result<bool> {
        self.after_item()?;
        let Some(args) = &self.consumer else { return Ok(true) };
        let (count, delay) = (args.count, args.delay);
        if !delay.is_zero() {
            self.sleep(delay)?;
        }
        Ok(count == 0 || self.report.items() < count)
    }

    fn open_output(&mut self) -> Result<()> {
        let Some(args) = self.consumer.take() else { return Ok(()) };
        if let Some(path) = &args.output {
            let mut opened = None;
            // The open of a FIFO waits for its reader.
            self.transfer(|| {
                opened = Some(Output::open(path)?);
                Ok(0)
            })
            .with_context(|| format!("open --output {}", path.display()))?;
            self.output = opened.unwrap_or_default();
        }
        self.consumer = Some(args);
        Ok(())
    }

    fn output_all(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() && self.has_output() {
            let n = self.write_output(|fd| Ok(nix::unistd::write(fd, bytes)?))?;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    /// A line about an item, on standard output; not with `--quiet`.
    pub fn line(&mut self, line: std::fmt::Arguments<'_>) {
        self.report.line(line);
    }

    fn after_item(&mut self) -> Result<()> {
        if self.report.has_much_to_print() || self.output.is_full() { self.flush() } else { Ok(()) }
    }

    /// One line (or more) on standard error.
    pub fn say(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.report.hide_progress();
        // A terminal that went away takes nothing more; the run goes on.
        let _ = self.write(2, format!("{text}\n").as_bytes());
    }

    /// A line about something that may happen a million times: printed at most a few times a second.
    pub fn warn(&mut self, fault: &'static str, detail: impl FnOnce() -> String) {
        if let Some(more) = self.report.may_warn(fault) {
            let again = if more > 1 { format!(" (×{more})") } else { String::new() };
            self.say(&format!("{fault}: {}{again}", detail()));
        }
    }

    /// Prints the lines and writes the payloads that have gathered: before every wait, and at the end.
    fn flush(&mut self) -> Result<()> {
        let payloads = self.output.take();
        self.output_all(&payloads)?;
        let lines = self.report.take_lines();
        self.write(1, &lines)
    }

    /// Writes to standard output (1) or error (2), for which somebody may have to read: so it can be stopped.
    fn write(&mut self, to: i32, mut bytes: &[u8]) -> Result<()> {
        let (out, err) = (io::stdout(), io::stderr());
        let fd = if to == 1 { out.as_fd() } else { err.as_fd() };
        let mut patience = None;
        while !bytes.is_empty() {
            match self.watcher.interruptible(None, false, || Ok(nix::unistd::write(fd, bytes)?)) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == ErrorKind::Interrupted => {
                    // Stopped while nobody reads what we print: the last words are given up after a moment.
                    if self.stopped().is_some() {
                        let until =
                            *patience.get_or_insert_with(|| Instant::now() + Duration::from_millis(300));
                        let ready = {
                            let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
                            let _ = poll(&mut fds, 20u8);
                            fds[0].any() == Some(true)
                        };
                        if ready {
                            // Ready is also a pipe whose reader has gone: then there is nobody to tell.
                            match nix::unistd::write(fd, &bytes[..bytes.len().min(512)]) {
                                Ok(n) => bytes = &bytes[n..],
                                Err(Errno::EINTR) => {}
                                Err(_) => return Ok(()),
                            }
                        }
                        if Instant::now() > until {
                            return Ok(());
                        }
                    }
                }
                Err(e) => return Err(own_output(e, "standard output").into()),
            }
        }
        Ok(())
    }
}

/// What a failed write to our own output means: status 1, and no word about a reader who has gone, because
/// `| head -1` is no mistake.
fn own_output(e: io::Error, what: &str) -> exit::Exit {
    let gone = e.kind() == ErrorKind::BrokenPipe;
    let message = if gone { String::new() } else { format!("write to {what}: {e}") };
    exit::Exit { status: 1, message }
}

/// Neither success nor failure: to be tried again.
fn is_for_later(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
