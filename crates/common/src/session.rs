//! A process's run from its arguments to its exit status: waiting, being stopped, and what it says.
//!
//! # How a process waits
//! A mechanism's blocking call simply blocks: `read`, `msgrcv`, `futex`. One watcher thread sleeps in `poll`
//! on all that could concern the main thread meanwhile: a signal, a peer that came or died (inotify), a
//! deadline. When there is news it sends the main thread a signal whose handler does nothing, which makes
//! the blocked call return `EINTR`, and repeats that until the main thread has noticed. Sending it once would
//! not do: it could arrive between the main thread's last look and its call. Nobody polls, nobody wakes up
//! in vain, and no mechanism knows of stop flags.
//!
//! See also: signal(7) ("Interruption of system calls"), pthread_kill(3), eventfd(2), timerfd_create(2).

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::time::TimeSpec;
use nix::sys::timer::TimerSetTimeFlags;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags};

use crate::args::{self, Both};
use crate::exit::{self, Stopped};
use crate::item;
use crate::place::{Role, Watch};
use crate::report::Report;
use crate::sink::Output;

/// A wait is worth a line once it has lasted so long.
const WORTH_A_LINE: Duration = Duration::from_millis(100);

/// The first signal that asked for the end; 0 while none has.
static STOP: AtomicI32 = AtomicI32::new(0);
/// What the signal handlers write to: the watcher's bell.
static BELL: OnceLock<EventFd> = OnceLock::new();

/// What the watcher and the main thread share.
#[derive(Debug)]
struct Shared {
    /// The thread that runs the pair, and is to be interrupted.
    main: Pthread,
    /// The main thread is in a call that may block, or about to enter one.
    waiting: AtomicBool,
    /// There is news that the main thread has not looked at.
    news: AtomicBool,
    /// Somebody came, left or died.
    peers: AtomicBool,
    /// Runs out when the main thread wants to be interrupted.
    timer: TimerFd,
    /// Handed to the watcher with a ring of the bell.
    watch: Mutex<Option<Watch>>,
}

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
    timeout: Option<Duration>,
    nonblocking: bool,
    shared: Arc<Shared>,
    /// What the timer is set to, if it has not run out.
    timer_at: Option<Instant>,
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
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        anyhow::ensure!(BELL.set(bell).is_ok(), "a process has one session");
        let shared = Arc::new(Shared {
            main: pthread_self(),
            waiting: AtomicBool::new(false),
            news: AtomicBool::new(false),
            peers: AtomicBool::new(false),
            timer,
            watch: Mutex::new(None),
        });
        handle_signals().context("install the signal handlers")?;
        let watcher = shared.clone();
        std::thread::Builder::new().name("watcher".into()).spawn(move || watcher.watch())?;
        Ok(Session {
            report: Report::new(identity, both, consumer.is_some_and(|c| c.to_stdout())),
            consumer: consumer.cloned(),
            output: Output::default(),
            identity,
            name: both.name.clone(),
            timeout: both.timeout,
            nonblocking: both.nonblocking,
            shared,
            timer_at: None,
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
        *self.shared.watch.lock().expect("nobody panics with it") = Some(watch);
        ring();
    }

    /// Whether a signal has asked for the end.
    pub fn stopped(&self) -> Option<Stopped> {
        match STOP.load(SeqCst) {
            0 => None,
            n => Some(Stopped(Signal::try_from(n).unwrap_or(Signal::SIGTERM))),
        }
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
                self.interruptible(deadline, true, || op(channel, true))
            };
            match outcome {
                Err(e) if is_for_later(&e) => {}
                done => break done,
            }
            if let Some(stopped) = self.stopped() {
                self.report.waited(since.elapsed());
                return Err(stopped.into());
            }
            if self.shared.peers.swap(false, SeqCst) {
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
        self.check()?;
        match op(false) {
            Err(e) if is_for_later(&e) => {}
            done => return Ok(done?),
        }
        self.flush()?;
        let (method, role) = (self.identity.method, self.identity.role.other().name());
        let hint = self.start_hint();
        self.say(&format!("waiting for a {role} on \"{}\"; start one with: {hint}", self.name));
        let since = Instant::now();
        loop {
            let deadline = self.timeout.map(|t| since + t);
            match self.interruptible(deadline, true, || op(true)) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.pause(deadline),
                Err(e) if is_for_later(&e) => {}
                done => return Ok(done?),
            }
            self.check()?;
            self.shared.peers.store(false, SeqCst);
            match op(false) {
                Err(e) if is_for_later(&e) => {}
                done => return Ok(done?),
            }
            if self.timeout.is_some_and(|t| since.elapsed() >= t) {
                let gone = format!(
                    "no {method}-{role} came within {:?} (--timeout); start one with: {hint}",
                    since.elapsed()
                );
                return Err(io::Error::new(ErrorKind::TimedOut, gone).into());
            }
        }
    }

    /// The command that starts the other side.
    pub fn start_hint(&self) -> String {
        let name = if self.name == "demo" { String::new() } else { format!(" -- --name {}", self.name) };
        format!("cargo run --bin {}-{}{name}", self.identity.method, self.identity.role.other().name())
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
            self.pause(Some(until));
        }
        self.check()
    }

    /// Sleeps until there is news, or `until`.
    fn pause(&mut self, until: Option<Instant>) {
        let _ = self.interruptible(None, false, || {
            let left = until.map(|t| t.saturating_duration_since(Instant::now()));
            let left = left.map(|d| TimeSpec::from_duration(d));
            nix::poll::ppoll(&mut [], left, None)?;
            Ok(())
        });
    }

    /// A read or write of our own input or output, which may block for as long as it likes.
    ///
    /// # Errors
    /// [`Stopped`], and what `io` fails with.
    pub fn transfer(&mut self, mut io: impl FnMut() -> io::Result<usize>) -> Result<usize> {
        loop {
            match self.interruptible(None, false, &mut io) {
                Err(e) if e.kind() == ErrorKind::Interrupted => self.check()?,
                done => return Ok(done?),
            }
        }
    }

    /// Enters a call that may block, so that news interrupt it: once `news` is set and `waiting` seen, the
    /// watcher interrupts us again and again until we have left.
    fn interruptible<T>(
        &mut self,
        deadline: Option<Instant>,
        peers: bool,
        op: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        if let Some(deadline) = deadline {
            self.set_timer(deadline);
        }
        // SeqCst on both words and both sides: either we see the news here, or the watcher sees us waiting.
        self.shared.waiting.store(true, SeqCst);
        let news = self.shared.news.load(SeqCst) || peers && self.shared.peers.load(SeqCst);
        let result = if news { Err(ErrorKind::Interrupted.into()) } else { op() };
        self.shared.waiting.store(false, SeqCst);
        if self.shared.news.load(SeqCst) {
            // Heard. What the news are (stop, peers, deadline) is looked at after this, so none is lost.
            self.shared.news.store(self.stopped().is_some(), SeqCst);
            if self.timer_at.is_some_and(|t| t <= Instant::now()) {
                self.timer_at = None;
            }
        }
        result
    }

    /// Sees to it that news come at `at` at the latest. News that come early do no harm, so a timer that
    /// runs already is left alone: a pair at full speed blocks thousands of times a second.
    fn set_timer(&mut self, at: Instant) {
        let now = Instant::now();
        if self.timer_at.is_some_and(|t| t > now && t <= at) {
            return;
        }
        let left = at.saturating_duration_since(now).max(Duration::from_nanos(1));
        let once = Expiration::OneShot(TimeSpec::from_duration(left));
        if self.shared.timer.set(once, TimerSetTimeFlags::empty()).is_ok() {
            self.timer_at = Some(at);
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
    /// been written to [`Session::output`] already, if that was wanted.
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

    /// Where `--output` goes, for a mechanism that writes payloads straight from its own memory.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn output(&self) -> Result<Option<OwnedFd>> {
        Ok(self.output.fd.as_ref().map(|fd| fd.try_clone()).transpose()?)
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
        let Some(fd) = self.output()? else { return Ok(()) };
        while !bytes.is_empty() {
            match self.transfer(|| Ok(nix::unistd::write(&fd, bytes)?)) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) => {
                    return Err(e
                        .downcast::<io::Error>()
                        .map_or_else(|e| e, |e| own_output(e, "--output").into()));
                }
            }
        }
        Ok(())
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
            match self.interruptible(None, false, || Ok(nix::unistd::write(fd, bytes)?)) {
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
                            let n = nix::unistd::write(fd, &bytes[..bytes.len().min(512)]).unwrap_or(0);
                            bytes = &bytes[n..];
                        } else if Instant::now() > until {
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

/// From now on Ctrl-C, SIGTERM and SIGHUP ask for the end, and a kick interrupts.
fn handle_signals() -> Result<()> {
    // ctrlc runs this in a thread of its own.
    ctrlc::set_handler(|| on_stop(Signal::SIGINT as i32))?;
    // No SA_RESTART for the kick, whose whole purpose is EINTR.
    install(Signal::SIGURG, SigHandler::Handler(on_kick), SaFlags::empty())?;
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let before = install(signal, SigHandler::Handler(on_stop), SaFlags::SA_RESTART)?;
        if matches!(before.handler(), SigHandler::SigIgn) {
            // Inherited from nohup, which must keep its word.
            install(signal, SigHandler::SigIgn, SaFlags::empty())?;
        }
    }
    Ok(())
}

#[allow(unsafe_code)]
fn install(signal: Signal, handler: SigHandler, flags: SaFlags) -> nix::Result<SigAction> {
    let action = SigAction::new(handler, flags, SigSet::empty());
    // SAFETY: both handlers do nothing that is not async-signal-safe: an atomic store and a write(2) to an
    // eventfd that is never closed. No other process is concerned.
    unsafe { sigaction(signal, &action) }
}

/// Neither success nor failure: to be tried again.
fn is_for_later(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

impl Shared {
    /// The watcher thread.
    fn watch(&self) {
        let bell = BELL.get().expect("set before the watcher was started");
        let mut watch: Option<Watch> = None;
        // The kernel reports that a dead process's file was closed just before it drops the lock on it:
        // so after news from the directory there are two more looks, a little later.
        let mut looks: Vec<Instant> = Vec::new();
        loop {
            let unheard = self.news.load(SeqCst) && self.waiting.load(SeqCst);
            let again = unheard.then(|| Instant::now() + Duration::from_millis(10));
            let wake = looks.iter().copied().chain(again).min();
            let left = wake.map(|t| t.saturating_duration_since(Instant::now()).as_millis() as u16 + 1);
            let mut fds = vec![
                PollFd::new(bell.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.timer.as_fd(), PollFlags::POLLIN),
            ];
            fds.extend(watch.as_ref().map(|w| PollFd::new(w.as_fd(), PollFlags::POLLIN)));
            let _ = poll(&mut fds, left.map_or(PollTimeout::NONE, PollTimeout::from));
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();

            if ready[0] {
                let _ = bell.read();
                if let Some(new) = self.watch.lock().expect("nobody panics with it").take() {
                    watch = Some(new);
                    // What happened before it was handed over is news too.
                    self.peers.store(true, SeqCst);
                }
                self.news.store(true, SeqCst);
            }
            if ready[1] {
                let mut expirations = [0; 8];
                let _ = nix::unistd::read(self.timer.as_fd(), &mut expirations);
                self.news.store(true, SeqCst);
            }
            let now = Instant::now();
            let due = looks.iter().any(|t| *t <= now);
            looks.retain(|t| *t > now);
            if ready.get(2) == Some(&true) && watch.as_ref().is_some_and(|w| w.changed().unwrap_or(true)) {
                looks = vec![now + Duration::from_millis(10), now + Duration::from_millis(100)];
                self.peers.store(true, SeqCst);
                self.news.store(true, SeqCst);
            } else if due {
                self.peers.store(true, SeqCst);
                self.news.store(true, SeqCst);
            }
            if self.news.load(SeqCst) && self.waiting.load(SeqCst) {
                let _ = pthread_kill(self.main, KICK);
            }
        }
    }
}

/// The signal that interrupts the main thread: ignored by default, so that a stray one does no harm.
const KICK: Signal = Signal::SIGURG;

/// Rings the watcher's bell. Called from signal handlers: nothing here allocates or locks.
fn ring() {
    if let Some(bell) = BELL.get() {
        let _ = nix::unistd::write(bell, &1u64.to_ne_bytes());
    }
}

extern "C" fn on_stop(signal: i32) {
    let _ = STOP.compare_exchange(0, signal, SeqCst, SeqCst);
    ring();
}

extern "C" fn on_kick(_: i32) {}
