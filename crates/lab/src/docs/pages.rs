//! The site's pages: where a file of the repository is found in it, and what its page says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use pulldown_cmark::{Event, Options, Parser, Tag};

/// The pages of source files that the guide links to, by the repository's paths.
#[derive(Debug)]
pub struct Sources<'a> {
    top: &'a Path,
    /// Their text as Markdown, in which links lead within the site.
    pub pages: BTreeMap<String, String>,
}

impl<'a> Sources<'a> {
    pub fn new(top: &'a Path) -> Sources<'a> {
        Sources { top, pages: BTreeMap::new() }
    }

    /// The READMEs of all crates, whether a chapter links to them or not.
    pub fn add_readmes(&mut self) -> Result<()> {
        for entry in fs::read_dir(self.top.join("crates"))? {
            let readme = format!("crates/{}/README.md", entry?.file_name().to_string_lossy());
            self.place(&readme)?;
        }
        Ok(())
    }

    /// Markdown whose links lead within the site. The text is that of `path` in the repository, and stands at `at`
    /// in the site. What it links to gets a page.
    pub fn rewritten(&mut self, text: &str, path: &str, at: &str) -> Result<String> {
        let mut rewritten = text.to_owned();
        // From the end, so that the places before stay where they are.
        let events: Vec<_> = Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter().collect();
        for (event, range) in events.into_iter().rev() {
            let (Event::Start(Tag::Link { dest_url, .. }) | Event::Start(Tag::Image { dest_url, .. })) =
                event
            else {
                continue;
            };
            let (target, anchor) = dest_url.split_once('#').unwrap_or((&dest_url, ""));
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let Some(place) = self.place(&resolved(path, target))? else { continue };
            let mut link = relative(at, &place);
            // What is in the other book is no Markdown of this one.
            if at.starts_with("ko/") != place.starts_with("ko/")
                && let Some(page) = link.strip_suffix(".md")
            {
                link = format!("{page}.html");
            }
            // A line of a source file has no anchor in its page.
            if !anchor.is_empty() && (!place.starts_with("source/") || target.ends_with(".md")) {
                link += &format!("#{anchor}");
            }
            let from = text[range.clone()].rfind(&format!("]({dest_url})"));
            let from = range.start + 2 + from.context("links are written [text](target)")?;
            rewritten.replace_range(from..from + dest_url.len(), &link);
        }
        Ok(rewritten)
    }

    /// Where in the site a file or directory of the repository is found. It gets a page if it has none.
    fn place(&mut self, path: &str) -> Result<Option<String>> {
        if let Some(name) = path.strip_prefix("docs/") {
            return Ok(Some(match name.strip_suffix("README.md") {
                Some(dir) => format!("{dir}index.md"),
                None => name.to_owned(),
            }));
        }
        let at = self.top.join(path);
        let readme = if path.is_empty() { "README.md".to_owned() } else { format!("{path}/README.md") };
        if at.is_dir() && self.top.join(&readme).is_file() {
            return self.place(&readme);
        }
        if !at.exists() {
            return Ok(None);
        }
        let place = place_of_source(path);
        if !self.pages.contains_key(path) {
            // Before its text is there: its links may lead back to it.
            self.pages.insert(path.to_owned(), String::new());
            let page = if at.is_dir() { self.listing(path)? } else { self.page(path, &place)? };
            self.pages.insert(path.to_owned(), page);
        }
        Ok(Some(place))
    }

    fn page(&mut self, path: &str, place: &str) -> Result<String> {
        let text = fs::read_to_string(self.top.join(path)).with_context(|| format!("read {path}"))?;
        if path.ends_with(".md") {
            return self.rewritten(&text, path, place);
        }
        let language = match Path::new(path).extension().and_then(|e| e.to_str()) {
            Some("rs") => "rust",
            Some("toml") => "toml",
            _ => "text",
        };
        // Longer than any fence in the text.
        let fence = "`".repeat(3 + text.lines().map(|l| l.matches('`').count()).max().unwrap_or(0));
        Ok(format!("# {path}\n\n{fence}{language}\n{}\n{fence}\n", text.trim_end()))
    }

    /// A directory: what lies in it.
    fn listing(&mut self, path: &str) -> Result<String> {
        let (mut files, mut dirs) = (Vec::new(), vec![path.to_owned()]);
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(self.top.join(&dir)).with_context(|| format!("read {dir}"))? {
                let entry = entry?;
                let name = format!("{dir}/{}", entry.file_name().to_string_lossy());
                if entry.path().is_dir() { dirs.push(name) } else { files.push(name) }
            }
        }
        files.sort();
        let mut list = format!("# {path}\n\n");
        for file in files {
            let Some(place) = self.place(&file)? else { continue };
            let link = relative(&place_of_source(path), &place);
            list += &format!("- [{}]({link})\n", &file[path.len() + 1..]);
        }
        Ok(list)
    }
}

/// The page of a source file: `source/crates/pipe-demo/src/frame.rs.md`.
pub fn place_of_source(path: &str) -> String {
    match path.strip_suffix("README.md") {
        Some(dir) => format!("source/{dir}readme.md"),
        // mdBook cuts a link off at the first `.md`.
        None => format!("source/{}.md", path.strip_suffix(".md").unwrap_or(path)),
    }
}

/// The link from one place of the site to another.
fn relative(from: &str, to: &str) -> String {
    let [from, to] = [from, to].map(|path| path.split('/').collect::<Vec<_>>());
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    // A page has a directory in common with itself, and no more.
    let shared = shared.min(from.len() - 1).min(to.len() - 1);
    "../".repeat(from.len() - 1 - shared) + &to[shared..].join("/")
}

/// The path that a link in the file `from` leads to.
fn resolved(from: &str, link: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for (path, text) in [
            ("README.md", "[p](crates/p) [d](docs/a.md)\n"),
            (
                "crates/p/README.md",
                "# p\n\n[f](src/f.rs) [bin](src/bin/) ![i](../../docs/images/i.svg) [up](../../README.md)\n",
            ),
            ("crates/p/src/f.rs", "//! ```text\n//! x\n//! ```\nfn f() {}\n"),
            ("crates/p/src/bin/a/main.rs", "fn main() {}\n"),
            ("crates/p/src/bin/b.rs", "fn main() {}\n"),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a directory")).expect("mkdir");
            fs::write(path, text).expect("write");
        }
        dir
    }

    #[test]
    fn what_is_linked_gets_a_page() {
        let top = workspace();
        let mut sources = Sources::new(top.path());
        let text = "[`f`](../crates/p/src/f.rs#L3) and [x](#x), [b](b.md#y), [m](README.md)\n\n```text\n[no](../crates/p)\n```\n\n\
                    | [p](../crates/p/) | [m](https://man7.org/) | ![i](images/i.svg) | [gone](../crates/q) |\n|---|---|---|---|\n";
        let rewritten = sources.rewritten(text, "docs/a.md", "a.md").expect("rewritten");
        assert_eq!(
            rewritten,
            "[`f`](source/crates/p/src/f.rs.md) and [x](#x), [b](b.md#y), [m](index.md)\n\n```text\n[no](../crates/p)\n```\n\n\
             | [p](source/crates/p/readme.md) | [m](https://man7.org/) | ![i](images/i.svg) | [gone](../crates/q) |\n|---|---|---|---|\n"
        );
        let pages: Vec<_> = sources.pages.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let main = |path: &str| format!("# {path}\n\n```rust\nfn main() {{}}\n```\n");
        let (a, b) = (main("crates/p/src/bin/a/main.rs"), main("crates/p/src/bin/b.rs"));
        assert_eq!(
            pages,
            [
                ("README.md", "[p](crates/p/readme.md) [d](../a.md)\n"),
                (
                    "crates/p/README.md",
                    "# p\n\n[f](src/f.rs.md) [bin](src/bin.md) ![i](../../../images/i.svg) [up](../../readme.md)\n"
                ),
                (
                    "crates/p/src/bin",
                    "# crates/p/src/bin\n\n- [a/main.rs](bin/a/main.rs.md)\n- [b.rs](bin/b.rs.md)\n"
                ),
                ("crates/p/src/bin/a/main.rs", &a),
                ("crates/p/src/bin/b.rs", &b),
                (
                    "crates/p/src/f.rs",
                    "# crates/p/src/f.rs\n\n``````rust\n//! ```text\n//! x\n//! ```\nfn f() {}\n``````\n"
                ),
            ]
        );
    }

    #[test]
    fn the_other_book_links_to_the_same_pages() {
        let top = workspace();
        let mut sources = Sources::new(top.path());
        let text = "[f](../../crates/p/src/f.rs), [b](b.md#c), ![i](../images/i.svg), [en](../a.md)";
        assert_eq!(
            sources.rewritten(text, "docs/ko/a.md", "ko/a.md").expect("rewritten"),
            "[f](../source/crates/p/src/f.rs.html), [b](b.md#c), ![i](../images/i.svg), [en](../a.html)"
        );
    }
}
