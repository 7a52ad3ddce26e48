//! `ipc-lab ps`: every channel that this user may see, who holds it, and how full it is.

use std::path::Path;

use anyhow::Result;
use console::{Style, Term};
use nix::unistd::geteuid;
use serde_json::{Value, json};

use crate::channels::places::RuntimeDir;
use crate::channels::{Channel, Selection, State, find, places};
use crate::play::{print, said};

/// What `ps` takes.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    selection: Selection,
    /// As one JSON array
    #[arg(long)]
    json: bool,
}

/// Prints the channels.
pub fn ps(args: &Args) -> Result<bool> {
    let selection = &args.selection;
    let (channels, unseen) = find(selection)?;
    if args.json {
        print(&format!("{}\n", Value::Array(channels.iter().map(in_json).collect())))?;
    } else if channels.is_empty() {
        print(&format!("no channel in {}\n", places(selection)?))?;
    } else {
        print(&table(&channels))?;
    }
    for reason in &unseen {
        eprintln!("not seen: {reason}");
    }
    Ok(true)
}

/// The directories that were looked into, for a sentence.
pub fn places(selection: &Selection) -> Result<String> {
    let dirs = places::all(selection.dir.as_deref())?;
    let names: Vec<_> = dirs.iter().map(|dir: &RuntimeDir| dir.path.display().to_string()).collect();
    Ok(if names.is_empty() { "any run-time directory".into() } else { names.join(", ") })
}

fn in_json(channel: &Channel) -> Value {
    let holders: Vec<_> = channel
        .holders
        .iter()
        .map(|h| json!({"pid": h.pid, "role": h.role.map(|r| r.name()), "alive": h.alive}))
        .collect();
    let level = channel.object.level.map(|l| json!({"used": l.used, "capacity": l.capacity, "unit": l.unit}));
    json!({
        "name": channel.name,
        "method": channel.method,
        "kind": channel.ending,
        "dir": channel.dir,
        "path": channel.path(),
        "uid": channel.owner.as_raw(),
        "object": channel.object.what,
        "level": level,
        "holders": holders,
        "state": channel.state().name(),
        "remove": channel.object.remove,
        "note": channel.object.note,
    })
}

const HEADINGS: [&str; 6] = ["NAME", "METHOD", "OBJECT", "HOLDS", "STATE", "WHO"];

fn table(channels: &[Channel]) -> String {
    let rows: Vec<[String; 6]> = channels.iter().map(row).collect();
    let mut widths = HEADINGS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    // A row that is wider than the terminal is two lines: one that the terminal breaks anywhere cannot be read.
    let columns = Term::stdout().size_checked().map_or(usize::MAX, |(_, columns)| usize::from(columns));
    let folded = widths.iter().sum::<usize>() + 2 * (widths.len() - 1) > columns;
    let line = |cells: [&str; 6]| {
        let padded: Vec<_> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let (object, state) = padded.split_at(if folded { 3 } else { padded.len() });
        let state = if folded { format!("\n  {}", state.join("  ").trim_end()) } else { String::new() };
        format!("{}{state}", object.join("  ").trim_end())
    };
    let mut text = format!("{}\n", Style::new().bold().underlined().apply_to(line(HEADINGS)));
    let mut dir = None;
    for (channel, row) in channels.iter().zip(&rows) {
        if dir != Some(&channel.dir) {
            dir = Some(&channel.dir);
            text += &said(&Style::new().bold(), "", &whose(channel));
        }
        let style = match channel.state() {
            State::Alive => Style::new(),
            State::Kept => Style::new().yellow(),
            State::Dead => Style::new().red(),
        };
        text += &format!("{}\n", style.apply_to(line(row.each_ref().map(String::as_str))));
        let dim = Style::new().dim();
        if let Some(note) = &channel.object.note {
            text += &said(&dim, "  ", note);
        }
        if let (State::Kept, Some(remove)) = (channel.state(), &channel.object.remove) {
            text += &said(&dim, "  ", &format!("outlives its makers; remove it with: {remove}"));
        }
    }
    if channels.iter().any(|c| c.state() == State::Dead) {
        const DEAD: &str =
            "those who held it were killed; the next of that name take it over, or: ipc-lab clean";
        text += &format!("\n{}", said(&Style::new(), "dead: ", DEAD));
    }
    text
}

fn row(channel: &Channel) -> [String; 6] {
    let who: Vec<_> = channel.holders.iter().map(ToString::to_string).collect();
    [
        channel.name.clone(),
        channel.method.into(),
        channel.object.what.clone(),
        channel.object.level.map_or_else(|| "-".into(), |level| level.to_string()),
        channel.state().name().into(),
        if who.is_empty() { "nobody".into() } else { who.join(", ") },
    ]
}

fn whose(channel: &Channel) -> String {
    let user = if channel.owner == geteuid() { String::new() } else { format!(" (user {})", channel.owner) };
    let dir = channel.dir.as_deref().map(Path::display);
    dir.map_or_else(|| "no name in a directory that is known here leads to:".into(), |d| format!("{d}:"))
        + &user
}
