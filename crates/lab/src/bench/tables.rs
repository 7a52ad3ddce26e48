//! What people read: the tables, the floors, and what the columns mean.

mod beyond;

use console::Style;

use crate::bench::Results;
use crate::bench::args::Args;
use crate::bench::count::Means;
use crate::bench::floor::Floors;
use crate::bench::machine::Others;
use crate::bench::row::{Row, Trouble};
use crate::bench::subject::Pattern;
use crate::figure::{Figure, bytes, bytes_per_s, number, per_item, time, times};
use crate::play::said;

/// All of it.
pub fn tables(args: &Args, means: Means, results: &Results) -> String {
    let Results { rows, floors, idles, goals, others } = results;
    let of = |pattern| rows.iter().filter(|r| r.run.pattern == pattern).collect::<Vec<_>>();
    let sizes = args.size.len() > 1;
    let mut page = Page::default();
    page.stream(&of(Pattern::Stream), floors, sizes);
    page.many(&of(Pattern::Many), args, floors, sizes);
    page.sizes(rows, floors);
    page.file(&of(Pattern::File), args, floors);
    page.latency(&of(Pattern::Paced), args, floors, sizes);
    page.idle(idles);
    page.round_trip(&of(Pattern::RoundTrip), floors, sizes);
    page.floors(args, floors);
    page.legend(args, means, rows);
    page.goals(goals);
    page.disturbance(*others);
    page.0
}

/// Which rows have failed, and why.
pub fn failures(results: &Results) -> String {
    let rows = results.rows.iter().filter_map(|row| match &row.trouble {
        Some(Trouble::Failed(why)) => Some((row.to_string(), why)),
        _ => None,
    });
    let idles = results.idles.iter().filter_map(|idle| {
        let subject = idle.subject;
        Some((format!("{} {} idle", subject.method(), subject.variant()), idle.trouble.as_ref()?))
    });
    let failed = |(row, why)| said(&Style::new().red().bold(), "FAILED  ", &format!("{row}: {why}"));
    rows.chain(idles).map(failed).collect()
}

fn name(row: &Row, sizes: bool) -> String {
    let subject = row.run.subject;
    let size = if sizes { format!(" {}", bytes(row.run.size)) } else { String::new() };
    format!("{:<24}", format!("{:<7}{}{size}", subject.method(), subject.variant()))
}

/// What the bare exchange takes, and how many times as long the row's.
fn floor(row: &Row, floors: &Floors) -> String {
    format!("{:>10}{:>7}", time(bare(row, floors)), times(row.over_floor(floors).median()))
}

fn bare(row: &Row, floors: &Floors) -> f64 {
    row.floor().and_then(|floor| floors.ns(&floor)).map_or(f64::NAN, Figure::median)
}

fn spread(figure: &Figure) -> String {
    format!("{:.0}%", figure.spread())
}

/// What has been written up to now.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, line: String) {
        self.0 += &line;
        self.0.push('\n');
    }

    fn say(&mut self, style: Style, prefix: &str, text: &str) {
        self.0 += &said(&style, prefix, text);
    }

    fn heading(&mut self, title: &str, columns: String) {
        self.line(Style::new().bold().apply_to(title).to_string());
        self.line(Style::new().bold().underlined().apply_to(columns).to_string());
    }

    /// One row: its figures, and what an item costs; or why there are none.
    fn row(&mut self, row: &Row, sizes: bool, figures: impl FnOnce() -> String) {
        let name = name(row, sizes);
        match &row.trouble {
            Some(Trouble::Refused(why) | Trouble::Failed(why)) => self.say(Style::new().red(), &name, why),
            None => self.line(format!(
                "{name}{} │{:>10}{:>10}{:>8}",
                figures(),
                time(row.cpu_ns().median()),
                per_item(row.switches().median()),
                per_item(row.calls().median()),
            )),
        }
    }

    fn stream(&mut self, rows: &[&Row], floors: &Floors, sizes: bool) {
        let Some(first) = rows.first() else { return };
        let size = if sizes { String::new() } else { format!(", {} an item", bytes(first.run.size)) };
        self.rates(&format!("Stream: one way, as fast as both can{size}"), rows, floors, sizes);
    }

    fn many(&mut self, rows: &[&Row], args: &Args, floors: &Floors, sizes: bool) {
        if !rows.is_empty() {
            let [n, m] = args.many;
            let title = format!(
                "Many: {n} producers to {m} consumers (1 where consumers cannot share), as fast as all can"
            );
            self.rates(&title, rows, floors, sizes);
        }
    }

    /// A table of rates.
    fn rates(&mut self, title: &str, rows: &[&Row], floors: &Floors, sizes: bool) {
        self.heading(
            title,
            format!(
                "{:<24}{:>9}{:>6}{:>12}{:>10}{:>10}{:>7} │{:>10}{:>10}{:>8}",
                "", "items/s", "±", "payload", "an item", "bare", "×bare", "CPU", "switches", "calls"
            ),
        );
        for row in rows {
            self.row(row, sizes, || {
                let rate = row.items_per_s();
                format!(
                    "{:>9}{:>6}{:>12}{:>10}{}",
                    number(rate.median()),
                    spread(&rate),
                    bytes_per_s(row.bytes_per_s().median()),
                    time(row.ns_per_item().median()),
                    floor(row, floors),
                )
            });
        }
        self.line(String::new());
    }

    fn latency(&mut self, rows: &[&Row], args: &Args, floors: &Floors, sizes: bool) {
        if rows.is_empty() {
            return;
        }
        let pause = time(args.interval.as_nanos() as f64);
        let figures = |[p50, p99, p999, max]: &[Figure; 4], bare: f64, over_bare: f64| {
            format!(
                "{:>9}{:>5}{:>9}{:>9}{:>9}{:>9}{:>6}",
                time(p50.median()),
                spread(p50),
                time(p99.median()),
                time(p999.median()),
                time(max.max()),
                time(bare),
                times(over_bare),
            )
        };
        self.heading(
            &format!("Latency: one way, an item each {pause}, so that both sides sleep before it"),
            format!(
                "{:<24}{:>9}{:>5}{:>9}{:>9}{:>9}{:>9}{:>6} │{:>10}{:>10}{:>8}",
                "", "p50", "±", "p99", "p99.9", "max", "bare", "×bare", "CPU", "switches", "calls"
            ),
        );
        self.line(format!("{:<24}{} │", "a bare pipe, 8 B", figures(&floors.one_way_ns, f64::NAN, f64::NAN)));
        for row in rows {
            let over_bare = row.over_floor(floors).median();
            self.row(row, sizes, || figures(&row.latency_ns(), bare(row, floors), over_bare));
        }
        self.line(String::new());
    }

    fn round_trip(&mut self, rows: &[&Row], floors: &Floors, sizes: bool) {
        if rows.is_empty() {
            return;
        }
        self.heading(
            "Round trip: an item there, its answer back, then the next",
            format!(
                "{:<24}{:>10}{:>6}{:>10}{:>10}{:>10}{:>7} │{:>10}{:>10}{:>8}",
                "", "mean", "±", "best", "worst", "bare", "×bare", "CPU", "switches", "calls"
            ),
        );
        for row in rows {
            self.row(row, sizes, || {
                let each = row.ns_per_item();
                format!(
                    "{:>10}{:>6}{:>10}{:>10}{}",
                    time(each.median()),
                    spread(&each),
                    time(each.min()),
                    time(each.max()),
                    floor(row, floors),
                )
            });
        }
        self.line(String::new());
    }

    fn floors(&mut self, args: &Args, floors: &Floors) {
        let size = args.size[0];
        let copy = |rate: f64| {
            format!("{} ({} in {})", bytes_per_s(rate), bytes(size), time(size as f64 / rate * 1e9))
        };
        let text = format!(
            "a system call that does nothing (getppid) takes {}; 8 bytes through a bare pipe wake a sleeping \
             process after {}; there and back without a pause take {}; memcpy makes {} in the caches and {} \
             outside. What an item takes beyond its copies and calls, it waits: for a sleeper to be woken, or for \
             the CPU.",
            time(floors.call_ns.median()),
            time(floors.one_way_ns[0].median()),
            time(floors.round_trip_ns.median()),
            copy(floors.copy_cached.median()),
            copy(floors.copy_memory.median()),
        );
        self.say(Style::new(), "Floors: ", &text);
        self.line(String::new());
    }

    fn legend(&mut self, args: &Args, means: Means, rows: &[Row]) {
        let uncounted = rows.iter().find_map(|r| r.no_calls.as_ref());
        let calls = match (means, uncounted) {
            (_, Some(why)) => format!("not known: {}", why.trim_start_matches("counting is ")),
            (Means::Ptrace, None) => "counted in runs of their own under ptrace, which slows each call a hundredfold; \
                                      how often one side waits for the other is not what it is in the measured runs"
                .to_owned(),
            (Means::Tracepoint, None) => "counted by the kernel's tracepoint in runs of their own, in which each call \
                                          takes a little longer"
                .to_owned(),
        };
        let rounds = if args.rounds == 1 { "1 round".into() } else { format!("{} rounds", args.rounds) };
        let text = format!(
            "Medians of {rounds}; ±: half of what lies between the slowest and the fastest, in percent; max: of all \
             rounds. bare: the same bytes by the same means with nothing around them (a system call for each message and each \
             side; for shared memory a ring that checks nothing and never sleeps, there and back a word, and paced a \
             futex); ×bare: how many times as long, round by round. Per item, all sides together, without start-up: CPU \
             time, voluntary context switches (each is a wait), calls (system calls, {calls}). The pause between \
             paced items is in their costs. Each item was checked by the consumer."
        );
        self.say(Style::new().dim(), "", &text);
    }

    fn disturbance(&mut self, others: Others) {
        let all = others.busy + others.stolen;
        if all > 0.05 {
            self.line(String::new());
            let text = format!(
                "others used {:.0} % of the CPUs meanwhile ({:.0} % beside this machine): repeat it when they rest.",
                all * 100.0,
                others.stolen * 100.0
            );
            self.say(Style::new().yellow().bold(), "Not quiet: ", &text);
        }
    }
}
