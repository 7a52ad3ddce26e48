//! What people read: two tables, the floors, and what the columns mean.

use console::Style;

use crate::bench::Args;
use crate::bench::count::Means;
use crate::bench::figure::{bytes, bytes_per_s, number, per_item, time, times};
use crate::bench::floor::Floors;
use crate::bench::machine::Others;
use crate::bench::row::{Row, Trouble};
use crate::bench::subject::Pattern;
use crate::play::say;

/// Prints all of it.
pub fn print(args: &Args, means: Means, rows: &[Row], floors: &Floors, others: Others) {
    let of = |pattern| rows.iter().filter(|r| r.run.pattern == pattern).collect::<Vec<_>>();
    let sizes = args.size.len() > 1;
    stream(&of(Pattern::Stream), floors, sizes);
    latency(&of(Pattern::Paced), &of(Pattern::RoundTrip), args, floors, sizes);
    legend(args, means, rows, floors, others);
}

/// Tells which rows have failed: whether none has.
pub fn verdict(rows: &[Row]) -> bool {
    let mut measured = 0;
    let mut failed = 0;
    for row in rows {
        match &row.trouble {
            Some(Trouble::Failed(why)) => {
                failed += 1;
                say(&Style::new().red().bold(), "FAILED  ", &format!("{row}: {why}"));
            }
            Some(Trouble::Refused(_)) => {}
            None => measured += 1,
        }
    }
    failed == 0 && measured > 0
}

fn heading(title: &str, columns: &str) {
    println!("{}", Style::new().bold().apply_to(title));
    println!("{}", Style::new().bold().underlined().apply_to(columns));
}

/// What the row is called; a reason in place of its figures if it has none.
fn name(row: &Row, sizes: bool) -> Result<String, String> {
    let subject = row.run.subject;
    let size = if sizes { format!(" {}", bytes(row.run.size)) } else { String::new() };
    let name = format!("{:<7}{}{size}", subject.method(), subject.variant());
    match &row.trouble {
        None => Ok(name),
        Some(Trouble::Refused(why) | Trouble::Failed(why)) => Err(format!("{name:<20} {why}")),
    }
}

fn stream(rows: &[&Row], floors: &Floors, sizes: bool) {
    if rows.is_empty() {
        return;
    }
    let size = if sizes { String::new() } else { format!(", {} items", bytes(rows[0].run.size)) };
    heading(
        &format!("Stream: one way, as fast as both can{size}"),
        &format!(
            "{:<24}{:>9}{:>6}{:>12}{:>10}{:>8} │{:>10}{:>10}{:>8}",
            "", "items/s", "±", "payload", "an item", "×call", "CPU", "switches", "calls"
        ),
    );
    for row in rows {
        let name = match name(row, sizes) {
            Ok(name) => name,
            Err(reason) => {
                say(&Style::new().red(), "", &reason);
                continue;
            }
        };
        let (rate, each) = (row.items_per_s(), row.ns_per_item().median());
        println!(
            "{name:<24}{:>9}{:>5.0}%{:>12}{:>10}{:>8} │{:>10}{:>10}{:>8}",
            number(rate.median()),
            rate.spread(),
            bytes_per_s(row.bytes_per_s().median()),
            time(each),
            times(each / floors.call_ns.median()),
            time(row.cpu_ns().median()),
            per_item(row.switches().median()),
            per_item(row.calls().median()),
        );
    }
    println!();
}

fn latency(paced: &[&Row], there_and_back: &[&Row], args: &Args, floors: &Floors, sizes: bool) {
    let columns = |first: &str, second: &str, third: &str| {
        format!(
            "{:<24}{first:>10}{:>6}{second:>10}{third:>10}{:>8} │{:>10}{:>10}{:>8}",
            "", "±", "×bare", "CPU", "switches", "calls"
        )
    };
    if !paced.is_empty() {
        let title = format!(
            "Latency: one way, one item each {}, so that both sides sleep before it",
            time(args.interval.as_nanos() as f64)
        );
        heading(&title, &columns("p50", "p99", "max"));
        let [p50, p99, max] = &floors.one_way_ns;
        let bare = p50.median();
        println!(
            "{:<24}{:>10}{:>5.0}%{:>10}{:>10}{:>8} │",
            "a bare pipe, 8 B",
            time(bare),
            p50.spread(),
            time(p99.median()),
            time(max.max()),
            "1.0"
        );
        for row in paced {
            let [p50, p99, max] = row.latency_ns();
            let figures =
                [time(p50.median()), format!("{:.0}%", p50.spread()), time(p99.median()), time(max.max())];
            costly(row, sizes, &figures, p50.median() / bare);
        }
        println!();
    }
    if !there_and_back.is_empty() {
        heading(
            "Round trip: an item there, its answer back, then the next",
            &columns("mean", "best", "worst"),
        );
        let bare = &floors.round_trip_ns;
        println!(
            "{:<24}{:>10}{:>5.0}%{:>10}{:>10}{:>8} │",
            "a bare pipe, 8 B",
            time(bare.median()),
            bare.spread(),
            time(bare.min()),
            time(bare.max()),
            "1.0"
        );
        for row in there_and_back {
            let each = row.ns_per_item();
            let figures =
                [time(each.median()), format!("{:.0}%", each.spread()), time(each.min()), time(each.max())];
            costly(row, sizes, &figures, each.median() / bare.median());
        }
        println!();
    }
}

/// A row of a table that tells times, and what each item costs.
fn costly(row: &Row, sizes: bool, [first, spread, second, third]: &[String; 4], ratio: f64) {
    match name(row, sizes) {
        Err(reason) => say(&Style::new().red(), "", &reason),
        Ok(name) => println!(
            "{name:<24}{first:>10}{spread:>6}{second:>10}{third:>10}{:>8} │{:>10}{:>10}{:>8}",
            times(ratio),
            time(row.cpu_ns().median()),
            per_item(row.switches().median()),
            per_item(row.calls().median()),
        ),
    }
}

fn legend(args: &Args, means: Means, rows: &[Row], floors: &Floors, others: Others) {
    let dim = Style::new().dim();
    let copy = |rate: f64| {
        let size = args.size[0];
        format!("{} ({} in {})", bytes_per_s(rate), bytes(size), time(size as f64 / rate * 1e9))
    };
    let [wake, ..] = &floors.one_way_ns;
    say(
        &Style::new(),
        "Floors: ",
        &format!(
            "a system call that does nothing (getppid) takes {}; 8 bytes through a bare pipe wake a sleeping \
             process after {}; there and back without a pause take {}; memcpy makes {} in the caches and {} \
             outside. What an item takes beyond its copies and calls, it waits: for a sleeper to be woken, or \
             for the CPU.",
            time(floors.call_ns.median()),
            time(wake.median()),
            time(floors.round_trip_ns.median()),
            copy(floors.copy_cached.median()),
            copy(floors.copy_memory.median()),
        ),
    );
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
    println!();
    say(
        &dim,
        "",
        &format!(
            "Medians of {} round{}; ±: half of what lies between the slowest and the fastest, in percent; max: of \
             all rounds. ×call, ×bare: how many times the floor. Per item, both sides together, without start-up: \
             CPU time, voluntary context switches (each is a wait), calls (system calls, {calls}). The pause between paced \
             items is in their costs. Each item was checked by the consumer.",
            args.rounds,
            if args.rounds == 1 { "" } else { "s" },
        ),
    );
    if others.busy + others.stolen > 0.05 {
        println!();
        say(
            &Style::new().yellow().bold(),
            "Not quiet: ",
            &format!(
                "others used {:.0} % of the CPUs meanwhile ({:.0} % beside this machine): repeat it when they rest.",
                (others.busy + others.stolen) * 100.0,
                others.stolen * 100.0
            ),
        );
    }
}
