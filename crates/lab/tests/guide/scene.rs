//! Scenes: the `console` blocks of a section, played from top to bottom.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::matcher::{Bindings, Line, Progress, compare, pids, substitute};
use crate::page::{Block, Page};
use crate::stage::{Stage, Terminal};

/// How long anything may take that is expected to happen.
const SOON: Duration = Duration::from_secs(90);

/// The `console` blocks between two headings.
#[derive(Debug)]
pub struct Scene {
    /// `docs/pipe.md#run-it`
    pub name: String,
    path: String,
    acts: Vec<Act>,
}

/// One block.
#[derive(Debug)]
struct Act {
    terminal: String,
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    line: usize,
    what: What,
}

#[derive(Debug, PartialEq)]
enum What {
    /// `$ command`, with the lines of `> ` that continue it.
    Type(String),
    /// `^C`
    Key(char),
    Show(String),
}

/// The scenes of a page, in order, or what is wrong with their form.
pub fn scenes(page: &Page) -> (Vec<Scene>, Vec<String>) {
    let (mut scenes, mut faults) = (Vec::<Scene>::new(), Vec::new());
    let mut last = None;
    for block in page.blocks.iter().filter(|b| b.language == "console") {
        match act(block) {
            Ok(act) => {
                if last != Some(block.section) {
                    let anchor = block.section.map_or("", |s| &page.headings[s].anchor);
                    let name = format!("{}#{anchor}", page.path);
                    scenes.push(Scene { name, path: page.path.clone(), acts: Vec::new() });
                    last = Some(block.section);
                }
                scenes.last_mut().expect("just pushed").acts.push(act);
            }
            Err(fault) => faults.push(format!("{}: {fault}", page.at(block.line))),
        }
    }
    for scene in &scenes {
        let mut open = HashSet::new();
        for act in &scene.acts {
            let typed = matches!(act.steps.first(), Some(Step { what: What::Type(_), .. }));
            if !typed && !open.contains(&act.terminal) {
                let line = act.steps.first().map_or(0, |s| s.line);
                let fault = "nothing was typed in this terminal before (in this section)";
                faults.push(format!("{}:{line}: {fault}", scene.path));
            }
            open.insert(&act.terminal);
        }
    }
    (scenes, faults)
}

fn act(block: &Block) -> Result<Act, String> {
    let label = block.lines.first().and_then(|l| l.strip_prefix("# "));
    let terminal = match label {
        Some(label) if label.strip_prefix("Terminal ").is_some_and(|n| n.parse::<u8>().is_ok()) => {
            label.to_owned()
        }
        Some(label) => return Err(format!("`# {label}`: the first line is `# Terminal N`, or a command")),
        None => format!("the terminal of line {}", block.line),
    };
    let mut steps: Vec<Step> = Vec::new();
    for (i, text) in block.lines.iter().enumerate().skip(usize::from(label.is_some())) {
        let line = block.line + 1 + i;
        let key = text.strip_prefix('^').and_then(|k| k.parse::<char>().ok());
        let what = if let Some(command) = text.strip_prefix("$ ") {
            What::Type(command.to_owned())
        } else if let Some(key) = key.filter(|k| k.is_ascii_uppercase() || *k == '\\') {
            What::Key(key)
        } else if let (Some(more), Some(Step { what: What::Type(command), .. })) =
            (text.strip_prefix("> "), steps.last_mut())
        {
            command.push('\n');
            command.push_str(more);
            continue;
        } else {
            What::Show(text.clone())
        };
        steps.push(Step { line, what });
    }
    if steps.is_empty() {
        return Err("an empty block".into());
    }
    Ok(Act { terminal, steps })
}

/// A command that was typed, and what is shown of its output up to now.
struct Shown {
    command: String,
    at: usize,
    lines: Vec<Line>,
    line_numbers: Vec<usize>,
    texts: Vec<String>,
    keys: bool,
}

struct Player<'a> {
    scene: &'a Scene,
    stage: &'a mut Stage,
    pids: HashSet<String>,
    bindings: Bindings,
    open: Vec<(String, Shown)>,
}

/// How much has to have come.
#[derive(Clone, Copy, PartialEq)]
enum Until {
    /// All that is shown; more may follow.
    Shown,
    /// All that is shown, nothing else, and the prompt.
    Ended,
}

impl Scene {
    /// Plays it; fails with what went wrong, and all that the terminals show.
    pub fn play(&self) -> Result<(), String> {
        let mut stage = Stage::new();
        let mut player = Player {
            scene: self,
            pids: self.pids(),
            stage: &mut stage,
            bindings: Bindings::default(),
            open: Vec::new(),
        };
        let played = player.play();
        let shown = std::env::var_os("GUIDE_SHOW").is_some();
        if played.is_ok() && !shown {
            return Ok(());
        }
        let mut text = played.as_ref().err().cloned().unwrap_or_default();
        text += "\n  what came in this scene:\n";
        for terminal in stage.terminals() {
            let _ = write!(text, "```console\n{}```\n", shortened(&terminal.transcript()));
        }
        if played.is_ok() {
            println!("{}:{text}", self.name);
        }
        played.map_err(|_| text)
    }

    /// The numbers that are process ids in this scene.
    fn pids(&self) -> HashSet<String> {
        let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
        for step in self.acts.iter().flat_map(|a| &a.steps) {
            match &step.what {
                What::Type(command) => commands.push((command, Vec::new())),
                What::Show(line) => match commands.last_mut() {
                    Some((_, lines)) => lines.push(line),
                    None => commands.push(("", vec![line])),
                },
                What::Key(_) => {}
            }
        }
        pids(commands)
    }
}

/// Without what is between the first and the last of very many lines.
fn shortened(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut short = String::new();
    for (i, line) in lines.iter().enumerate() {
        if i < 60 || i + 40 >= lines.len() {
            let _ = writeln!(short, "{line}");
        } else if i == 60 {
            let _ = writeln!(short, "… ({} more lines)", lines.len() - 100);
        }
    }
    short
}

impl Player<'_> {
    fn play(&mut self) -> Result<(), String> {
        for act in &self.scene.acts {
            for step in &act.steps {
                self.step(&act.terminal, step)?;
            }
            // Nobody can show later what a terminal without a name prints.
            let named = act.terminal.starts_with("Terminal");
            self.await_terminal(&act.terminal, if named { Until::Shown } else { Until::Ended })?;
        }
        let terminals: Vec<_> = self.open.iter().map(|(name, _)| name.clone()).collect();
        for terminal in terminals {
            self.await_terminal(&terminal, Until::Ended)?;
        }
        self.nothing_is_left()
    }

    fn step(&mut self, terminal: &str, step: &Step) -> Result<(), String> {
        match &step.what {
            What::Type(command) => {
                if self.open.iter().any(|(name, _)| name == terminal) {
                    self.await_terminal(terminal, Until::Ended)?;
                    self.open.retain(|(name, _)| name != terminal);
                }
                let typed = substitute(command, &self.pids, &self.bindings, self.stage.user())
                    .map_err(|e| self.at(step.line, &e))?;
                self.stage.terminal(terminal).type_line(&typed);
                let shown = Shown {
                    command: command.clone(),
                    at: step.line,
                    lines: Vec::new(),
                    line_numbers: Vec::new(),
                    texts: Vec::new(),
                    keys: false,
                };
                self.open.push((terminal.to_owned(), shown));
            }
            What::Key(key) => {
                self.await_terminal(terminal, Until::Shown)?;
                self.stage.terminal(terminal).control(*key, Instant::now() + SOON);
                self.shown(terminal).keys = true;
            }
            What::Show(text) => {
                let line = Line::new(text, &self.pids);
                let shown = self.shown(terminal);
                shown.lines.push(line);
                shown.texts.push(text.clone());
                shown.line_numbers.push(step.line);
            }
        }
        Ok(())
    }

    fn shown(&mut self, terminal: &str) -> &mut Shown {
        let open = self.open.iter_mut().find(|(name, _)| name == terminal);
        &mut open.expect("`scenes` saw that a command comes first").1
    }

    fn at(&self, line: usize, what: &str) -> String {
        format!("{}:{line}: {what}", self.scene.path)
    }

    /// Waits until what is shown has come.
    fn await_terminal(&mut self, name: &str, until: Until) -> Result<(), String> {
        let deadline = Instant::now() + SOON;
        let mut idle_since: Option<Instant> = None;
        loop {
            let terminal: &Terminal = self.stage.terminal(name);
            let idle = terminal.is_idle();
            let began = Instant::now();
            let output = terminal.output();
            let shown = &self.open.iter().find(|(n, _)| n == name).expect("a command was typed").1;
            let lines: Vec<&str> = output.lines.iter().map(String::as_str).collect();
            let may_be_left_out = |j: usize| is_job_notice(lines[j]) || shown.keys && lines[j].is_empty();
            let progress = compare(&shown.lines, &lines, &self.bindings, &may_be_left_out);
            match (&progress, until) {
                (Progress::Whole(bindings), Until::Ended) if output.prompt.is_some() => {
                    self.bindings = bindings.clone();
                    return Ok(());
                }
                (Progress::Whole(bindings) | Progress::More(bindings), Until::Shown) => {
                    self.bindings = bindings.clone();
                    return Ok(());
                }
                _ => {}
            }
            // Once nothing runs any more, nothing more comes; but what came last may be on its way.
            let since = *idle_since.get_or_insert(began);
            if !idle {
                idle_since = None;
            }
            let over = idle && since.elapsed() > Duration::from_millis(300);
            if progress == Progress::Never || over || Instant::now() > deadline {
                return Err(self.fault(shown, &lines, output.prompt.is_some(), &progress, &may_be_left_out));
            }
            let took = began.elapsed();
            terminal.wait(Duration::from_millis(50));
            std::thread::sleep((took * 4).min(Duration::from_secs(1)));
        }
    }

    /// What is wrong with what came.
    fn fault(
        &self,
        shown: &Shown,
        lines: &[&str],
        ended: bool,
        progress: &Progress,
        may_be_left_out: &dyn Fn(usize) -> bool,
    ) -> String {
        let so_far = |n: usize| {
            let progress = compare(&shown.lines[..n], lines, &self.bindings, may_be_left_out);
            matches!(progress, Progress::Whole(_) | Progress::More(_))
        };
        let command = format!("\n  $ {}", shown.command.replace('\n', "\n  > "));
        match progress {
            Progress::Whole(_) if !ended => {
                self.at(shown.at, &format!("this command had not ended after {SOON:?}:{command}"))
            }
            Progress::Whole(_) | Progress::More(_) => self.at(
                *shown.line_numbers.last().unwrap_or(&shown.at),
                &format!("it prints more than is shown (a last line `…` would stand for the rest):{command}"),
            ),
            Progress::Less | Progress::Never => {
                let n = (0..shown.lines.len()).rev().find(|n| so_far(*n)).unwrap_or(0);
                let waits = *progress == Progress::Less && !ended;
                let how = if waits { ", and the command has not ended" } else { "" };
                self.at(
                    shown.line_numbers[n],
                    &format!("this line did not come{how}:{command}\n  {}", shown.texts[n]),
                )
            }
        }
    }

    /// All processes have ended, and nothing of theirs remains but what they said would.
    fn nothing_is_left(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(5);
        let end = self.scene.acts.last().and_then(|a| a.steps.last()).map_or(0, |s| s.line);
        loop {
            let running = self.stage.running();
            if running.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                return Err(
                    self.at(end, &format!("still running at the section's end: {}", running.join(", ")))
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.stage.remove_what_stays();
        let left = self.stage.left();
        if left.is_empty() { Ok(()) } else { Err(self.at(end, &format!("left behind: {}", left.join(", ")))) }
    }
}

/// What the shell says about its jobs: it comes before some prompt, and need not be shown.
fn is_job_notice(line: &str) -> bool {
    let Some((number, rest)) = line.strip_prefix('[').and_then(|l| l.split_once(']')) else { return false };
    number.parse::<u32>().is_ok() && rest.trim_start_matches(['+', '-']).starts_with(' ')
}

/// Plays two commands in two terminals: both must end, with 0.
pub fn pair(first: &str, second: &str) -> Result<(), String> {
    let mut stage = Stage::new();
    let names = ["Terminal 1", "Terminal 2"];
    for (name, command) in names.into_iter().zip([first, second]) {
        stage.terminal(name).type_line(command);
    }
    let deadline = Instant::now() + SOON;
    let mut fault = None;
    for name in names {
        let terminal = stage.terminal(name);
        loop {
            let (idle, output) = (terminal.is_idle(), terminal.output());
            match output.prompt {
                Some(0) if idle => break,
                Some(status) if status != 0 => fault = fault.or(Some(format!("{name} ended with {status}"))),
                _ if Instant::now() > deadline => fault = fault.or(Some(format!("{name} does not end"))),
                _ => {
                    terminal.wait(Duration::from_millis(50));
                    continue;
                }
            }
            break;
        }
    }
    stage.remove_what_stays();
    let left = stage.left();
    match fault {
        None if left.is_empty() => Ok(()),
        None => Err(format!("left behind: {}", left.join(", "))),
        Some(fault) => {
            Err(stage.terminals().iter().fold(fault + "\n", |all, t| all + &shortened(&t.transcript())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(text: &str) -> Scene {
        let (mut scenes, faults) = scenes(&Page::parse("docs/a.md", text));
        assert!(faults.is_empty() && scenes.len() == 1, "{faults:?} {scenes:?}");
        scenes.remove(0)
    }

    fn fault(text: &str) -> String {
        scene(text).play().expect_err(text)
    }

    #[test]
    fn scenes_are_the_blocks_between_headings() {
        let text = "# A\n```console\n# Terminal 1\n$ a \\\n> b\nc\n^C\n```\nText.\n```console\n# Terminal 1\nd\n```\n\
                    ## B\n```console\n$ e\n```\n```text\n$ no\n```\n";
        let (scenes, faults) = scenes(&Page::parse("docs/a.md", text));
        assert!(faults.is_empty(), "{faults:?}");
        let names: Vec<_> = scenes.iter().map(|s| (s.name.as_str(), s.acts.len())).collect();
        assert_eq!(names, [("docs/a.md#a", 2), ("docs/a.md#b", 1)]);
        let steps: Vec<_> = scenes[0].acts[0].steps.iter().map(|s| (s.line, &s.what)).collect();
        let typed = What::Type("a \\\nb".into());
        assert_eq!(steps, [(4, &typed), (6, &What::Show("c".into())), (7, &What::Key('C'))]);
        assert_ne!(scenes[0].acts[0].terminal, scenes[1].acts[0].terminal);
    }

    #[test]
    fn what_is_no_scene_is_said() {
        for (text, fault) in [
            ("```console\n# Window 1\n$ a\n```\n", "docs/a.md:1: `# Window 1`"),
            ("```console\n```\n", "empty"),
            ("```console\nout\n```\n", "docs/a.md:2: nothing was typed"),
            (
                "```console\n# Terminal 1\n$ a\n```\n# H\n```console\n# Terminal 1\nb\n```\n",
                "nothing was typed",
            ),
        ] {
            let (_, faults) = scenes(&Page::parse("docs/a.md", text));
            assert!(faults.len() == 1 && faults[0].contains(fault), "{faults:?}");
        }
    }

    #[test]
    fn two_terminals_are_played_in_order() {
        scene(
            "```console\n# Terminal 1\n$ mkfifo f; echo $$; cat f; echo bye\n4711\n```\n\
             ```console\n# Terminal 2\n$ (echo hello; kill -0 4711 && echo world) > f\n```\n\
             ```console\n# Terminal 1\nhello\n…\nbye\n$ (exit 3)\n$ echo $?\n3\n```\n\
             ```console\n# Terminal 2\n$ sleep 1000\n^C\n$ sleep 1000 & sleep 1000\n^Z\n…\n$ kill %1 %2; wait\n…\n```\n",
        )
        .play()
        .expect("all as shown");
    }

    #[test]
    fn a_wrong_word_is_found_and_shown() {
        let fault = fault("Text\n\n```console\n$ echo lost 0\nlost 3\n```\n");
        assert!(
            fault.starts_with("docs/a.md:5: this line did not come:\n  $ echo lost 0\n  lost 3\n"),
            "{fault}"
        );
        assert!(fault.ends_with("```console\n$ echo lost 0\nlost 0\n```\n"), "{fault}");
    }

    #[test]
    fn what_is_not_shown_is_found() {
        for (text, want) in [
            ("```console\n$ echo a; echo b\na\n```\n", ":3: it prints more than is shown"),
            ("```console\n$ echo a\n```\n", ":2: it prints more than is shown"),
            ("```console\n# Terminal 1\n$ echo a; sleep 0.2; echo b\na\n```\n", ":4: it prints more"),
            ("```console\n$ true\na\n```\n", ":3: this line did not come"),
            ("```console\n$ kill -9 4711\n```\n", ":2: `kill -9 4711` names 4711"),
            ("```console\n$ (sleep 100 &)\n```\n", "still running at the section's end: sleep 100"),
            ("```console\n$ touch $XDG_RUNTIME_DIR/x\n```\n", "left behind: /run/user/1000/x"),
        ] {
            let fault = fault(text);
            assert!(fault.contains(want), "{text}{fault}");
        }
        let stays = "```console\n$ touch $XDG_RUNTIME_DIR/x; echo x stays, remove it with: rm /run/user/1000/x\n…\n```\n";
        scene(stays).play().expect("removed");
    }

    #[test]
    fn a_pair_ends_with_0() {
        pair("cargo run --bin pipe-consumer", "cargo run --bin pipe-producer -- --count 1").expect("a pair");
        let fault = pair("true", "(exit 3)").expect_err("a status");
        assert!(fault.starts_with("Terminal 2 ended with 3"), "{fault}");
    }
}
