//! `ipc-lab demo`: first every pair is played, then a file is sent through each.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use console::Style;
use indicatif::HumanCount;

use crate::pairs::Pair;
use crate::play::{self, say, show, width};
use crate::send::{Source, send};
use crate::stage::Stage;
use crate::stop::Stopped;
use crate::table;

/// Plays the pairs and sends the file: whether all went well.
pub fn demo(pairs: &[&Pair], file: Option<&Path>) -> Result<bool> {
    // Read first: a wrong path is to be found before the play, not after it.
    let source = Source::open(&file.map_or_else(compilers_library, |f| Ok(f.to_owned()))?)?;
    let stage = Stage::new(pairs)?;
    let mut failures = play_all(pairs, &stage)?;
    failures.extend(send_all(pairs, &stage, &source)?);
    if failures.is_empty() {
        let text = format!("through {} of {}, what came out is what went in", pairs.len(), pairs.len());
        show("\n")?;
        say(&Style::new().green().bold(), "✓ ", &text)?;
    }
    verdict(&failures)
}

/// Plays the pairs: whether all went well.
pub fn play(pairs: &[&Pair]) -> Result<bool> {
    let failures = play_all(pairs, &Stage::new(pairs)?)?;
    verdict(&failures)
}

fn play_all(pairs: &[&Pair], stage: &Stage) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for (i, pair) in pairs.iter().enumerate() {
        heading(&format!("{}/{}  {}", i + 1, pairs.len(), pair.method))?;
        if let Some(why) = failure(play::play(pair, stage))? {
            failures.push(format!("{}: {why}", pair.method));
            say(&Style::new().red().bold(), "✗ ", &why)?;
        }
    }
    Ok(failures)
}

fn send_all(pairs: &[&Pair], stage: &Stage, source: &Source) -> Result<Vec<String>> {
    heading("A real file through each of them")?;
    let bold = Style::new().bold();
    say(&bold, "", &source.path.display().to_string())?;
    show(&format!("{} bytes, SHA-256 {}\n\n", HumanCount(source.bytes), &source.sha256[..16]))?;
    table::headings()?;
    let mut failures = Vec::new();
    for pair in pairs {
        let outcome = send(pair, stage, source);
        table::row(pair, source, outcome.as_ref().ok())?;
        if let Some(why) = failure(outcome)? {
            failures.push(format!("{}: {why}", pair.method));
            let _ = stage.clear();
        }
    }
    table::legend()?;
    Ok(failures)
}

/// What went wrong, if the show can go on all the same.
fn failure<T>(outcome: Result<T>) -> Result<Option<String>> {
    match outcome {
        Ok(_) => Ok(None),
        Err(e) if e.is::<Stopped>() => Err(e),
        Err(e) => Ok(Some(format!("{e:#}"))),
    }
}

fn verdict(failures: &[String]) -> Result<bool> {
    for failure in failures {
        say(&Style::new().red().bold(), "FAILED  ", failure)?;
    }
    Ok(failures.is_empty())
}

fn heading(text: &str) -> Result<()> {
    let line = "━".repeat(width().saturating_sub(text.chars().count() + 4));
    show(&format!("\n{} {line}\n\n", Style::new().bold().reverse().apply_to(format!(" {text} "))))
}

/// The largest library that is the compiler's own: every machine with cargo has it.
fn compilers_library() -> Result<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc).args(["--print", "sysroot"]).output();
    let output = output.context("run rustc; name another file with --file")?;
    ensure!(output.status.success(), "rustc --print sysroot failed; name a file with --file");
    let lib = Path::new(String::from_utf8(output.stdout)?.trim()).join("lib");
    let entries = std::fs::read_dir(&lib).with_context(|| format!("read {}", lib.display()))?;
    let drivers =
        entries.flatten().filter(|e| e.file_name().to_string_lossy().starts_with("librustc_driver"));
    let largest = drivers.max_by_key(|e| e.metadata().map_or(0, |m| m.len()));
    Ok(largest.with_context(|| format!("no librustc_driver in {}; use --file", lib.display()))?.path())
}
