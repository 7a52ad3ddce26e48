//! Ctrl-C, SIGTERM and SIGHUP ask for the end: the processes on the stage are ended, and nothing is left.

use std::fmt;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use anyhow::{Context, Result};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// The first signal that asked for the end; 0 while none has.
static STOP: AtomicI32 = AtomicI32::new(0);

/// Ended because a signal asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped(Signal);

impl Stopped {
    /// Nobody reads what we print any more (`| head`): what the signal says to programs that do not ignore it.
    pub const NOBODY_READS: Stopped = Stopped(Signal::SIGPIPE);

    /// The exit status that says so.
    pub fn status(&self) -> u8 {
        128 + self.0 as u8
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ended by {}", self.0)
    }
}

impl std::error::Error for Stopped {}

extern "C" fn stop(signal: i32) {
    let _ = STOP.compare_exchange(0, signal, Relaxed, Relaxed);
}

/// Installs the handlers.
pub fn on_signals() -> Result<()> {
    let act = |signal, handler| {
        let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
        // SAFETY: `stop` only exchanges an atomic integer, which a signal handler may do.
        unsafe { sigaction(signal, &action) }.context("install a signal handler")
    };
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let before = act(signal, SigHandler::Handler(stop))?;
        // `nohup` and a shell's background jobs ignore a signal on purpose.
        if matches!(before.handler(), SigHandler::SigIgn) {
            act(signal, SigHandler::SigIgn)?;
        }
    }
    Ok(())
}

/// Fails once a signal has asked for the end.
pub fn check() -> Result<()> {
    match Signal::try_from(STOP.load(Relaxed)) {
        Ok(signal) => Err(Stopped(signal).into()),
        Err(_) => Ok(()),
    }
}
