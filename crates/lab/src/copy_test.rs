//! `ipc-lab copy-test`: does what each README's section `## Copy it` says, and nothing more.
//!
//! ```text
//! - **FIFO**: `src/frame.rs`, `src/fifo.rs`, `../common/src/place.rs`;
//!   dependencies: `nix` (`fs`, `poll`); example: `examples/fifo.rs`
//! ```
//!
//! For each such entry: a fresh package with these files and dependencies only, built without the network,
//! whose example must end with 0. What a file needs and the README does not name fails the build.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use console::Style;

use crate::cast::{Cast, Event};
use crate::play::{say, show};
use crate::stage::private_dir;
use crate::stop::Stopped;

/// A build without the network takes seconds, an example less.
const LIMIT: Duration = Duration::from_secs(120);

/// What a README names for one thing to copy.
#[derive(Debug, Default, PartialEq, Eq)]
struct Entry {
    title: String,
    files: Vec<String>,
    /// Crates, with their features.
    dependencies: Vec<(String, Vec<String>)>,
    example: String,
}

/// Copies what the READMEs of these crates (none: of all demo crates) name: whether all of it runs.
pub fn copy_test(crates: &[String]) -> Result<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("find the workspace")?;
    let mut all: Vec<_> = fs::read_dir(root.join("crates"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    all.retain(|name| name.ends_with("-demo") && (crates.is_empty() || crates.contains(name)));
    ensure!(all.len() >= crates.len() && !all.is_empty(), "no such demo crate in {}", root.display());
    all.sort();
    // In this build's own target directory, so that `cargo clean` finds the copies, and so can a reader.
    let itself = std::env::current_exe()?;
    let target = itself.ancestors().nth(2).context("find the target directory")?.join("copy-test");
    let mut good = true;
    for name in &all {
        let readme = root.join("crates").join(name).join("README.md");
        let text = fs::read_to_string(&readme).unwrap_or_default();
        let entries = entries(&text);
        if entries.is_empty() {
            good = false;
            say(
                &Style::new().red(),
                "✗ ",
                &format!("{name}: no entries below \"## Copy it\" in its README.md"),
            )?;
        }
        for (i, entry) in entries.iter().enumerate() {
            let what = format!("{name}: {} ({} files)", entry.title, entry.files.len());
            match try_copy(root, name, entry, &target.join(format!("{name}-{i}"))) {
                Ok(()) => say(&Style::new().green(), "✓ ", &what)?,
                Err(e) if e.is::<Stopped>() => return Err(e),
                Err(e) => {
                    good = false;
                    say(&Style::new().red(), "✗ ", &what)?;
                    show(&format!("{e:#}\n"))?;
                }
            }
        }
    }
    Ok(good)
}

/// The entries of the section `## Copy it`.
fn entries(readme: &str) -> Vec<Entry> {
    let section =
        readme.lines().skip_while(|l| *l != "## Copy it").skip(1).take_while(|l| !l.starts_with('#'));
    let mut texts: Vec<String> = Vec::new();
    let mut open = false;
    for line in section {
        if line.starts_with("- **") {
            texts.push(String::new());
            open = true;
        }
        open &= !line.is_empty();
        if open && let Some(text) = texts.last_mut() {
            text.push_str(line);
            text.push(' ');
        }
    }
    texts.iter().map(|t| entry(t)).collect()
}

/// Every second piece between backticks is a name; the words between say what it names.
fn entry(text: &str) -> Entry {
    let mut entry = Entry::default();
    let mut part = "files:";
    let mut in_parentheses = false;
    for (i, piece) in text.split('`').enumerate() {
        if i == 0 {
            entry.title = piece.split("**").nth(1).unwrap_or_default().to_owned();
        }
        if i % 2 == 0 {
            let named = ["dependencies:", "example:"].into_iter().filter(|p| piece.contains(p));
            part = named.max_by_key(|p| piece.rfind(p)).unwrap_or(part);
            in_parentheses = (in_parentheses || piece.contains('(')) && !piece.contains(')');
            continue;
        }
        let name = piece.to_owned();
        match (part, entry.dependencies.last_mut()) {
            ("files:", _) => entry.files.push(name),
            ("example:", _) => entry.example = name,
            (_, Some((_, features))) if in_parentheses => features.push(name),
            _ => entry.dependencies.push((name, Vec::new())),
        }
    }
    entry
}

/// Makes the copy in `dir`, builds it and runs its example.
fn try_copy(root: &Path, package: &str, entry: &Entry, dir: &Path) -> Result<()> {
    ensure!(!entry.files.is_empty() && !entry.example.is_empty(), "the README names no files or no example");
    let source = dir.join("src");
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(&source).with_context(|| format!("make {}", source.display()))?;
    let (mut modules, mut library) = (Vec::new(), None);
    for file in &entry.files {
        let text = read(&root.join("crates").join(package).join(file))?;
        let text = text.replace("common::place", "crate::place").replace("socket_demo::", "crate::");
        let stem = Path::new(file).file_stem().context("a file's name")?.to_string_lossy().into_owned();
        if file == "src/lib.rs" {
            library = Some(text);
            continue;
        }
        ensure!(!modules.contains(&stem), "two files are called {stem}.rs");
        fs::write(source.join(format!("{stem}.rs")), text)?;
        modules.push(stem);
    }
    let declarations = |of: &[String]| of.iter().map(|m| format!("pub mod {m};\n")).collect::<String>();
    let library = match library {
        None => declarations(&modules),
        Some(text) => {
            modules.retain(|m| !text.contains(&format!("mod {m};")));
            text + &declarations(&modules)
        }
    };
    fs::write(source.join("lib.rs"), library)?;
    let itself = package.replace('-', "_");
    let example = read(&root.join("crates").join(package).join(&entry.example))?;
    let example = example.replace("common::place", &format!("{itself}::place"));
    fs::write(source.join("main.rs"), example.replace("socket_demo::", &format!("{itself}::")))?;
    fs::write(dir.join("Cargo.toml"), manifest(root, package, entry)?)?;
    fs::copy(root.join("Cargo.lock"), dir.join("Cargo.lock"))?;

    // One for all: they share what they depend on.
    let target = dir.with_file_name("target");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--offline", "--quiet"]).current_dir(dir).env("CARGO_TARGET_DIR", &target);
    run(cargo).context("build the copy")?;
    let place = private_dir()?;
    let mut example = Command::new(target.join("debug").join(package));
    example.env("XDG_RUNTIME_DIR", place.path()).current_dir(dir);
    run(example).with_context(|| format!("run {}", entry.example))?;
    let left: Vec<_> = fs::read_dir(&place)?.flatten().map(|e| e.file_name()).collect();
    ensure!(left.is_empty(), "{} left {left:?} behind", entry.example);
    Ok(())
}

/// The copy's Cargo.toml: the versions are the workspace's, the dependencies and features the README's.
fn manifest(root: &Path, package: &str, entry: &Entry) -> Result<String> {
    let workspace = read(&root.join("Cargo.toml"))?;
    let versions = workspace.split("[workspace.dependencies]").nth(1).context("[workspace.dependencies]")?;
    // Those of the workspace itself have a path: a copy has no need of them.
    let versions: String = versions
        .lines()
        .skip(1)
        .take_while(|l| !l.starts_with('['))
        .filter(|l| !l.contains("path ="))
        .fold(String::new(), |all, line| all + line + "\n");
    let dependencies: String = entry
        .dependencies
        .iter()
        .map(|(name, features)| format!("{name} = {{ workspace = true, features = {features:?} }}\n"))
        .collect();
    Ok(format!(
        "[package]\nname = \"{package}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\n{dependencies}\n[workspace]\n\n[workspace.dependencies]\n{versions}"
    ))
}

/// Runs a command to its end; fails with what it printed.
fn run(command: Command) -> Result<()> {
    let mut cast = Cast::new(LIMIT);
    cast.start(command)?;
    let mut lines = Vec::new();
    while let Some(event) = cast.next()? {
        match event {
            Event::Line { text, .. } => lines.push(text),
            Event::End { status: 0, .. } => return Ok(()),
            Event::End { status, .. } => bail!("it ended with {status}:\n{}", lines.join("\n")),
            Event::Quiet => {}
        }
    }
    bail!("it did not end")
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_names_files_dependencies_and_an_example() {
        let readme = "# x\n- **No**: `no.rs`\n## Copy it\nWrite `crate::place`.\n\n\
                      - **FIFO**: `src/frame.rs`, `../common/src/place.rs`;\n  dependencies: `nix` (`fs`,\n  \
                      `poll`), `libc`; example: `examples/fifo.rs`\n- **Frames**: `src/frame.rs`; dependencies: \
                      none; example: `examples/f.rs`\n\nMore `words`.\n## Next\n- **No**: `no.rs`\n";
        let names = |all: &[&str]| all.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        let fifo = Entry {
            title: "FIFO".into(),
            files: names(&["src/frame.rs", "../common/src/place.rs"]),
            dependencies: vec![("nix".into(), names(&["fs", "poll"])), ("libc".into(), vec![])],
            example: "examples/fifo.rs".into(),
        };
        let frames = Entry {
            title: "Frames".into(),
            files: names(&["src/frame.rs"]),
            dependencies: vec![],
            example: "examples/f.rs".into(),
        };
        assert_eq!(entries(readme), [fifo, frames]);
    }
}
