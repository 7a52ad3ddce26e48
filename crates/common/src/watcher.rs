//! How a process waits: it simply blocks, and a second thread interrupts it when there is news.
//!
//! A mechanism's blocking call is the plain one: `read`, `msgrcv`, `futex`. The watcher thread sleeps in
//! `poll` on all that could concern the main thread meanwhile: a signal, a peer that came or died (inotify),
//! a deadline. When there is news it sends the main thread a signal whose handler does nothing, which makes
//! the blocked call return `EINTR`, and repeats that until the main thread has noticed. Sending it once
//! would not do: it could arrive between the main thread's last look and its call. Nobody polls, nobody
//! wakes up in vain, and no mechanism knows of stop flags.
//!
//! See also: signal(7) ("Interruption of system calls"), pthread_kill(3), eventfd(2), timerfd_create(2).

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::time::TimeSpec;
use nix::sys::timer::TimerSetTimeFlags;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags};

use crate::place::Watch;

/// The first signal that asked for the end; 0 while none has.
static STOP: AtomicI32 = AtomicI32::new(0);
/// What the signal handlers write to: the watcher's bell.
static BELL: OnceLock<EventFd> = OnceLock::new();
/// The signal that interrupts the main thread: ignored by default, so that a stray one does no harm.
const KICK: Signal = Signal::SIGURG;
/// How soon the main thread is interrupted again if it has not noticed.
const AGAIN: Duration = Duration::from_millis(10);

/// The main thread's side of the watcher.
#[derive(Debug)]
pub(crate) struct Watcher {
    shared: Arc<Shared>,
    /// What the timer is set to, if it has not run out.
    timer_at: Option<Instant>,
}

#[derive(Debug)]
struct Shared {
    /// The thread that runs the pair, and is to be interrupted.
    main: Pthread,
    /// The main thread is in a call that may block, or about to enter one.
    waiting: AtomicBool,
    /// There is news that the main thread has not heard.
    news: AtomicBool,
    /// Somebody came, left or died.
    peers: AtomicBool,
    /// Runs out when the main thread wants to be interrupted.
    timer: TimerFd,
    /// Handed to the watcher with a ring of the bell.
    watch: Mutex<Option<Watch>>,
}

impl Watcher {
    /// Installs the signal handlers and starts the thread. For the main thread, once.
    pub(crate) fn start() -> Result<Watcher> {
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        anyhow::ensure!(BELL.set(bell).is_ok(), "a process has one watcher");
        let shared = Arc::new(Shared {
            main: pthread_self(),
            waiting: AtomicBool::new(false),
            news: AtomicBool::new(false),
            peers: AtomicBool::new(false),
            timer: TimerFd::new(
                ClockId::CLOCK_MONOTONIC,
                TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK,
            )?,
            watch: Mutex::new(None),
        });
        handle_signals().context("install the signal handlers")?;
        let watcher = shared.clone();
        std::thread::Builder::new().name("watcher".into()).spawn(move || watcher.run())?;
        Ok(Watcher { shared, timer_at: None })
    }

    /// From now on, who comes, leaves or dies is news.
    pub(crate) fn watch(&self, watch: Watch) {
        *self.shared.watch.lock().expect("nobody panics with it") = Some(watch);
        ring();
    }

    /// Whether somebody came, left or died since this was asked last.
    pub(crate) fn peers_changed(&self) -> bool {
        // Looked at before it is changed, because a read shares its cache line with the watcher for free.
        self.shared.peers.load(SeqCst) && self.shared.peers.swap(false, SeqCst)
    }

    /// Makes the next [`Watcher::peers_changed`] say yes.
    pub(crate) fn look_again(&self) {
        self.shared.peers.store(true, SeqCst);
    }

    /// Enters a call that may block, so that news interrupt it: a signal, `deadline`, and if `heed_peers`
    /// what they do. Once the watcher has set `news` and seen us `waiting`, it interrupts us again and
    /// again until we have left.
    pub(crate) fn interruptible<T>(
        &mut self,
        deadline: Option<Instant>,
        heed_peers: bool,
        op: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        if let Some(deadline) = deadline {
            self.set_timer(deadline);
        }
        // SeqCst on both words and both sides: either we see the news here, or the watcher sees us waiting.
        self.shared.waiting.store(true, SeqCst);
        let news = self.shared.news.load(SeqCst) || heed_peers && self.shared.peers.load(SeqCst);
        let result = if news { Err(ErrorKind::Interrupted.into()) } else { op() };
        self.shared.waiting.store(false, SeqCst);
        if self.shared.news.load(SeqCst) {
            // Heard. What the news are (stop, peers, deadline) is looked at after this, so none is lost.
            // A stop stays news for ever: nothing blocks any more.
            self.shared.news.store(stop_signal().is_some(), SeqCst);
            if self.timer_at.is_some_and(|t| t <= Instant::now()) {
                self.timer_at = None;
            }
        }
        result
    }

    /// Sleeps until there is news, or `until`.
    pub(crate) fn pause(&mut self, until: Option<Instant>, heed_peers: bool) {
        // Interrupted or over: the caller looks why.
        let _ = self.interruptible(None, heed_peers, || {
            let left = until.map(|t| TimeSpec::from_duration(t.saturating_duration_since(Instant::now())));
            ppoll(&mut [], left, None)?;
            Ok(())
        });
    }

    /// Sees to it that news come at `at` at the latest. News that come early do no harm, so a timer that
    /// runs already is left alone: a pair at full speed blocks thousands of times a second.
    fn set_timer(&mut self, at: Instant) {
        let now = Instant::now();
        if self.timer_at.is_some_and(|t| t > now && t <= at) {
            return;
        }
        // Zero would disarm the timer.
        let left = at.saturating_duration_since(now).max(Duration::from_nanos(1));
        let once = Expiration::OneShot(TimeSpec::from_duration(left));
        if self.shared.timer.set(once, TimerSetTimeFlags::empty()).is_ok() {
            self.timer_at = Some(at);
        }
    }
}

impl Shared {
    /// The watcher thread.
    fn run(&self) {
        let bell = BELL.get().expect("set before the thread was started");
        let mut watch: Option<Watch> = None;
        // The kernel reports that a dead process's file was closed just before it drops the lock on it:
        // so after news from the directory there are two more looks, a little later.
        let mut looks: Vec<Instant> = Vec::new();
        loop {
            let unheard = self.news.load(SeqCst) && self.waiting.load(SeqCst);
            let wake = looks.iter().copied().chain(unheard.then(|| Instant::now() + AGAIN)).min();
            let left = wake.map(|t| t.saturating_duration_since(Instant::now()).as_millis() as u16 + 1);
            let mut fds = vec![
                PollFd::new(bell.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.timer.as_fd(), PollFlags::POLLIN),
            ];
            fds.extend(watch.as_ref().map(|w| PollFd::new(w.as_fd(), PollFlags::POLLIN)));
            let _ = poll(&mut fds, left.map_or(PollTimeout::NONE, PollTimeout::from));
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();

            let mut peers = false;
            if ready[0] {
                let _ = bell.read();
                if let Some(new) = self.watch.lock().expect("nobody panics with it").take() {
                    watch = Some(new);
                    // What happened before it was handed over counts too.
                    peers = true;
                }
            }
            if ready[1] {
                let _ = nix::unistd::read(self.timer.as_fd(), &mut [0; 8]);
            }
            let now = Instant::now();
            if ready.get(2) == Some(&true) && watch.as_ref().is_some_and(|w| w.changed().unwrap_or(true)) {
                looks = vec![now + AGAIN, now + 10 * AGAIN];
                peers = true;
            }
            peers |= looks.iter().any(|t| *t <= now);
            looks.retain(|t| *t > now);
            if peers {
                self.peers.store(true, SeqCst);
            }
            if peers || ready[0] || ready[1] {
                self.news.store(true, SeqCst);
            }
            if self.news.load(SeqCst) && self.waiting.load(SeqCst) {
                let _ = pthread_kill(self.main, KICK);
            }
        }
    }
}

/// The signal that has asked for the end, if one has.
pub(crate) fn stop_signal() -> Option<Signal> {
    Signal::try_from(STOP.load(SeqCst)).ok()
}

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

/// From now on Ctrl-C, SIGTERM and SIGHUP ask for the end, and a kick interrupts.
fn handle_signals() -> Result<()> {
    // ctrlc runs this in a thread of its own.
    ctrlc::set_handler(|| on_stop(Signal::SIGINT as i32))?;
    // No SA_RESTART for the kick, whose whole purpose is EINTR.
    install(KICK, SigHandler::Handler(on_kick), SaFlags::empty())?;
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
    // SAFETY: both handlers do only what is async-signal-safe: an atomic store, and a write(2) to an eventfd
    // that is never closed. No other process is concerned.
    unsafe { sigaction(signal, &action) }
}
