//! Sends a file through a pair and compares what comes out with what went in.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::cast::{Cast, Event};
use crate::pairs::{Pair, Role};
use crate::stage::Stage;
use crate::stop;

/// A file that is sent.
#[derive(Debug)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// What all that comes out must have.
    pub sha256: String,
}

impl Source {
    /// Reads it once.
    pub fn open(path: &Path) -> Result<Source> {
        let (bytes, sha256) = sha256(path)?;
        Ok(Source { path: path.to_owned(), bytes, sha256 })
    }
}

/// What was found when a file was sent.
#[derive(Debug)]
pub struct Sent {
    /// The mechanism's variant, as the processes name it.
    pub variant: String,
    /// How many items the file made.
    pub items: u64,
    /// From the start of the producer until both had ended.
    pub time: Duration,
    /// What both processes together had of the CPUs.
    pub cpu: Duration,
    /// How often the producer and the consumer had to wait for the channel.
    pub waits: (u64, u64),
}

/// Sends `source` through a pair.
///
/// # Errors
/// When a side does not end with 0, or what came out is not what went in.
pub fn send(pair: &Pair, stage: &Stage, source: &Source) -> Result<Sent> {
    let output = stage.file("output");
    let (from, to) = (source.path.to_str().context("a path in UTF-8")?, output.to_str().context("UTF-8")?);
    let quiet = ["--quiet", "--json"];
    // A megabyte a second is slow for any of them.
    let limit = Duration::from_secs(20 + (source.bytes >> 20));
    let mut cast = Cast::new(limit);
    let consumer =
        cast.start(stage.command(pair, Role::Consumer, &[&["--output", to], &quiet[..]].concat()))?;
    let start = Instant::now();
    let shape = ["--input", from, "--size", pair.size];
    cast.start(stage.command(pair, Role::Producer, &[&shape[..], &quiet[..]].concat()))?;
    let ended = follow(&mut cast, &output, source.bytes, pair)?;
    let time = start.elapsed();
    let cpu = (0..ended.len()).map(|who| cast.usage(who).cpu).sum();
    for (who, side) in ended.iter().enumerate() {
        let binary = pair.binary(if who == consumer { Role::Consumer } else { Role::Producer });
        ensure!(side.status == 0, "{binary} ended with {}: {}", side.status, side.lines.join("; "));
    }
    let [received, sent] = [&ended[consumer], &ended[1 - consumer]].map(|side| {
        serde_json::from_str::<Value>(side.lines.last().map_or("", String::as_str)).unwrap_or_default()
    });
    let number =
        |from: &Value, key: &str| from[key].as_u64().with_context(|| format!("no {key} in the JSON"));
    for fault in ["lost", "gaps", "duplicated", "reordered", "corrupted"] {
        ensure!(number(&received, fault)? == 0, "the consumer found items {fault}");
    }
    for (key, side) in [("sent", &sent), ("received", &received)] {
        ensure!(number(side, "bytes")? == source.bytes, "not all bytes were {key}: {side}");
    }
    let items = number(&received, "items")?;
    ensure!(items == number(&sent, "items")?, "not as many items were received as sent");
    let (_, sha256) = sha256(&output)?;
    ensure!(sha256 == source.sha256, "what came out differs: its SHA-256 is {sha256}");
    std::fs::remove_file(&output)?;
    stage.clear()?;
    Ok(Sent {
        variant: received["variant"].as_str().unwrap_or_default().to_owned(),
        items,
        time,
        cpu,
        waits: (number(&sent, "blocked")?, number(&received, "blocked")?),
    })
}

#[derive(Default)]
struct Ended {
    status: i32,
    /// What it said; the last line is the JSON object.
    lines: Vec<String>,
}

/// Waits for both ends, with a progress bar meanwhile if a terminal is there.
fn follow(cast: &mut Cast, output: &Path, bytes: u64, pair: &Pair) -> Result<[Ended; 2]> {
    const BAR: &str = "{msg:<14} {bar:40} {percent}%  {bytes}/{total_bytes}  {eta} left";
    let bar =
        ProgressBar::new(bytes).with_style(ProgressStyle::with_template(BAR)?).with_message(pair.method);
    let mut ended = [Ended::default(), Ended::default()];
    while let Some(event) = cast.next()? {
        match event {
            Event::Line { who, text } => ended[who].lines.push(text),
            Event::End { who, status } => ended[who].status = status,
            Event::Quiet => bar.set_position(output.metadata().map_or(0, |m| m.len())),
        }
    }
    bar.finish_and_clear();
    Ok(ended)
}

/// A file's length and SHA-256.
fn sha256(path: &Path) -> Result<(u64, String)> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let (mut hash, mut bytes, mut piece) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        stop::check()?;
        let n = file.read(&mut piece).with_context(|| format!("read {}", path.display()))?;
        if n == 0 {
            let hex = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
            return Ok((bytes, hex));
        }
        hash.update(&piece[..n]);
        bytes += n as u64;
    }
}
