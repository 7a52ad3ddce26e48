//! The tables beyond those of rates and times at one size: large files, several sizes, silence, and the goals.

use console::Style;

use super::{Page, spread};
use crate::bench::args::Args;
use crate::bench::beside::Beside;
use crate::bench::floor::{Floor, Floors};
use crate::bench::goals::Goal;
use crate::bench::idle::{Idle, SILENCE};
use crate::bench::payload::CHUNK;
use crate::bench::row::{Row, Trouble};
use crate::bench::subject::{Pattern, Subject};
use crate::figure::{Figure, bytes, bytes_per_s, number, percent, time, times};

impl Page {
    pub(super) fn file(&mut self, rows: &[&Row], args: &Args, floors: &Floors) {
        if rows.is_empty() {
            return;
        }
        self.heading(
            &format!("File: {} in items of {}, to /dev/null", bytes(args.file_size), bytes(CHUNK)),
            format!(
                "{:<24}{:>10}{:>6}{:>12}{:>11}{:>10}{:>7} │{:>10}{:>10}{:>8}",
                "", "all of it", "±", "payload", "beside", "its time", "×", "CPU", "switches", "calls"
            ),
        );
        let items = (args.file_size / CHUNK) as f64;
        for row in rows {
            self.row(row, false, || {
                let all = row.seconds();
                let figures = format!(
                    "{:>10}{:>6}{:>12}",
                    time(all.median() * 1e9),
                    spread(&all),
                    bytes_per_s(row.bytes_per_s().median())
                );
                let Some(floor @ Floor::Beside(beside)) = row.floor() else { return figures };
                match floors.why_not(&floor) {
                    Some(why) => format!("{figures}{why:>28}"),
                    None => format!(
                        "{figures}{:>11}{:>10}{:>7}",
                        beside.name(),
                        time(floors.ns(&floor).map_or(f64::NAN, Figure::median) * items),
                        times(row.over_floor(floors).median()),
                    ),
                }
            });
        }
        self.line(String::new());
    }

    /// A line for each subject, a column for each size.
    pub(super) fn sizes(&mut self, rows: &[Row], floors: &Floors) {
        let (mut sizes, mut subjects): (Vec<usize>, Vec<&Subject>) = (Vec::new(), Vec::new());
        for run in rows.iter().map(|row| &row.run).filter(|run| run.pattern == Pattern::Sizes) {
            if !sizes.contains(&run.size) {
                sizes.push(run.size);
            }
            if subjects.last().is_none_or(|last| last.name != run.subject.name) {
                subjects.push(run.subject);
            }
        }
        if sizes.is_empty() {
            return;
        }
        let cells = |cells: Vec<String>| cells.iter().map(|cell| format!("{cell:>12}")).collect::<String>();
        self.heading(
            "Sizes: one way, as fast as both can, payload of an item",
            format!("{:<24}{}", "", cells(sizes.iter().map(|size| bytes(*size)).collect())),
        );
        let mut refused = Vec::new();
        for subject in subjects {
            let of = |size: &usize| {
                let this = |row: &&Row| row.run.subject.name == subject.name && row.run.size == *size;
                let mut rows = rows.iter().filter(|row| row.run.pattern == Pattern::Sizes);
                rows.find(this).map_or("–".into(), |row| match &row.trouble {
                    None => bytes_per_s(row.bytes_per_s().median()),
                    Some(Trouble::Refused(why) | Trouble::Failed(why)) => {
                        refused.push((row, why));
                        "error".into()
                    }
                })
            };
            let name = format!("{:<7}{}", subject.method(), subject.variant());
            let line = cells(sizes.iter().map(of).collect());
            self.line(format!("{name:<24}{line}"));
        }
        let memcpy = floors.ns(&Floor::Beside(Beside::Memcpy)).map(|ns| CHUNK as f64 / ns.median() * 1e9);
        if let Some(rate) = memcpy.filter(|_| sizes.contains(&CHUNK)) {
            let of = |size: &usize| if *size == CHUNK { bytes_per_s(rate) } else { String::new() };
            let line = cells(sizes.iter().map(of).collect());
            self.line(format!("{:<24}{line}", "memcpy, 1 MiB blocks"));
        }
        for (row, why) in refused {
            self.say(Style::new().red(), &format!("error: {row}: "), why);
        }
        self.line(String::new());
    }

    pub(super) fn idle(&mut self, idles: &[Idle]) {
        if idles.is_empty() {
            return;
        }
        let silence = time(SILENCE.as_nanos() as f64);
        self.heading(
            &format!("Idle: connected, and silent for {silence}; then one item"),
            format!(
                "{:<24}{:>10}{:>14}{:>12}{:>12}{:>7}",
                "", "CPU", "wake-ups/s", "the item", "bare", "×bare"
            ),
        );
        for idle in idles {
            let name = format!("{:<7}{}", idle.subject.method(), idle.subject.variant());
            let name = format!("{name:<24}");
            if let Some(why) = &idle.trouble {
                self.say(Style::new().red(), &name, why);
                continue;
            }
            let wake_ups = idle.wake_ups.median();
            self.line(format!(
                "{name}{:>10}{:>14}{:>12}{:>12}{:>7}",
                percent(idle.cpu.median()),
                if wake_ups == 0.0 { "0".into() } else { number(wake_ups) },
                time(idle.latency_ns.median()),
                time(idle.bare_ns),
                times(idle.over_bare()),
            ));
        }
        self.line(String::new());
    }

    pub(super) fn goals(&mut self, goals: &[Goal]) {
        if goals.is_empty() {
            return;
        }
        self.line(String::new());
        self.heading(
            "Goals, and what this run reached",
            format!("{:<38}{:<44}{:>14}{:>10}   ", "", "", "wanted", "this run"),
        );
        for goal in goals {
            let (style, mark) = match goal.reached() {
                true => (Style::new().green(), "✓"),
                false => (Style::new().red().bold(), "✗"),
            };
            let of = format!("{:<38}", goal.of);
            let (wanted, found) = (goal.wanted(), goal.found());
            self.line(format!("{of}{:<44}{wanted:>14}{found:>10}  {}", goal.what, style.apply_to(mark)));
        }
    }
}
