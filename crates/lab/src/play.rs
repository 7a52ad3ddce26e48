//! Plays a pair's scene: both sides' lines, as they come, in one terminal.

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use console::{Color, Style, Term};

use crate::cast::{Cast, Event};
use crate::pairs::{Pair, Role, Step};
use crate::stage::Stage;
use crate::stop::Stopped;

/// A scene takes two or three seconds.
const LIMIT: Duration = Duration::from_secs(20);

/// Plays one scene on an empty stage.
///
/// # Errors
/// When a side does not end with 0, or anything is left behind.
pub fn play(pair: &Pair, stage: &Stage) -> Result<()> {
    say(&Style::new().bold(), "", pair.what)?;
    say(&Style::new().italic(), "Look: ", pair.look)?;
    show("\n")?;
    let mut scene = Scene { pair, stage, cast: Cast::new(LIMIT), roles: Vec::new(), ended: Vec::new() };
    for step in pair.scene {
        match *step {
            Step::Start(role, args) => scene.start(role, args)?,
            Step::Until(text) => scene.go_on(|line, _| line.contains(text))?,
            Step::End => scene.go_on(|_, ended| ended)?,
        }
    }
    scene.go_on(|_, _| false)?;
    let bad: Vec<_> =
        scene.roles.iter().zip(&scene.ended).filter(|(_, status)| **status != Some(0)).collect();
    ensure!(
        bad.is_empty(),
        "{}",
        bad.iter().map(|(r, s)| ended(pair, **r, **s)).collect::<Vec<_>>().join("; ")
    );
    let stays = match stage.clear()? {
        Some(file) => format!("all ended with 0, and the file {file} stays: removed"),
        None => "all ended with 0; nothing is left behind".into(),
    };
    show("\n")?;
    say(&Style::new().green(), "✓ ", &stays)
}

fn ended(pair: &Pair, role: Role, status: Option<i32>) -> String {
    format!("{} ended with {}", pair.binary(role), status.unwrap_or(-1))
}

struct Scene<'a> {
    pair: &'a Pair,
    stage: &'a Stage,
    cast: Cast,
    roles: Vec<Role>,
    ended: Vec<Option<i32>>,
}

impl Scene<'_> {
    fn start(&mut self, role: Role, args: &[&str]) -> Result<()> {
        let dashes = if args.is_empty() { "" } else { " -- " };
        let command = format!("cargo run --bin {}{dashes}{}", self.pair.binary(role), args.join(" "));
        say(&colour(role).bold(), &prefix(role, "$"), &command)?;
        let who = self.cast.start(self.stage.command(self.pair, role, args))?;
        say_line(role, &format!("pid {}", self.cast.pid(who)))?;
        self.roles.push(role);
        self.ended.push(None);
        Ok(())
    }

    /// Shows what happens until it is `enough`, which is asked for each line (`""` for none) of what was
    /// started last, and whether that has ended; or until all have ended.
    fn go_on(&mut self, enough: impl Fn(&str, bool) -> bool) -> Result<()> {
        while let Some(event) = self.cast.next()? {
            let last = self.roles.len() - 1;
            match event {
                Event::Line { who, text } => {
                    let role = self.roles[who];
                    say_line(role, &text)?;
                    if who == last && enough(&text, false) {
                        return Ok(());
                    }
                }
                Event::End { who, status } => {
                    self.ended[who] = Some(status);
                    if status != 0 {
                        say(
                            &Style::new().red().bold(),
                            &prefix(self.roles[who], "│"),
                            &format!("ended with {status}"),
                        )?;
                    }
                    if who == last && enough("", true) {
                        return Ok(());
                    }
                }
                Event::Quiet => {}
            }
        }
        Ok(())
    }
}

fn colour(role: Role) -> Style {
    Style::new().fg(if role == Role::Producer { Color::Cyan } else { Color::Magenta })
}

fn prefix(role: Role, mark: &str) -> String {
    format!("{} {mark} ", role.name())
}

/// One line of a side: what it waits for is to be seen, and what is always the same is not in the way.
fn say_line(role: Role, text: &str) -> Result<()> {
    let style = match text.split([' ', ':']).next() {
        Some("error" | "warning") => Style::new().red().bold(),
        Some("blocked" | "unblocked") => Style::new().yellow(),
        Some("pid" | "waiting") => Style::new().dim(),
        _ => Style::new(),
    };
    let prefix = colour(role).apply_to(prefix(role, "│"));
    show(&wrapped(&prefix.to_string(), &style, text))
}

/// Prints a text, wrapped at the terminal's width, behind a prefix of the same style.
pub fn say(style: &Style, prefix: &str, text: &str) -> Result<()> {
    show(&said(style, prefix, text))
}

/// What [`say`] prints.
pub fn said(style: &Style, prefix: &str, text: &str) -> String {
    wrapped(&style.apply_to(prefix).to_string(), style, text)
}

/// Prints a text that is there to be watched. That nobody reads it any more (`| head`) is the end of the show.
pub fn show(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Err(Stopped::NOBODY_READS.into()),
        shown => shown.context("write to standard output"),
    }
}

/// Prints a text that tells what was done. That nobody reads it (`| head`) is no failure.
pub fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(e).context("write to standard output"),
        _ => Ok(()),
    }
}

/// How many columns there are; as many as fit on paper where there is no terminal.
pub fn width() -> usize {
    Term::stdout().size_checked().map_or(100, |(_, columns)| usize::from(columns).clamp(40, 110))
}

fn wrapped(prefix: &str, style: &Style, text: &str) -> String {
    let indent = console::measure_text_width(prefix);
    let mut lines = vec![String::new()];
    for word in text.split_inclusive(' ') {
        let line = lines.last_mut().expect("there is one");
        let columns =
            indent + console::measure_text_width(line) + console::measure_text_width(word.trim_end());
        if columns > width() && !line.is_empty() {
            lines.push(word.to_owned());
        } else {
            line.push_str(word);
        }
    }
    let margin = " ".repeat(indent);
    let starts = std::iter::once(prefix).chain(std::iter::repeat(&*margin));
    starts.zip(&lines).map(|(start, line)| format!("{start}{}\n", style.apply_to(line.trim_end()))).collect()
}
