//! A figure: one number for each round, and how they are told.

use serde_json::{Value, json};

/// What was measured in each round, in the order of the rounds.
#[derive(Clone, Debug, Default)]
pub struct Figure(pub Vec<f64>);

impl Figure {
    /// The middle one; of an even number of them the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        if n == 0 { f64::NAN } else { (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0 }
    }

    /// The smallest.
    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    /// The largest.
    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }

    /// Half of what lies between the smallest and the largest, in percent of the median.
    pub fn spread(&self) -> f64 {
        (self.max() - self.min()) / 2.0 / self.median() * 100.0
    }

    /// Round by round, how many times the other it is.
    pub fn over(&self, other: &Figure) -> Figure {
        Figure(self.0.iter().zip(&other.0).map(|(this, other)| this / other).collect())
    }

    /// For the file.
    pub fn json(&self) -> Value {
        json!({"median": self.median(), "min": self.min(), "max": self.max(), "rounds": self.0})
    }
}

/// Three digits: `1.91`, `19.1`, `191`.
fn digits(n: f64) -> String {
    let decimals = if n < 9.995 { 2 } else { usize::from(n < 99.95) };
    format!("{n:.decimals$}")
}

/// The largest unit of which there is at least one; the first if there is none. What is not positive was lost
/// in the noise of start-up.
fn with_unit(n: f64, units: &[(f64, &str)]) -> String {
    if !n.is_finite() || n <= 0.0 {
        return "–".into();
    }
    // 999.6 ns would be written as 1000 ns.
    let (factor, unit) = units.iter().rev().find(|(factor, _)| n >= factor * 0.9995).unwrap_or(&units[0]);
    format!("{}{unit}", digits(n / factor))
}

/// `191 ns`, `19.1 µs`
pub fn time(ns: f64) -> String {
    with_unit(ns, &[(1.0, " ns"), (1e3, " µs"), (1e6, " ms"), (1e9, " s")])
}

/// `735 k`, `1.91 M`
pub fn number(n: f64) -> String {
    with_unit(n, &[(1.0, ""), (1e3, " k"), (1e6, " M"), (1e9, " G")])
}

/// `58.2 MiB/s`
pub fn bytes_per_s(n: f64) -> String {
    let unit = |power| 1024f64.powi(power);
    with_unit(n, &[(unit(1), " KiB/s"), (unit(2), " MiB/s"), (unit(3), " GiB/s")])
}

/// `64 B`, `4 KiB`
pub fn bytes(n: usize) -> String {
    match n {
        0..1024 => format!("{n} B"),
        n if n.is_multiple_of(1 << 30) => format!("{} GiB", n >> 30),
        n if n.is_multiple_of(1 << 20) => format!("{} MiB", n >> 20),
        n if n.is_multiple_of(1 << 10) => format!("{} KiB", n >> 10),
        n => format!("{n} B"),
    }
}

/// A small number per item: `0.13`, `3.84`.
pub fn per_item(n: f64) -> String {
    if n.is_finite() { format!("{:.2}", n.max(0.0)) } else { "–".into() }
}

/// `0.04 %`
pub fn percent(part: f64) -> String {
    if part.is_finite() { format!("{:.2} %", part * 100.0) } else { "–".into() }
}

/// `0.31`, `1.2`, `31`: how many times a floor.
pub fn times(n: f64) -> String {
    if !n.is_finite() {
        return "–".into();
    }
    let decimals = if n < 0.995 { 2 } else { usize::from(n < 9.95) };
    format!("{n:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_spread() {
        let odd = Figure(vec![5.0, 1.0, 3.0]);
        assert_eq!((odd.median(), odd.min(), odd.max()), (3.0, 1.0, 5.0));
        assert_eq!(Figure(vec![4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!(Figure(vec![90.0, 100.0, 120.0]).spread(), 15.0);
        assert!(Figure::default().median().is_nan());
        let (slow, fast) = (Figure(vec![9.0, 8.0, 7.0]), Figure(vec![3.0, 2.0]));
        assert_eq!((slow.over(&fast).0, slow.over(&Figure::default()).0), (vec![3.0, 4.0], vec![]));
    }

    #[test]
    fn a_ratio_is_told_as_exactly_as_it_can_be_read() {
        assert_eq!([0.314, 0.999, 9.94, 31.4].map(times), ["0.31", "1.0", "9.9", "31"]);
        assert_eq!(times(f64::NAN), "–");
    }

    #[test]
    fn numbers_are_told_in_three_digits() {
        for (ns, told) in [
            (0.4, "0.40 ns"),
            (62.0, "62.0 ns"),
            (999.6, "1.00 µs"),
            (21_340.0, "21.3 µs"),
            (1_245_000.0, "1.25 ms"),
            (f64::NAN, "–"),
            (-3.0, "–"),
        ] {
            assert_eq!(time(ns), told);
        }
        assert_eq!((number(735_747.0), number(1_906_024.0)), ("736 k".into(), "1.91 M".into()));
        assert_eq!(bytes_per_s(64.0 * 953_551.0), "58.2 MiB/s");
        let sizes = [64, 4096, 5000, 1 << 24, 1 << 30].map(bytes);
        assert_eq!(sizes, ["64 B", "4 KiB", "5000 B", "16 MiB", "1 GiB"]);
        assert_eq!([0.0, 0.000_44, f64::NAN].map(percent), ["0.00 %", "0.04 %", "–"]);
    }
}
