//! Nothing in the guide can go stale: a test for docs/**/*.md, README.md and the crates' READMEs.
//!
//! Plain Markdown, of which the following is checked.
//!
//! **Excerpts.** A `rust` block is an excerpt. The paragraph before it ends with a link to the source file and a
//! colon: `[crates/x/src/y.rs](../crates/x/src/y.rs):`. Its lines stand in that file next to each other and
//! verbatim, but for a common indentation; a line `// …` stands for lines that are left out.
//!
//! **Scenes.** The `console` blocks of a section, from a heading to the next, are one scene. They are played from top
//! to bottom by real shells, on a [stage] of their own, in a fresh directory with a copy of README.md, docs/, crates/
//! and the manifests.
//!
//! - The first line says where: `# Terminal 1`, 2, 3, … A block without it has a terminal of its own, and is played to
//!   its end before the next begins.
//! - `$ ` begins what is typed; lines that begin with `> ` continue it. It is typed when the command before it in
//!   this terminal has ended and printed what is shown, and nothing else.
//! - The other lines are what comes, standard output and error as they come. A block goes on until all the lines that
//!   it shows have come. A block without `$ ` shows what comes later in that terminal, right behind the lines shown
//!   before.
//! - `^C` is typed as Ctrl-C, once the lines above it have come; so are `^Z` and `^\`. The empty line that the shell
//!   may print then, and what it says about its jobs (`[1]+  Done …`), need not be shown.
//! - `…` is any lines, or any text within a line. What may differ besides is said in [matcher].
//! - At the section's end every command has ended and all its lines are shown (a last line `…` stands for the rest),
//!   no process is left, and nothing in the run-time directory, /dev/shm, /dev/mqueue or System V IPC; what is
//!   meant to stay is removed by the command that its process named behind "remove it with:".
//!
//! **Command lines.** A code span that begins with `cargo run` must be valid. In a table with the columns "Terminal 1"
//! and "Terminal 2" each row is a pair, which is run: both must end with 0.
//!
//! **Links** are relative and exist, with their anchors, or begin with `https://`. Pictures are the repository's own.
//!
//! **Form.** The languages of code blocks are those of [form]: `rust`, `console`, `text` for what is neither, `sh`
//! for commands that the test cannot play (make, git, docker), whose make targets exist. No HTML.
//!
//! **Languages.** docs/ko has the same files as docs, with the same headings by level, the same code blocks, pictures
//! and links. SUMMARY.md lists all of them, for the site.
//!
//! **The map**, docs/README.md, has a table of all 29 concepts; each row names a command, links a section in which
//! that command is typed, and links a source file.
//!
//! For one page while it is being written: `GUIDE=docs/pipe.md cargo test --release -p lab --test guide`, for one
//! section `GUIDE=docs/pipe.md#both-ways`. A failure shows all that came in that scene, ready to be pasted;
//! `GUIDE_SHOW=1 … -- --nocapture scenes` shows it in any case.

mod commands;
mod concepts;
mod excerpt;
mod form;
mod links;
mod matcher;
mod page;
mod scene;
mod stage;
mod twins;

use std::fs;
use std::sync::Mutex;
use std::time::Instant;

use page::{Faults, none, top, wanted, wanted_section};

#[test]
fn every_excerpt_is_what_its_source_says() {
    let read = |path: &str| fs::read_to_string(top().join(path)).ok();
    none(wanted().iter().flat_map(|p| excerpt::faults(p, read)).collect(), "an excerpt is not its source");
}

#[test]
fn every_link_leads_somewhere() {
    let pages = page::all();
    let look = |path: &str| {
        if let Some(page) = pages.iter().find(|p| p.path == path) {
            return Some(links::Place::Page(page.clone()));
        }
        let at = top().join(path);
        let meta = fs::metadata(&at).ok().filter(|_| !path.starts_with(".."))?;
        Some(match fs::read_to_string(&at) {
            _ if meta.is_dir() => links::Place::Directory,
            Ok(text) => links::Place::Text(text.lines().count()),
            Err(_) => links::Place::Other,
        })
    };
    none(wanted().iter().flat_map(|p| links::faults(p, look)).collect(), "a link leads nowhere");
}

#[test]
fn every_code_block_says_what_it_is() {
    let targets = form::targets(&fs::read_to_string(top().join("Makefile")).expect("the Makefile"));
    none(wanted().iter().flat_map(|p| form::faults(p, &targets)).collect(), "out of form");
}

#[test]
fn both_languages_have_the_same() {
    none(twins::faults(&wanted()), "English and Korean differ");
}

#[test]
fn every_page_is_in_the_summary() {
    let pages = page::all();
    let mut faults = Vec::new();
    for summary in pages.iter().filter(|p| p.path.ends_with("/SUMMARY.md")) {
        let listed: Vec<String> = summary.links.iter().map(|l| summary.resolve(&l.target).0).collect();
        let dir = summary.path.trim_end_matches("SUMMARY.md");
        let here = |p: &&page::Page| p.path.strip_prefix(dir).is_some_and(|name| !name.contains('/'));
        let missing =
            pages.iter().filter(here).filter(|p| p.path != summary.path && !listed.contains(&p.path));
        faults.extend(missing.map(|p| format!("{}: it does not list {}", summary.path, p.path)));
    }
    none(faults, "a page is not part of the site");
}

#[test]
fn every_command_line_can_be_typed() {
    let mut faults = Vec::new();
    for (command, places) in commands::commands(&wanted()) {
        faults.extend(commands::fault(&command).map(|f| format!("{}: `{command}`: {f}", places.join(", "))));
    }
    none(faults, "a command line is not valid");
}

#[test]
fn the_map_has_every_concept() {
    let pages = page::all();
    let wanted = wanted();
    let maps = wanted.iter().filter(|p| ["docs/README.md", "docs/ko/README.md"].contains(&p.path.as_str()));
    let maps: Vec<_> = maps.collect();
    let mut faults: Faults = maps.iter().flat_map(|map| concepts::faults(map, &pages)).collect();
    if std::env::var_os("GUIDE").is_none() && maps.len() != 2 {
        faults.push("docs/README.md or docs/ko/README.md is missing".into());
    }
    none(faults, "the map is not whole");
}

#[test]
fn every_scene_is_played() {
    let (mut scenes, mut faults) = (Vec::new(), Vec::new());
    for page in wanted() {
        let (found, wrong) = scene::scenes(&page);
        faults.extend(wrong);
        // The blocks of both languages are the same, which another test sees to.
        if !page.path.starts_with("docs/ko/") {
            let section = wanted_section().map(|s| format!("#{s}"));
            scenes.extend(found.into_iter().filter(|s| section.as_ref().is_none_or(|w| s.name.ends_with(w))));
        }
    }
    assert!(wanted_section().is_none() || !scenes.is_empty(), "there is no scene in that section");
    faults.extend(two_at_a_time(scenes, |scene| {
        let start = Instant::now();
        let played = scene.play();
        let how = if played.is_ok() { "ok" } else { "FAILED" };
        println!("scene {} … {how} ({:.1?})", scene.name, start.elapsed());
        played.err()
    }));
    none(faults, "a scene does not go as shown");
}

#[test]
fn every_pair_in_a_table_runs() {
    let (pairs, mut faults) = commands::pairs(&wanted());
    faults.extend(two_at_a_time(pairs.into_iter().collect(), |([first, second], places)| {
        scene::pair(&first, &second).err().map(|fault| format!("{}: {fault}", places.join(", ")))
    }));
    none(faults, "a pair does not run");
}

/// Does something for all, in two threads: most of a scene is waiting. The faults come in the order of `all`.
fn two_at_a_time<T: Send>(all: Vec<T>, run: impl Fn(T) -> Option<String> + Sync) -> Faults {
    let queue = Mutex::new(all.into_iter().enumerate());
    let faults = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some((i, item)) = queue.lock().expect("the queue").next() else { return };
                    if let Some(fault) = run(item) {
                        faults.lock().expect("faults").push((i, fault));
                    }
                }
            });
        }
    });
    let mut faults = faults.into_inner().expect("faults");
    faults.sort();
    faults.into_iter().map(|(_, fault)| fault).collect()
}
