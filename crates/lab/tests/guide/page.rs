//! A page of the guide, taken apart: headings, code blocks, links, pictures, code spans, tables.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// What was found wrong: where, and what.
pub type Faults = Vec<String>;

#[derive(Clone, Debug)]
pub struct Heading {
    pub level: u8,
    pub anchor: String,
    pub line: usize,
}

#[derive(Clone, Debug)]
pub struct Block {
    pub language: String,
    /// Its lines, without the fences.
    pub lines: Vec<String>,
    /// The line of the opening fence: the first of `lines` is the next.
    pub line: usize,
    /// The target of the link with which the paragraph before it ends, if it does and a colon follows.
    pub source: Option<String>,
    /// The index of the heading above it, if there is one.
    pub section: Option<usize>,
}

#[derive(Clone, Debug)]
pub struct Link {
    pub target: String,
    pub is_picture: bool,
    pub line: usize,
}

#[derive(Clone, Debug, Default)]
pub struct Cell {
    pub text: String,
    /// The code spans in it.
    pub spans: Vec<String>,
    /// The targets of the links in it.
    pub links: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Row {
    pub cells: Vec<Cell>,
    pub line: usize,
}

#[derive(Clone, Debug, Default)]
pub struct Table {
    pub header: Vec<Cell>,
    pub rows: Vec<Row>,
}

/// One Markdown file.
#[derive(Clone, Debug)]
pub struct Page {
    /// From the repository's top: `docs/pipe.md`.
    pub path: String,
    pub headings: Vec<Heading>,
    pub blocks: Vec<Block>,
    pub links: Vec<Link>,
    /// Code spans in running text, and their lines.
    pub spans: Vec<(String, usize)>,
    pub tables: Vec<Table>,
    /// Lines at which HTML stands, which a forge and the site may show differently.
    pub html: Vec<usize>,
    /// Lines at which an asterisk stands in running text: one that was to emphasise, and does not.
    pub asterisks: Vec<usize>,
}

impl Page {
    pub fn parse(path: &str, text: &str) -> Page {
        let mut page = Page {
            path: path.to_owned(),
            headings: Vec::new(),
            blocks: Vec::new(),
            links: Vec::new(),
            spans: Vec::new(),
            tables: Vec::new(),
            html: Vec::new(),
            asterisks: Vec::new(),
        };
        let line_of = |at: usize| 1 + text[..at].matches('\n').count();
        // What stands open: a heading's or cell's text, a block's, the last link of a paragraph.
        let mut words: Option<String> = None;
        let mut block: Option<Block> = None;
        let mut cell: Option<Cell> = None;
        let mut cells: Vec<Cell> = Vec::new();
        let (mut last_link, mut after_link, mut source) = (None, String::new(), None);
        for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            let line = line_of(range.start);
            match event {
                Event::Start(Tag::Heading { .. }) => words = Some(String::new()),
                Event::End(TagEnd::Heading(level)) => {
                    let text = words.take().unwrap_or_default();
                    page.headings.push(Heading { level: level_of(level), anchor: anchor(&text), line });
                    source = None;
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let language = match kind {
                        CodeBlockKind::Fenced(language) => language.to_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    block = Some(Block {
                        language,
                        lines: Vec::new(),
                        line,
                        source: source.take(),
                        section: page.headings.len().checked_sub(1),
                    });
                }
                Event::End(TagEnd::CodeBlock) => page.blocks.extend(block.take()),
                Event::Start(Tag::Link { dest_url, .. }) => {
                    page.links.push(Link { target: dest_url.to_string(), is_picture: false, line });
                    if let Some(cell) = &mut cell {
                        cell.links.push(dest_url.to_string());
                    }
                    last_link = Some(dest_url.to_string());
                }
                Event::End(TagEnd::Link) => after_link.clear(),
                Event::Start(Tag::Image { dest_url, .. }) => {
                    page.links.push(Link { target: dest_url.to_string(), is_picture: true, line });
                }
                Event::Start(Tag::Paragraph) => (last_link, source) = (None, None),
                Event::End(TagEnd::Paragraph) => {
                    source = last_link.take().filter(|_| after_link == ":");
                }
                Event::Start(Tag::Table(_)) => page.tables.push(Table::default()),
                Event::Start(Tag::TableCell) => cell = Some(Cell::default()),
                Event::End(TagEnd::TableCell) => cells.extend(cell.take()),
                Event::End(TagEnd::TableHead) => {
                    page.tables.last_mut().expect("a table").header = std::mem::take(&mut cells);
                }
                Event::End(TagEnd::TableRow) => {
                    let row = Row { cells: std::mem::take(&mut cells), line };
                    page.tables.last_mut().expect("a table").rows.push(row);
                }
                Event::Text(text) => match &mut block {
                    Some(block) => block.lines.extend(text.lines().map(String::from)),
                    None => {
                        if text.contains('*') && page.asterisks.last() != Some(&line) {
                            page.asterisks.push(line);
                        }
                        after_link.push_str(&text);
                        if let Some(words) = &mut words {
                            words.push_str(&text);
                        }
                        if let Some(cell) = &mut cell {
                            cell.text.push_str(&text);
                        }
                    }
                },
                Event::Code(code) => {
                    after_link.push_str(&code);
                    page.spans.push((code.to_string(), line));
                    if let Some(words) = &mut words {
                        words.push_str(&code);
                    }
                    if let Some(cell) = &mut cell {
                        cell.text.push_str(&code);
                        cell.spans.push(code.to_string());
                    }
                }
                Event::SoftBreak | Event::HardBreak => after_link.push(' '),
                Event::Html(_) | Event::InlineHtml(_) => page.html.push(line),
                _ => {}
            }
        }
        number_anchors(&mut page.headings);
        page
    }

    /// `docs/pipe.md:12`, for a message.
    pub fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path)
    }

    /// The repository's path that a relative link leads to, and its anchor.
    pub fn resolve(&self, target: &str) -> (String, Option<String>) {
        let (path, anchor) = match target.split_once('#') {
            Some((path, anchor)) => (path, Some(anchor.to_owned())),
            None => (target, None),
        };
        if path.is_empty() {
            return (self.path.clone(), anchor);
        }
        let mut parts: Vec<&str> = self.path.split('/').collect();
        parts.pop();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                // Above the top there is nothing: keep it, so that it is not found.
                ".." if parts.last().is_some_and(|p| *p != "..") => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        (parts.join("/"), anchor)
    }
}

fn level_of(level: HeadingLevel) -> u8 {
    level as u8
}

/// GitHub's rule: lower case, spaces become hyphens, everything but letters, digits, `-` and `_` is dropped.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The second heading of one name is `name-1`, the third `name-2`.
fn number_anchors(headings: &mut [Heading]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for heading in headings {
        let count = seen.entry(heading.anchor.clone()).or_default();
        *count += 1;
        if *count > 1 {
            heading.anchor += &format!("-{}", *count - 1);
        }
    }
}

/// The repository's top.
pub fn top() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("crates/lab is two below it").to_owned()
}

/// All pages that are the guide: `docs/**/*.md`, README.md and the crates' READMEs, in order.
pub fn all() -> Vec<Page> {
    let (mut paths, mut dirs) = (vec![top().join("README.md")], vec![top().join("docs")]);
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(&dir).expect("docs").map(|e| e.expect("an entry").path()) {
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                paths.push(path);
            }
        }
    }
    let crates = fs::read_dir(top().join("crates")).expect("crates/");
    paths.extend(crates.map(|e| e.expect("an entry").path().join("README.md")).filter(|p| p.is_file()));
    paths.sort();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("a page in UTF-8");
        let path = path.strip_prefix(top()).expect("below the top").to_str().expect("UTF-8");
        Page::parse(path, &text)
    };
    paths.iter().map(read).collect()
}

/// The pages that `$GUIDE` asks for, or all: `docs/pipe.md` with `docs/ko/pipe.md`. After a `#` it may name a
/// section, of which only the scenes are played.
pub fn wanted() -> Vec<Page> {
    let Ok(guide) = std::env::var("GUIDE") else { return all() };
    let path = guide.split('#').next().unwrap_or_default().replace("docs/ko/", "docs/");
    let pages: Vec<_> = all().into_iter().filter(|p| p.path.replace("docs/ko/", "docs/") == path).collect();
    assert!(!pages.is_empty(), "GUIDE={guide}: there is no such page");
    pages
}

/// The anchor that `$GUIDE` names.
pub fn wanted_section() -> Option<String> {
    std::env::var("GUIDE").ok()?.split_once('#').map(|(_, anchor)| anchor.to_owned())
}

/// Fails with all faults, not only the first.
#[track_caller]
pub fn none(faults: Faults, rule: &str) {
    assert!(faults.is_empty(), "{} × {rule}:\n\n{}\n", faults.len(), faults.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_taken_apart() {
        let text = "# One `two`\n\nText `a b` and [l](x.md#y).\n\nSee [f](../f.rs):\n\n```rust\nfn x() {\n\n}\n```\n\n\
                    ![p](p.svg)\n\n## One two\n\n| a | `b` |\n|---|---|\n| c `d` | [e](g) |\n\n- in\n\n  ```sh\n  ls\n  ```\n";
        let page = Page::parse("docs/a.md", text);
        let headings: Vec<_> = page.headings.iter().map(|h| (h.level, h.anchor.as_str(), h.line)).collect();
        assert_eq!(headings, [(1, "one-two", 1), (2, "one-two-1", 15)]);
        let blocks: Vec<_> = page.blocks.iter().map(|b| (b.language.as_str(), b.line, b.section)).collect();
        assert_eq!(blocks, [("rust", 7, Some(0)), ("sh", 23, Some(1))]);
        assert_eq!(page.blocks[0].lines, ["fn x() {", "", "}"]);
        assert_eq!(page.blocks[0].source.as_deref(), Some("../f.rs"));
        assert_eq!(page.blocks[1].lines, ["ls"]);
        let links: Vec<_> = page.links.iter().map(|l| (l.target.as_str(), l.is_picture, l.line)).collect();
        assert_eq!(
            links,
            [("x.md#y", false, 3), ("../f.rs", false, 5), ("p.svg", true, 13), ("g", false, 19)]
        );
        assert_eq!(page.spans[1], ("a b".to_owned(), 3));
        assert_eq!(page.tables[0].header[1].text, "b");
        assert_eq!(page.tables[0].rows[0].cells[0].spans, ["d"]);
    }

    #[test]
    fn a_source_is_a_link_at_the_end_of_the_paragraph_before() {
        for (text, source) in [
            ("[f](f.rs):\n\n```rust\n```\n", Some("f.rs")),
            ("It is in [f](f.rs):\n```rust\n```\n", Some("f.rs")),
            ("[f](f.rs)\n\n```rust\n```\n", None),
            ("[f](f.rs), which is:\n\n```rust\n```\n", None),
            ("[f](f.rs):\n\nWords.\n\n```rust\n```\n", None),
            ("[f](f.rs):\n\n# Heading\n\n```rust\n```\n", None),
        ] {
            assert_eq!(Page::parse("a.md", text).blocks[0].source.as_deref(), source, "{text}");
        }
    }

    #[test]
    fn anchors_are_githubs() {
        for (heading, want) in [
            ("Run it", "run-it"),
            ("read() and write(): who waits?", "read-and-write-who-waits"),
            ("--sync none", "--sync-none"),
            ("실행해 보기", "실행해-보기"),
            ("값 (EOF), 끝", "값-eof-끝"),
            ("A_b — c", "a_b--c"),
        ] {
            assert_eq!(anchor(heading), want);
        }
    }

    #[test]
    fn links_resolve_from_the_page() {
        let page = Page::parse("docs/ko/a.md", "");
        assert_eq!(page.resolve("#x"), ("docs/ko/a.md".into(), Some("x".into())));
        assert_eq!(page.resolve("../../crates/a/src/"), ("crates/a/src".into(), None));
        assert_eq!(page.resolve("./b.md#c"), ("docs/ko/b.md".into(), Some("c".into())));
        assert_eq!(page.resolve("../../../x").0, "../x");
    }
}
