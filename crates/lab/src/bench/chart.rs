//! The charts: a dot for each row, a line from its best to its worst, on a logarithmic axis, because between the
//! mechanisms lie orders of magnitude.

mod sizes;

use std::fmt::Write;

use crate::bench::floor::Floors;
use crate::bench::row::Row;
use crate::bench::subject::Pattern;
use crate::figure::{bytes, number, time};

/// The one style of the guide's pictures.
const STYLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/images/style.css"));

const WIDTH: f64 = 800.0;
/// Where the axis begins and ends; the figures stand behind it.
const LEFT: f64 = 220.0;
const RIGHT: f64 = 690.0;
const TOP: f64 = 74.0;
const LINES: f64 = 26.0;

/// All that there is to draw: the end of a file's name, and the picture.
pub fn charts(rows: &[Row], floors: &Floors) -> Vec<(&'static str, String)> {
    let measured = |pattern| rows.iter().filter(move |r| r.run.pattern == pattern && r.trouble.is_none());
    let dots = |pattern, class, of: fn(&Row) -> [f64; 3]| -> Vec<Dot> {
        measured(pattern).map(|row| Dot::new(row, class, of(row))).collect()
    };
    let cpu = |row: &Row| {
        let cpu = row.cpu_ns();
        [cpu.median(), cpu.min(), cpu.max()]
    };
    let streams = Chart {
        title: "Stream: items a second",
        note: "median, and a line from the slowest round to the fastest; logarithmic scale",
        told: number,
        dots: dots(Pattern::Stream, "producer", |row| {
            let rate = row.items_per_s();
            [rate.median(), rate.min(), rate.max()]
        }),
    };
    let mut latencies = Chart {
        title: "Latency when both sides sleep before each item",
        note: "dot: p50; strokes: p99 and p99.9; end of the line: the slowest of all; logarithmic scale",
        told: time,
        dots: dots(Pattern::Paced, "consumer", |row| {
            let [p50, .., max] = row.latency_ns();
            [p50.median(), p50.median(), max.max()]
        }),
    };
    for (dot, row) in latencies.dots.iter_mut().zip(measured(Pattern::Paced)) {
        let [_, p99, p999, _] = row.latency_ns();
        dot.marks = vec![p99.median(), p999.median()];
    }
    if !latencies.dots.is_empty() {
        let [p50, p99, p999, max] = &floors.one_way_ns;
        let (name, class, at) = ("a bare pipe, 8 B".into(), "kernel", p50.median());
        let marks = vec![p99.median(), p999.median()];
        latencies.dots.insert(0, Dot { name, class, at, from: at, to: max.max(), marks });
    }
    let costs = Chart {
        title: "CPU time of an item, both sides together",
        note: "blue: stream; violet: paced, the pause before each included; logarithmic scale",
        told: time,
        dots: [dots(Pattern::Stream, "producer", cpu), dots(Pattern::Paced, "consumer", cpu)].concat(),
    };
    let named = [("stream", streams), ("latency", latencies), ("cost", costs)];
    let mut drawn: Vec<_> =
        named.into_iter().filter_map(|(name, chart)| Some((name, chart.draw()?))).collect();
    drawn.extend(sizes::draw(rows).map(|svg| ("sizes", svg)));
    drawn
}

struct Chart {
    title: &'static str,
    note: &'static str,
    /// How a figure is written.
    told: fn(f64) -> String,
    dots: Vec<Dot>,
}

#[derive(Clone)]
struct Dot {
    name: String,
    class: &'static str,
    at: f64,
    from: f64,
    to: f64,
    /// Strokes across the line.
    marks: Vec<f64>,
}

impl Dot {
    fn new(row: &Row, class: &'static str, [at, from, to]: [f64; 3]) -> Dot {
        let (subject, size) = (row.run.subject, bytes(row.run.size));
        let name = format!("{} {}, {size}", subject.method(), subject.variant());
        Dot { name, class, at, from, to, marks: Vec::new() }
    }
}

impl Chart {
    /// `None` if no dot has a place on a logarithmic axis.
    fn draw(&self) -> Option<String> {
        let Chart { title, note, told, dots } = self;
        let dots: Vec<_> = dots.iter().filter(|d| d.at > 0.0 && d.from > 0.0 && d.to.is_finite()).collect();
        let low = dots.iter().map(|d| d.from).min_by(f64::total_cmp)?.log10().floor();
        let high = dots.iter().map(|d| d.to).max_by(f64::total_cmp)?.log10().ceil().max(low + 1.0);
        let x = |value: f64| LEFT + (value.log10() - low) / (high - low) * (RIGHT - LEFT);
        let bottom = TOP + LINES * dots.len() as f64;
        let height = bottom + 60.0;
        let in_words: Vec<_> = dots.iter().map(|d| format!("{}: {}", d.name, told(d.at))).collect();
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>{title}</title>\n<desc>{}.</desc>\n<style>{STYLE}</style>\n\
         <rect class=\"card\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"12\"/>\n\
         <text class=\"title\" x=\"24\" y=\"36\">{title}</text>\n",
            in_words.join("; "),
            WIDTH - 1.0,
            height - 1.0
        );
        for decade in low as i32..=high as i32 {
            let value = 10f64.powi(decade);
            let (at, label) = (x(value), told(value).replace(".00", "").replace(".0", ""));
            let _ = writeln!(
                svg,
                "<path class=\"line\" d=\"M{at:.1} {:.1}V{:.1}\"/>\n\
             <text class=\"note middle\" x=\"{at:.1}\" y=\"{:.1}\">{label}</text>",
                TOP - 14.0,
                bottom - 8.0,
                bottom + 10.0
            );
        }
        for (i, dot) in dots.iter().enumerate() {
            let y = TOP + LINES * i as f64;
            let Dot { name, class, at, from, to, marks } = dot;
            let (from, to, figure) = (x(*from), x(*to), told(*at));
            for mark in marks.iter().filter(|mark| mark.is_finite()) {
                let (at, up) = (x(*mark), y - 5.0);
                let _ = writeln!(svg, "<path class=\"arrow {class}\" d=\"M{at:.1} {up:.1}v10\"/>");
            }
            let _ = writeln!(
                svg,
                "<text class=\"label {class}\" x=\"24\" y=\"{:.1}\">{name}</text>\n\
             <path class=\"arrow {class}\" d=\"M{from:.1} {y:.1}H{to:.1}\"/>\n\
             <circle class=\"head {class}\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\"/>\n\
             <text class=\"label end\" x=\"776\" y=\"{:.1}\">{figure}</text>",
                y + 5.0,
                x(*at),
                y + 5.0
            );
        }
        let _ =
            writeln!(svg, "<text class=\"note\" x=\"24\" y=\"{:.1}\">{note}</text>\n</svg>", height - 18.0);
        Some(svg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_stands_where_its_decade_is_and_what_has_no_logarithm_is_left_out() {
        let dot =
            |at: f64| Dot { name: format!("at {at}"), class: "kernel", at, from: at, to: at, marks: vec![] };
        let chart = |dots| Chart { title: "t", note: "n", told: time, dots }.draw();
        let svg = chart(vec![dot(100.0), dot(10_000.0), dot(-1.0), dot(f64::NAN)]).expect("a picture");
        assert!(svg.contains("cx=\"220.0\"") && svg.contains("cx=\"690.0\""), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
        assert!(svg.contains(">100 ns</text>") && svg.contains(">10.0 µs</text>"), "{svg}");
        assert!(chart(vec![dot(f64::NAN)]).is_none());
    }
}
