//! The chart of rates by size: a line for each subject, on two logarithmic axes.

use std::fmt::Write;

use super::STYLE;
use crate::bench::row::Row;
use crate::bench::subject::{Pattern, Subject};
use crate::figure::{bytes, bytes_per_s};

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 532.0;
/// Where the axes begin and end; who a line is stands behind its end.
const LEFT: f64 = 104.0;
const RIGHT: f64 = 540.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 440.0;
/// As many lines can be told apart.
const MANY: usize = 8;
/// As much as a line of text takes.
const LINE: f64 = 18.0;

struct Curve {
    subject: &'static Subject,
    /// Sizes and rates, from the smallest size on.
    points: Vec<(usize, f64)>,
}

/// `None` if nothing was measured in several sizes.
pub fn draw(rows: &[Row]) -> Option<String> {
    let curves = curves(rows);
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let mut sizes: Vec<usize> = points().map(|(size, _)| *size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let [low_size, high_size] = [*sizes.first()?, *sizes.last()?].map(|size| (size as f64).log2());
    // Each line across is four times the one below.
    let fours = |rate: f64| rate.log2() / 2.0;
    let low = points().map(|(_, rate)| fours(*rate)).fold(f64::INFINITY, f64::min).floor();
    let high = points().map(|(_, rate)| fours(*rate)).fold(low + 1.0, f64::max).ceil();
    let x = |size: usize| LEFT + ((size as f64).log2() - low_size) / (high_size - low_size) * (RIGHT - LEFT);
    let y = |rate: f64| BOTTOM - (fours(rate) - low) / (high - low) * (BOTTOM - TOP);

    let told = |curve: &Curve| {
        let each = curve.points.iter().map(|(size, rate)| format!("{} {}", bytes(*size), bytes_per_s(*rate)));
        format!("{} {}", curve.name(), each.collect::<Vec<_>>().join(", "))
    };
    let title = "Payload carried in a second, by the size of an item";
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n\
         <title>{title}</title>\n<desc>{}.</desc>\n<style>{STYLE}</style>\n\
         <rect class=\"card\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"12\"/>\n\
         <text class=\"title\" x=\"24\" y=\"36\">{title}</text>\n",
        curves.iter().map(told).collect::<Vec<_>>().join("; "),
        WIDTH - 1.0,
        HEIGHT - 1.0
    );
    for step in low as i32..=high as i32 {
        let rate = 4f64.powi(step);
        let (at, label) = (y(rate), bytes_per_s(rate).replace(".00", "").replace(".0", ""));
        let _ = writeln!(
            svg,
            "<path class=\"line\" opacity=\"0.4\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>\n\
             <text class=\"note end\" x=\"{}\" y=\"{:.1}\">{label}</text>",
            LEFT - 8.0,
            at + 4.0
        );
    }
    for size in &sizes {
        let (at, label) = (x(*size), bytes(*size));
        let _ = writeln!(
            svg,
            "<path class=\"line\" opacity=\"0.4\" d=\"M{at:.1} {TOP}V{BOTTOM}\"/>\n\
             <text class=\"note middle\" x=\"{at:.1}\" y=\"{:.1}\">{label}</text>",
            BOTTOM + 20.0
        );
    }
    let mut labels = Vec::new();
    for (i, curve) in curves.iter().enumerate() {
        // A second one of a method has its colour.
        let dashes = if curves[..i].iter().any(|c| c.class() == curve.class()) { "6 4" } else { "none" };
        let class = curve.class();
        let path: Vec<_> = curve.points.iter().map(|(s, r)| format!("{:.1} {:.1}", x(*s), y(*r))).collect();
        let _ = writeln!(
            svg,
            "<path class=\"arrow {class}\" style=\"stroke-width:2;stroke-dasharray:{dashes}\" d=\"M{}\"/>",
            path.join("L")
        );
        for (size, rate) in &curve.points {
            let (x, y) = (x(*size), y(*rate));
            let _ = writeln!(svg, "<circle class=\"head {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>");
        }
        let (size, rate) = curve.points[curve.points.len() - 1];
        labels.push((y(rate), x(size), curve, size == sizes[sizes.len() - 1], rate));
    }
    // Behind the ends, from above, none on another.
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free = 0.0;
    for (at, end, curve, to_the_end, rate) in labels {
        let (name, class, rate) = (curve.name(), curve.class(), bytes_per_s(rate));
        let text = |x: f64, y: f64, said: &str| {
            // Other lines may run below it.
            let halo = "paint-order:stroke;stroke:#fcfbf8;stroke-width:4px";
            format!(
                "<text class=\"label {class}\" style=\"{halo}\" x=\"{x:.1}\" y=\"{y:.1}\">{said}</text>\n"
            )
        };
        svg += &if to_the_end {
            free = f64::max(free + LINE, at + 5.0);
            text(RIGHT + 14.0, free, &format!("{name}, {rate}"))
        } else {
            text(end + 8.0, at + LINE, &name)
        };
    }
    let notes = [
        "across: payload of an item; up: payload a second, one way, as fast as both can",
        "both scales logarithmic; a line ends where larger items are refused",
    ];
    for (note, up) in notes.iter().zip([38.0, 20.0]) {
        let _ = writeln!(svg, "<text class=\"note\" x=\"24\" y=\"{:.1}\">{note}</text>", HEIGHT - up);
    }
    svg += "</svg>\n";
    Some(svg)
}

/// Whatever was measured in more than one size.
fn curves(rows: &[Row]) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for row in rows.iter().filter(|row| matches!(row.run.pattern, Pattern::Stream | Pattern::Sizes)) {
        let (subject, rate) = (row.run.subject, row.bytes_per_s().median());
        if !(rate > 0.0 && row.trouble.is_none() && row.run.size > 0) {
            continue;
        }
        let point = (row.run.size, rate);
        match curves.iter_mut().find(|curve| curve.subject.name == subject.name) {
            // In the two patterns it may be measured in the same.
            Some(curve) if curve.points.iter().any(|(size, _)| *size == row.run.size) => {}
            Some(curve) => curve.points.push(point),
            None => curves.push(Curve { subject, points: vec![point] }),
        }
    }
    curves.retain(|curve| curve.points.len() > 1);
    // So many that none could be followed: one or two of each method are left.
    if curves.len() > MANY {
        curves.retain(|curve| curve.subject.sizes);
    }
    for curve in &mut curves {
        curve.points.sort_by_key(|(size, _)| *size);
    }
    curves
}

impl Curve {
    fn name(&self) -> String {
        self.subject.name.replace(':', " ")
    }

    /// A colour for each method.
    fn class(&self) -> &'static str {
        match self.subject.method() {
            "pipe" => "producer",
            "mq" => "kernel",
            "shm" => "consumer",
            "mmap" => "wait",
            "socket" => "error",
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::subject::SUBJECTS;

    /// One whose items take so many nanoseconds.
    fn row(name: &str, pattern: Pattern, size: usize, ns: f64) -> Row {
        Row::with(SUBJECTS.iter().find(|s| s.name == name).expect("a name"), pattern, size, &[ns], 0)
    }

    #[test]
    fn a_line_goes_through_all_sizes_of_both_patterns() {
        let rows = [
            row("shm:ring", Pattern::Stream, 1024, 1000.0),
            row("shm:ring", Pattern::Sizes, 1 << 20, 1e6),
            row("shm:ring", Pattern::Sizes, 64, 1000.0),
            row("mq:sysv", Pattern::Sizes, 64, 1000.0),
            row("mq:sysv", Pattern::Sizes, 1024, 1000.0),
            // One size makes no line.
            row("pipe:fifo", Pattern::Stream, 64, 1000.0),
        ];
        let svg = draw(&rows).expect("a picture");
        assert_eq!((svg.matches("<circle").count(), svg.matches("class=\"arrow").count()), (5, 2), "{svg}");
        assert!(!svg.contains("pipe fifo"), "{svg}");
        // The smallest is on the left axis, the largest on the right one.
        assert!(svg.contains("cx=\"104.0\"") && svg.contains("cx=\"540.0\""), "{svg}");
        assert!(svg.contains(">1 MiB</text>") && svg.contains("logarithmic"), "{svg}");
        // Whose line ends early is named where it ends.
        assert!(svg.contains(">mq sysv</text>") && svg.contains(">shm ring, 1000 MiB/s</text>"), "{svg}");
        assert!(draw(&rows[5..]).is_none());
        // Of many those that stand for their method.
        let all = || SUBJECTS.iter().filter(|s| s.stream);
        let of = |size| all().map(move |s| row(s.name, Pattern::Stream, size, 1000.0));
        let svg = draw(&of(64).chain(of(1024)).collect::<Vec<_>>()).expect("a picture");
        assert!(svg.contains("shm ring") && !svg.contains("shm mutex"), "{svg}");
    }
}
