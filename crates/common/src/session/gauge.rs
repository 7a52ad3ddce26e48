//! A line that is kept up to date below all others: how the channel looks at this moment.
//!
//! On a terminal it is redrawn in place, and gone at the end. Where that cannot be (a pipe, a file, a terminal
//! on which others print, or somebody types) it is a line of its own whenever it has changed. Nobody draws
//! but the main thread, whose waits end when a drawing is due: so no two writes meet on the terminal.

use std::fmt;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use console::Term;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::stat::SFlag;

use super::Session;

/// Between two drawings: there are at most twenty a second.
const PAUSE: Duration = Duration::from_millis(50);
/// What stays free at the end of the terminal's line, so that the `^C` that it echoes begins no other.
const MARGIN: usize = 3;

/// Columns for the progress in numbers, so that the line before it does not change its length with them.
const PROGRESS: usize = 26;

pub(super) struct Gauge {
    line: Box<dyn Fn(usize, bool) -> String>,
    in_place: bool,
    /// There would be a progress bar, whose place it has.
    with_progress: bool,
    /// What was drawn last; empty once it was wiped away.
    drawn: String,
    due: Instant,
}

impl Session {
    /// Keeps a line up to date from now on. `line` is told how many columns it may have, and whether the channel
    /// blocks this process.
    pub fn gauge(&mut self, line: impl Fn(usize, bool) -> String + 'static) {
        let in_place = io::stderr().is_terminal() && !self.typed_input && !self.others_print();
        let with_progress = self.report.stop_progress() && in_place;
        let (line, drawn, due) = (Box::new(line), String::new(), Instant::now());
        self.gauge = Some(Gauge { line, in_place, with_progress, drawn, due });
    }

    /// Whether something else may stand on the terminal, in the middle of a line: payloads, or what comes out at
    /// the end of a pipe (`| tee`) at a time of its own.
    fn others_print(&self) -> bool {
        let stdout = io::stdout();
        if stdout.is_terminal() {
            return self.report.output_is_stdout();
        }
        let kind = nix::sys::stat::fstat(stdout.as_fd()).map(|stat| SFlag::from_bits_truncate(stat.st_mode));
        !self.report.is_silent() && kind.is_ok_and(|kind| kind.contains(SFlag::S_IFIFO))
    }

    /// Whether every wait can be seen in place, so that a short one need not have a line of its own, too.
    pub(super) fn gauge_shows_waits(&self) -> bool {
        self.gauge.as_ref().is_some_and(|g| g.in_place)
    }

    /// When a wait has to end: at `deadline`, or earlier if a drawing is due.
    pub(super) fn or_drawing(&self, deadline: Option<Instant>) -> Option<Instant> {
        deadline.into_iter().chain(self.gauge.as_ref().map(|g| g.due)).min()
    }

    /// Draws the line, if it is time and it has changed.
    pub(super) fn draw(&mut self) {
        let Some(gauge) = &mut self.gauge else { return };
        let now = Instant::now();
        if now < gauge.due {
            return;
        }
        gauge.due = now + PAUSE;
        let room = if gauge.in_place { columns().saturating_sub(MARGIN) } else { 80 };
        let for_progress = if gauge.with_progress { PROGRESS } else { 0 };
        let mut line = (gauge.line)(room.saturating_sub(for_progress), self.blocked && !self.nonblocking);
        if gauge.with_progress {
            line += &self.report.progress_so_far();
        }
        line = line.chars().take(room).collect();
        if line == gauge.drawn || !is_writable() {
            return;
        }
        let text = if gauge.in_place { gauge.wipe() + &line } else { format!("{line}\n") };
        gauge.drawn = line;
        // One that went away takes nothing more; the run goes on.
        let _ = self.write_all(io::stderr().as_fd(), text.as_bytes());
    }

    /// Makes room for something else in the line's place, until the next [`Session::draw`].
    pub(super) fn wipe_gauge(&mut self) {
        let wiped = self.gauge.as_mut().filter(|g| g.in_place && !g.drawn.is_empty()).map(Gauge::wipe);
        if let Some(text) = wiped.filter(|_| is_writable()) {
            let _ = self.write_all(io::stderr().as_fd(), text.as_bytes());
        }
    }

    /// The same, and draws it again at the next chance.
    pub(super) fn redraw_gauge(&mut self) {
        if let Some(gauge) = self.gauge.as_mut().filter(|g| g.in_place) {
            gauge.due = Instant::now();
            self.draw();
        }
    }

    /// Takes it away for good.
    pub(super) fn end_gauge(&mut self) {
        self.wipe_gauge();
        self.gauge = None;
    }
}

impl Gauge {
    /// The bytes that wipe away what was drawn.
    fn wipe(&mut self) -> String {
        let length = std::mem::take(&mut self.drawn).chars().count();
        // A terminal that was made narrower since has broken the line in two or more.
        match length.div_ceil(columns()) {
            0 | 1 => "\r\x1b[K".into(),
            rows => format!("\r\x1b[{}A\x1b[J", rows - 1),
        }
    }
}

/// A terminal that is stopped (Ctrl-S), or a pipe that nobody reads, goes without a gauge.
fn is_writable() -> bool {
    poll(&mut [PollFd::new(io::stderr().as_fd(), PollFlags::POLLOUT)], 0u8) == Ok(1)
}

/// The width of the terminal that standard error is.
fn columns() -> usize {
    match Term::stderr().size_checked() {
        Some((_, columns)) if columns > 0 => columns.into(),
        _ => 80,
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauge").field("drawn", &self.drawn).finish_non_exhaustive()
    }
}
