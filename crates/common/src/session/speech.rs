//! What a process says, on standard output, standard error and `--output`. Somebody has to read it: until they
//! do, every write here can be stopped.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use super::Session;
use crate::exit;
use crate::sink::Output;

impl Session {
    pub(super) fn open_output(&mut self) -> Result<()> {
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

    pub(super) fn output_all(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(fd) = self.output.fd.take() else { return Ok(()) };
        let written = self.write_all(fd.as_fd(), bytes);
        self.output.fd = Some(fd);
        Ok(written.map_err(|e| own_output(e, &self.output.what))?)
    }

    /// A line about an item, on standard output; not with `--quiet`.
    pub fn line(&mut self, line: std::fmt::Arguments<'_>) {
        self.report.line(line);
    }

    pub(super) fn after_item(&mut self) -> Result<()> {
        self.draw();
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

    /// Prints the lines and writes the payloads that have gathered: before every wait, and at the end; and before
    /// another process is told that they were written.
    ///
    /// # Errors
    /// As [`Session::received`].
    pub fn flush(&mut self) -> Result<()> {
        let payloads = self.output.take();
        self.output_all(&payloads)?;
        let lines = self.report.take_lines();
        self.write(1, &lines)
    }

    /// Writes to standard output (1) or error (2).
    pub(super) fn write(&mut self, to: i32, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.wipe_gauge();
        let (out, err) = (io::stdout(), io::stderr());
        let written = self.write_all(if to == 1 { out.as_fd() } else { err.as_fd() }, bytes);
        self.redraw_gauge();
        Ok(written.map_err(|e| own_output(e, "standard output"))?)
    }

    /// Writes what somebody may have to read first. Who was stopped while nobody reads gives up after a moment.
    pub(super) fn write_all(&mut self, fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
        let mut patience = None;
        while !bytes.is_empty() {
            let written = self.watcher.interruptible(None, false, || Ok(nix::unistd::write(fd, bytes)?));
            match written {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() != ErrorKind::Interrupted => return Err(e),
                Err(_) if self.stopped().is_none() => {}
                Err(_) => {
                    let until = *patience.get_or_insert_with(|| Instant::now() + Duration::from_millis(300));
                    if Instant::now() > until {
                        return Ok(());
                    }
                    let mut ready = [PollFd::new(fd, PollFlags::POLLOUT)];
                    if poll(&mut ready, 20u8) == Ok(1) {
                        // So little does not block where there is any room at all.
                        match nix::unistd::write(fd, &bytes[..bytes.len().min(512)]) {
                            Ok(n) => bytes = &bytes[n..],
                            Err(Errno::EINTR) => {}
                            Err(e) => return Err(e.into()),
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// What a failed write to our own output means: status 1, and no word about a reader who has gone, because
/// `| head -1` is no mistake.
pub(super) fn own_output(e: io::Error, what: &str) -> exit::Exit {
    let gone = e.kind() == ErrorKind::BrokenPipe;
    let message = if gone { String::new() } else { format!("write to {what}: {e}") };
    exit::Exit { status: 1, message }
}
