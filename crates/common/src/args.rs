//! The flags that mean the same in all twelve binaries.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

/// What a producer and a consumer are both told.
#[derive(Args, Clone, Debug)]
pub struct Both {
    /// Which channel, so that several pairs can run side by side
    #[arg(long, value_name = "NAME", default_value = "demo", value_parser = name, help_heading = "Both sides")]
    pub name: String,
    /// Give up with exit status 3 when the other side has not come, or not moved, for so long [default: wait
    /// for ever, and say so]
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "Both sides")]
    pub timeout: Option<Duration>,
    /// No operation blocks: a full or empty channel is reported, counted, and tried again later
    #[arg(long, help_heading = "Both sides")]
    pub nonblocking: bool,
    /// No line per item
    #[arg(long, help_heading = "Both sides")]
    pub quiet: bool,
    /// The summary as one JSON object, the last line of standard output (of standard error with --output -)
    #[arg(long, help_heading = "Both sides")]
    pub json: bool,
}

/// What every producer is told.
#[derive(Args, Clone, Debug)]
pub struct Producer {
    /// Items to send; 0 = until interrupted [default: 10, or all of --input]
    #[arg(long, value_name = "N", help_heading = "Items")]
    pub count: Option<u64>,
    /// Pause between items; 0 = full speed [default: 500ms; 0 with --input]
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "Items")]
    pub interval: Option<Duration>,
    /// Payload of a generated item; chunk size of --input; longest line with --lines [default: 64; 4096 with
    /// --input]
    #[arg(long, value_name = "BYTES", value_parser = size, help_heading = "Items")]
    pub size: Option<usize>,
    /// Send a file's bytes; - is standard input [default: generated items]
    #[arg(long, value_name = "FILE", help_heading = "Items")]
    pub input: Option<PathBuf>,
    /// With --input: one line, with its newline, is one item
    #[arg(long, requires = "input", help_heading = "Items")]
    pub lines: bool,
    /// What the consumer is told too.
    #[command(flatten)]
    pub both: Both,
}

impl Producer {
    /// The largest payload that an item of this run can have, in bytes.
    pub fn size(&self) -> usize {
        self.size.unwrap_or(if self.input.is_some() { 4096 } else { 64 })
    }

    /// How many items, if not until something else ends the run.
    pub fn count(&self) -> Option<u64> {
        match (self.count, &self.input) {
            (Some(0), _) => None,
            (Some(n), _) => Some(n),
            (None, Some(_)) => None,
            (None, None) => Some(10),
        }
    }

    /// The pause between two items.
    pub fn interval(&self) -> Duration {
        let pause = if self.input.is_some() { Duration::ZERO } else { Duration::from_millis(500) };
        self.interval.unwrap_or(pause)
    }
}

/// What every consumer is told.
#[derive(Args, Clone, Debug)]
pub struct Consumer {
    /// Stop after N items; 0 = until the stream ends
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Items")]
    pub count: u64,
    /// Time spent on each item: a slow consumer
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration, help_heading = "Items")]
    pub delay: Duration,
    /// Stay after the stream's end, for the next producer
    #[arg(long, help_heading = "Items")]
    pub forever: bool,
    /// Write the payloads, in order; - is standard output, and then nothing else goes there
    #[arg(long, value_name = "FILE", help_heading = "Items")]
    pub output: Option<PathBuf>,
    /// What the producer is told too.
    #[command(flatten)]
    pub both: Both,
}

impl Consumer {
    /// Whether the payloads go to standard output.
    pub fn to_stdout(&self) -> bool {
        self.output.as_deref().is_some_and(|p| p.as_os_str() == "-")
    }
}

/// Parses the command line. Wrong usage ends the process with status 2, `--help` with 0.
pub fn parse<T: clap::Parser>() -> T {
    // args_os: an argument that is not UTF-8 is wrong usage, where env::args would panic.
    let args: Vec<OsString> = std::env::args_os().collect();
    T::parse_from(args)
}

/// A channel's name: `[A-Za-z0-9_-]{1,64}`, so that it can stand in every kind of object's name.
fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if (1..=64).contains(&text.len()) && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err("a name has 1 to 64 of the characters A-Z a-z 0-9 _ -".into())
}

/// A duration: `250ms`, `2s`, `1.5m`, `0`; at most a year.
///
/// # Errors
/// What is wrong with it, in words.
pub fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: &[(&str, f64)] =
        &[("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let seconds = match text.parse() {
        Ok(0u8) => 0.0,
        _ => number_with_unit::<f64>(text, UNITS).ok_or("write it as 250ms, 2s or 0")?,
    };
    match Duration::try_from_secs_f64(seconds) {
        Ok(d) if d <= Duration::from_secs(366 * 86_400) => Ok(d),
        _ => Err("it must be between 0 and a year".into()),
    }
}

/// A number of bytes: `64`, `4KiB`, `1MiB`; at most 1 GiB.
///
/// # Errors
/// What is wrong with it, in words.
pub fn size(text: &str) -> Result<usize, String> {
    const UNITS: &[(&str, f64)] =
        &[("", 1.0), ("B", 1.0), ("KiB", 1024.0), ("MiB", 1_048_576.0), ("GiB", 1_073_741_824.0)];
    match number_with_unit::<u32>(text, UNITS) {
        Some(bytes) if bytes <= 1_073_741_824.0 => Ok(bytes as usize),
        Some(_) => Err("it must not be over 1GiB".into()),
        None => Err("write it as 64, 4KiB or 1MiB".into()),
    }
}

fn number_with_unit<N: FromStr + Into<f64>>(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (_, factor) = units.iter().find(|(u, _)| *u == unit)?;
    Some(number.parse::<N>().ok()?.into() * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for wrong in ["", "5", "-1s", "1e9s", "s", "1 s", "99999999999999999999h", "9999999h", "NaNs", "infs"]
        {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!((size("64"), size("4KiB"), size("1GiB")), (Ok(64), Ok(4096), Ok(1 << 30)));
        for wrong in ["", "-1", "1.5KiB", "2GiB", "99999999999", "1kb", "0x10", "KiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names() {
        assert!(name("a-Z_9").is_ok() && name(&"x".repeat(64)).is_ok());
        for wrong in ["", "a/b", "..", "ü", "a b", &"x".repeat(65)] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }
}
