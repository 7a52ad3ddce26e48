//! The table at the demo's end: a row for each pair, printed as soon as it is known.

use anyhow::Result;
use console::Style;

use crate::figure::{bytes_per_s, time};
use crate::pairs::Pair;
use crate::play::{say, show};
use crate::send::{Sent, Source};

/// Prints the headings.
pub fn headings() -> Result<()> {
    let text = format!(
        "{:<13} {:>6} {:>7} {:>8} {:>10} {:>8} {:>13}  {}",
        "method", "--size", "items", "time", "payload", "CPU", "waits p / c", "checked"
    );
    show(&format!("{}\n", Style::new().bold().underlined().apply_to(text)))
}

/// Prints a pair's row.
pub fn row(pair: &Pair, source: &Source, sent: Option<&Sent>) -> Result<()> {
    let Some(sent) = sent else {
        let failed = Style::new().red().bold().apply_to("FAILED");
        return show(&format!("{:<13} {:>6} {:>51}\n", pair.method, pair.size, failed));
    };
    show(&format!(
        "{:<13} {:>6} {:>7} {:>8} {:>10} {:>8} {:>13}  {}\n",
        format!("{} {}", pair.method, sent.variant),
        pair.size,
        sent.items,
        time(sent.time.as_nanos() as f64),
        bytes_per_s(source.bytes as f64 / sent.time.as_secs_f64()),
        time(sent.cpu.as_nanos() as f64),
        format!("{} / {}", sent.waits.0, sent.waits.1),
        Style::new().green().bold().apply_to("✓"),
    ))
}

/// Says what the columns mean.
pub fn legend() -> Result<()> {
    let text = "time: from the producer's start to the end of both. CPU: of both together. waits: how often the producer / the consumer \
                had to wait for the channel. checked: SHA-256 and length are the file's, and no item was lost, \
                doubled, out of order or damaged.";
    show("\n")?;
    say(&Style::new().dim(), "", text)
}
