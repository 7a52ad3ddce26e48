//! Excerpts: what a page shows of a source file is what stands there.

use crate::page::{Block, Faults, Page};

/// Stands for lines that an excerpt leaves out.
const LEFT_OUT: &str = "// …";

/// All faults in a page's excerpts. `read` is the text of a file of the repository.
pub fn faults(page: &Page, read: impl Fn(&str) -> Option<String>) -> Faults {
    let mut faults = Vec::new();
    for block in page.blocks.iter().filter(|b| b.language == "rust") {
        let at = page.at(block.line);
        let Some(target) = &block.source else {
            faults.push(format!(
                "{at}: the paragraph before an excerpt ends with a link to its source and a colon"
            ));
            continue;
        };
        let (path, _) = page.resolve(target);
        match read(&path) {
            None => faults.push(format!("{at}: there is no {path}")),
            Some(source) => faults.extend(fault(page, block, &path, &source)),
        }
    }
    faults
}

/// The first line of an excerpt that is not in its source, or not where it should be.
fn fault(page: &Page, block: &Block, path: &str, source: &str) -> Option<String> {
    let source: Vec<&str> = source.lines().map(str::trim_end).collect();
    let excerpt = dedented(&block.lines);
    let mut from = 0;
    let mut at = 0;
    for piece in excerpt.split(|l| l.trim() == LEFT_OUT) {
        let first = page.at(block.line + 1 + at);
        at += piece.len() + 1;
        if piece.iter().all(|l| l.is_empty()) {
            continue;
        }
        let found = (from..source.len()).find(|&start| {
            let end = start + piece.len();
            end <= source.len() && same(piece, &source[start..end])
        });
        match found {
            Some(start) => from = start + piece.len(),
            None => {
                let known = |l: &&String| !source.iter().any(|s| s.trim() == l.trim());
                let what = match piece.iter().find(known) {
                    Some(line) => format!("it does not contain this line:\n  {line}"),
                    None => format!(
                        "these lines are not there in this order, next to each other, below what the excerpt \
                         shows before:\n  {}",
                        piece.join("\n  ")
                    ),
                };
                return Some(format!("{first}: not an excerpt of {path}: {what}"));
            }
        }
    }
    None
}

/// Whether an excerpt's lines are the source's, but for an indentation that all of them lack.
fn same(piece: &[String], source: &[&str]) -> bool {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let by = piece.iter().zip(source).find(|(p, _)| !p.is_empty());
    let by = by.map_or(0, |(p, s)| indent(s).saturating_sub(indent(p)));
    piece.iter().zip(source).all(|(p, s)| match p.as_str() {
        "" => s.is_empty(),
        p => s.len() >= by && s.is_char_boundary(by) && s[..by].trim().is_empty() && s[by..] == *p,
    })
}

/// Without trailing space; the pieces of one excerpt may be indented differently in their source.
fn dedented(lines: &[String]) -> Vec<String> {
    lines.iter().map(|l| l.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "//! A file.\n\nfn a() {\n    one();\n\n    if x {\n        two();\n    }\n}\n\nfn b() {\n    one();\n}\n";

    fn check(excerpt: &str) -> Faults {
        let text = format!("[f](../crates/f.rs):\n\n```rust\n{excerpt}\n```\n");
        let page = Page::parse("docs/a.md", &text);
        faults(&page, |path| (path == "crates/f.rs").then(|| SOURCE.to_owned()))
    }

    #[test]
    fn lines_of_the_source_are_an_excerpt() {
        for excerpt in [
            "fn a() {\n    one();",
            "one();\n\nif x {\n    two();\n}",
            "fn a() {\n    // …\n        two();\n    // …\nfn b() {",
            "fn a() {\n// …\n}",
            "if x {\n    two();\n// …\none();",
            "//! A file.\n// …",
        ] {
            assert_eq!(check(excerpt), [""; 0], "{excerpt}");
        }
    }

    #[test]
    fn a_changed_word_is_found() {
        for (excerpt, what) in [
            (
                "fn a() {\n    ones();",
                "docs/a.md:4: not an excerpt of crates/f.rs: it does not contain this line:\n      ones();",
            ),
            ("fn a() {\n    two();", "not there in this order"),
            ("fn b() {\n// …\nfn a() {", "docs/a.md:6: not an excerpt of crates/f.rs: these lines"),
            ("fn a() {\n        one();", "not there"),
            ("if x {\ntwo();\n}", "not there"),
            ("one();\nif x {", "not there"),
            ("fn a() { one();", "does not contain"),
        ] {
            let faults = check(excerpt);
            assert!(faults.len() == 1 && faults[0].contains(what), "{excerpt}: {faults:?}");
        }
    }

    #[test]
    fn an_excerpt_names_its_source() {
        let page = Page::parse("docs/a.md", "Words.\n\n```rust\nfn a() {\n```\n");
        assert!(faults(&page, |_| None)[0].starts_with("docs/a.md:3: the paragraph before"));
        let page = Page::parse("docs/a.md", "[f](g.rs):\n\n```rust\nfn a() {\n```\n");
        assert_eq!(faults(&page, |_| None), ["docs/a.md:3: there is no docs/g.rs"]);
    }
}
