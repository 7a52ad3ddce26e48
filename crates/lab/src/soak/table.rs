//! The sums of all episodes: what was done, what was lost, and what may be.

use std::time::Duration;

use console::Style;
use indicatif::HumanCount;

use crate::play::said;
use crate::soak::arena::Arena;
use crate::soak::episode::Outcome;
use crate::soak::ledger::Sums;
use crate::soak::plan::Plan;

/// All episodes of one variant.
#[derive(Debug)]
pub struct Row {
    /// Where they took place.
    pub arena: Arena,
    /// How many there were.
    pub episodes: u64,
    /// What must not be, and in which episode it was: none for what was left after all of them.
    pub findings: Vec<(Option<Plan>, Vec<String>)>,
    kills: [u64; 2],
    stops: u64,
    leaves: u64,
    sums: Sums,
}

impl Row {
    /// None yet.
    pub fn new(arena: Arena) -> Row {
        let (findings, sums) = (Vec::new(), Sums::default());
        Row { arena, episodes: 0, findings, kills: [0; 2], stops: 0, leaves: 0, sums }
    }

    /// Adds one.
    pub fn add(&mut self, plan: &Plan, outcome: Outcome) {
        self.episodes += 1;
        self.kills = [0, 1].map(|side| self.kills[side] + outcome.kills[side]);
        self.stops += outcome.stops;
        self.leaves += outcome.leaves;
        self.sums += outcome.sums;
        if !outcome.findings.is_empty() {
            self.findings.push((Some(plan.clone()), outcome.findings));
        }
    }

    fn text(&self) -> String {
        let Sums { sent, received, lost, may_be_lost, twice, may_be_twice, reordered, corrupted } = self.sums;
        let of = |n, allowed| format!("{} / {}", HumanCount(n), HumanCount(allowed));
        let text = format!(
            "{:<16}{:>7}{:>14}{:>6}{:>6}{:>11}{:>11}{:>22}{:>10}{:>4}",
            self.arena.subject.name,
            self.episodes,
            format!("{} / {}", self.kills[0], self.kills[1]),
            self.stops,
            self.leaves,
            HumanCount(sent).to_string(),
            HumanCount(received).to_string(),
            of(lost, may_be_lost),
            of(twice, may_be_twice),
            reordered + corrupted,
        );
        if self.findings.is_empty() {
            format!("{text}  {}\n", Style::new().green().bold().apply_to("✓"))
        } else {
            Style::new().red().bold().apply_to(format!("{text}  ✗\n")).to_string()
        }
    }
}

/// The table, and what its columns mean.
pub fn table(rows: &[Row], time: Duration) -> String {
    let headings = format!(
        "{:<16}{:>7}{:>14}{:>6}{:>6}{:>11}{:>11}{:>22}{:>10}{:>4}",
        "variant",
        "starts",
        "killed p/c",
        "stops",
        "left",
        "sent",
        "received",
        "lost / may be",
        "twice",
        "bad"
    );
    let mut text = format!("{}\n", Style::new().bold().underlined().apply_to(headings));
    text.extend(rows.iter().map(Row::text));
    let kills: u64 = rows.iter().flat_map(|row| row.kills).sum();
    text += &format!("\n{} kills in {:.0} s\n", HumanCount(kills), time.as_secs_f64());
    text + &said(&Style::new().dim(), "", LEGEND)
}

const LEGEND: &str = "starts: of both sides; each ends in peace, with a stream that arrives whole, and leaves nothing. \
killed: producers / consumers, by SIGKILL; left: by SIGINT or SIGTERM. sent: what producers took from their input, the \
item in hand included. received: what consumers wrote, each item once. lost / may be: those never written, and how many \
may be, by docs/promises.md, for what was done: the item in the hand of each producer that did not end well, of killed \
consumers (those that gather their output had also not written up to 64 KiB of it), and what the channel held when \
nobody was left who could have it. twice: written again; may be once for each killed consumer, where it commits an item \
after it has processed it. bad: out of order, damaged, or never sent; may never be.";

/// What must not be, and how to see it again.
pub fn failures(rows: &[Row], seed: u64) -> String {
    let mut text = String::new();
    let red = Style::new().red().bold();
    for row in rows {
        let name = row.arena.subject.name;
        for (plan, findings) in &row.findings {
            let at = plan.as_ref().map_or(String::new(), |plan| format!(", episode {}", plan.episode));
            for finding in findings {
                text += &said(&red, "FAILED  ", &format!("{name}{at}: {finding}"));
            }
            if let Some(plan) = plan {
                let again = format!("again: ipc-lab soak --seed {seed} --episode {} {name}", plan.episode);
                text += &said(&Style::new(), "        ", &plan.to_string());
                text += &said(&Style::new(), "        ", &again);
            }
        }
    }
    text
}
