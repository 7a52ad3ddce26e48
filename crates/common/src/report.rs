//! What a run prints: a line for each item, a progress bar, the summary, the JSON object.

use std::io::{IsTerminal, stderr, stdout};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde_json::{Map, Value, json};

use crate::args::Both;
use crate::audit::{Audit, Findings};
use crate::exit::BAD_DATA;
use crate::item::{HEADER, Header, now_ns};
use crate::place::Role;
use crate::session::Identity;

/// Counts, and the lines that wait to be printed.
#[derive(Debug)]
pub struct Report {
    identity: Identity,
    quiet: bool,
    wants_json: bool,
    output_is_stdout: bool,
    lines: Vec<u8>,
    items: u64,
    bytes: u64,
    first_ns: u64,
    last_ns: u64,
    waits: u64,
    waited: Duration,
    would_block: u64,
    audit: Audit,
    shared: bool,
    latency: Histogram<u64>,
    extra: Map<String, Value>,
    headline: Option<String>,
    notes: Vec<String>,
    remark: String,
    faulty: bool,
    warned: Vec<(&'static str, Instant, u64)>,
    expected: Option<u64>,
    progress: Option<ProgressBar>,
    progress_ns: u64,
}

impl Report {
    pub(crate) fn new(identity: Identity, both: &Both, output_is_stdout: bool) -> Report {
        let progress = stderr().is_terminal() && (both.quiet || output_is_stdout || !stdout().is_terminal());
        Report {
            identity,
            quiet: both.quiet || output_is_stdout,
            wants_json: both.json,
            output_is_stdout,
            lines: Vec::new(),
            items: 0,
            bytes: 0,
            first_ns: 0,
            last_ns: 0,
            waits: 0,
            waited: Duration::ZERO,
            would_block: 0,
            audit: Audit::default(),
            shared: false,
            // Up to an hour at three digits: some tens of KiB, however long the run.
            latency: Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("valid bounds"),
            extra: Map::new(),
            headline: None,
            notes: Vec::new(),
            remark: String::new(),
            faulty: false,
            warned: Vec::new(),
            expected: None,
            progress: progress.then(ProgressBar::hidden),
            progress_ns: 0,
        }
    }

    /// How many items the producer wants to send, for the progress bar.
    pub fn expect(&mut self, items: Option<u64>) {
        self.expected = items;
        if let (Some(bar), Some(items)) = (&self.progress, items) {
            bar.set_length(items);
        }
    }

    /// Adds a key to the JSON object.
    pub fn extra(&mut self, key: &str, value: impl Into<Value>) {
        self.extra.insert(key.into(), value.into());
    }

    /// What the summary begins with, where something else was done than items sent or received.
    pub fn headline(&mut self, sentence: impl Into<String>) {
        self.headline = Some(sentence.into());
    }

    /// Adds a sentence to the summary: what was left behind, what was repaired.
    pub fn note(&mut self, sentence: impl Into<String>) {
        self.notes.push(sentence.into());
    }

    /// The same about bad data that no single item shows: the exit status tells of it, too.
    pub fn fault(&mut self, sentence: impl Into<String>) {
        self.faulty = true;
        self.note(sentence);
    }

    /// Adds words to the line of the next item that is sent or received.
    pub fn remark(&mut self, words: impl FnOnce() -> String) {
        if !self.quiet {
            self.remark = format!("  {}", words());
        }
    }

    /// What was wrong with the items up to now.
    pub fn findings(&self) -> Findings {
        self.audit.findings()
    }

    /// Other consumers take from the same channel, or this one selects: what is missing here may have gone
    /// to another, so it counts as `gaps`, not as `lost`.
    pub fn shared(&mut self, shared: bool) {
        self.shared = shared;
    }

    /// A producer has said how many items of its stream it sent: what never came behind the last one is lost too.
    pub fn ended(&mut self, stream: u64, items: u64) {
        self.audit.ended(stream, items);
    }

    /// Standard output belongs to the payloads of this process or its child: nothing else goes there.
    pub fn leave_stdout(&mut self) {
        self.quiet = true;
        self.output_is_stdout = true;
    }

    /// How many items were sent or received up to now.
    pub fn items(&self) -> u64 {
        self.items
    }

    pub(crate) fn sent(&mut self, header: &Header, len: usize) {
        let payload = len - HEADER;
        self.count(payload, header.sent_ns);
        let remark = std::mem::take(&mut self.remark);
        self.line(format_args!("sent #{}  {payload} B{remark}", header.seq));
    }

    pub(crate) fn received(&mut self, lane: u64, len: usize, header: Option<&Header>) {
        let now = now_ns();
        let payload = len.saturating_sub(HEADER);
        self.count(payload, now);
        let remark = std::mem::take(&mut self.remark);
        let Some(header) = header else {
            self.audit.corrupted();
            if !self.quiet {
                self.line(format_args!("received a corrupted item  {payload} B"));
            }
            return;
        };
        self.audit.item(lane, header);
        let latency = now.saturating_sub(header.sent_ns);
        self.latency.saturating_record(latency.max(1));
        if !self.quiet {
            let (seq, pid, after) = (header.seq, header.pid, Duration::from_nanos(latency));
            self.line(format_args!("received #{seq}  {payload} B  from {pid}  after {after:.1?}{remark}"));
        }
    }

    fn count(&mut self, payload: usize, now: u64) {
        if self.items == 0 {
            self.first_ns = now;
        }
        self.last_ns = now;
        self.items += 1;
        self.bytes += payload as u64;
        if let Some(bar) = &self.progress
            && now - self.first_ns > 1_000_000_000
            && now.saturating_sub(self.progress_ns) > 200_000_000
        {
            if self.progress_ns == 0 {
                const KNOWN: &str = "{wide_bar} {percent}%  {rate}  {eta} left";
                const OPEN: &str = "{spinner} {pos} items  {rate}";
                let style = if bar.length().is_some() { KNOWN } else { OPEN };
                let style = ProgressStyle::with_template(style).expect("a valid template");
                bar.set_style(style.with_key(
                    "rate",
                    |state: &ProgressState, to: &mut dyn std::fmt::Write| {
                        let _ = write!(to, "{:.0} items/s", state.per_sec());
                    },
                ));
                bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
            }
            self.progress_ns = now;
            bar.set_position(self.items);
        }
    }

    pub(crate) fn hide_progress(&mut self) {
        if let Some(bar) = &self.progress
            && self.progress_ns > 0
        {
            bar.set_draw_target(ProgressDrawTarget::hidden());
            let _ = console_clear();
            self.progress_ns = 0;
        }
    }

    /// Another line has the progress bar's place: whether there would have been one.
    pub(crate) fn stop_progress(&mut self) -> bool {
        self.hide_progress();
        self.progress.take().is_some()
    }

    /// What the bar would say, in words; nothing in the first second.
    pub(crate) fn progress_so_far(&self) -> String {
        let rate = match self.elapsed_s() {
            ..1.0 => return String::new(),
            _ => self.items_per_s(),
        };
        match self.expected {
            Some(all) if all > 0 => format!("  {}%  {rate:.0} items/s", self.items * 100 / all),
            _ => format!("  {} items  {rate:.0} items/s", self.items),
        }
    }

    pub(crate) fn line(&mut self, line: std::fmt::Arguments<'_>) {
        use std::io::Write;
        if !self.quiet {
            let _ = writeln!(self.lines, "{line}");
        }
    }

    pub(crate) fn has_much_to_print(&self) -> bool {
        self.lines.len() > 8192
    }

    pub(crate) fn take_lines(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.lines)
    }

    pub(crate) fn waited(&mut self, time: Duration) {
        self.waits += 1;
        self.waited += time;
    }

    pub(crate) fn would_block(&mut self) {
        self.would_block += 1;
    }

    /// How often a fault happened since its last line, if it may have a line now.
    pub(crate) fn may_warn(&mut self, fault: &'static str) -> Option<u64> {
        let now = Instant::now();
        let Some(known) = self.warned.iter_mut().find(|w| w.0 == fault) else {
            self.warned.push((fault, now, 0));
            return Some(1);
        };
        known.2 += 1;
        if now - known.1 < Duration::from_millis(300) {
            return None;
        }
        known.1 = now;
        Some(std::mem::take(&mut known.2))
    }

    /// Nothing goes to standard output before the end.
    pub(crate) fn is_silent(&self) -> bool {
        self.quiet && !self.output_is_stdout
    }

    pub(crate) fn output_is_stdout(&self) -> bool {
        self.output_is_stdout
    }

    /// What is missing, as `lost` and `gaps`.
    fn missing(&self) -> (u64, u64) {
        let missing = self.audit.findings().missing;
        if self.shared { (0, missing) } else { (missing, 0) }
    }

    /// The exit status that the items alone deserve.
    pub(crate) fn verdict(&self) -> u8 {
        let f = self.audit.findings();
        let bad = self.missing().0 + f.duplicated + f.reordered + f.corrupted;
        if bad > 0 || self.faulty { BAD_DATA } else { 0 }
    }

    fn elapsed_s(&self) -> f64 {
        self.last_ns.saturating_sub(self.first_ns) as f64 / 1e9
    }

    fn items_per_s(&self) -> f64 {
        let elapsed = self.elapsed_s();
        if elapsed > 0.0 { self.items as f64 / elapsed } else { 0.0 }
    }

    pub(crate) fn summary(&self) -> String {
        let verb = if self.identity.role == Role::Producer { "sent" } else { "received" };
        let items = || format!("{verb} {} items, {} B", self.items, self.bytes);
        let mut text = self.headline.clone().unwrap_or_else(items);
        if self.items > 1 {
            text += &format!(" in {:.3} s ({:.0} items/s)", self.elapsed_s(), self.items_per_s());
        }
        if self.waits > 0 {
            text += &format!("\nblocked {}× for {:.1?}", self.waits, self.waited);
        }
        if self.would_block > 0 {
            text += &format!("\nwould have blocked {}×", self.would_block);
        }
        if self.identity.role == Role::Consumer && (self.items > 0 || self.verdict() > 0) {
            let f = self.audit.findings();
            let (lost, gaps) = self.missing();
            text += &format!(
                "\nlost {lost}, gaps {gaps}, duplicated {}, reordered {}, corrupted {}",
                f.duplicated, f.reordered, f.corrupted
            );
            // Of corrupted items nobody knows when they were sent.
            if !self.latency.is_empty() {
                let at = |q| Duration::from_nanos(self.latency.value_at_quantile(q));
                text += &format!("\nlatency p50 {:.1?}, p99 {:.1?}, max {:.1?}", at(0.5), at(0.99), at(1.0));
            }
        }
        for note in &self.notes {
            text += &format!("\n{note}");
        }
        text
    }

    pub(crate) fn json(&self) -> Option<String> {
        if !self.wants_json {
            return None;
        }
        let mut all = json!({
            "method": self.identity.method,
            "variant": self.identity.variant,
            "role": self.identity.role.name(),
            "pid": std::process::id(),
            "items": self.items,
            "bytes": self.bytes,
            "elapsed_s": self.elapsed_s(),
            "items_per_s": self.items_per_s(),
            "blocked": self.waits,
            "blocked_s": self.waited.as_secs_f64(),
            "would_block": self.would_block,
        });
        let all_keys = all.as_object_mut().expect("an object was just made");
        if self.identity.role == Role::Consumer {
            let f = self.audit.findings();
            let (lost, gaps) = self.missing();
            let at = |q| self.latency.value_at_quantile(q);
            for (key, value) in [
                ("lost", json!(lost)),
                ("gaps", json!(gaps)),
                ("duplicated", json!(f.duplicated)),
                ("reordered", json!(f.reordered)),
                ("corrupted", json!(f.corrupted)),
                ("latency_ns", json!({"p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": at(1.0)})),
            ] {
                all_keys.insert(key.into(), value);
            }
        }
        all_keys.extend(self.extra.clone());
        Some(format!("{all}\n"))
    }
}

/// Wipes the progress bar's line, so that a sentence can stand there.
fn console_clear() -> std::io::Result<()> {
    use std::io::Write;
    write!(stderr(), "\r\x1b[2K")
}
