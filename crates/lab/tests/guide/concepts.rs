//! The map in docs/README.md: the concepts, each with a command that shows it, its place in the guide, its source.

use crate::page::{Faults, Page, Row, Table};

/// How many concepts there are.
const CONCEPTS: usize = 29;

/// All faults of the map's table: its rows are `| number | … | command | chapter | source |`, in any columns.
pub fn faults(map: &Page, pages: &[Page]) -> Faults {
    let is_map = |t: &&Table| t.header.first().is_some_and(|cell| cell.text == "#");
    let tables: Vec<&Table> = map.tables.iter().filter(is_map).collect();
    let [table] = tables[..] else {
        return vec![format!("{}: one table whose first column is # is the map", map.path)];
    };
    let mut faults = Vec::new();
    for (i, row) in table.rows.iter().enumerate() {
        let number = row.cells.first().map_or("", |c| c.text.as_str());
        if number != (i + 1).to_string() {
            faults.push(format!("{}: row {} is numbered {number:?}", map.at(row.line), i + 1));
        }
        faults.extend(row_faults(map, row, pages).into_iter().map(|f| format!("{}: {f}", map.at(row.line))));
    }
    if table.rows.len() != CONCEPTS {
        faults.push(format!("{}: {} of {CONCEPTS} concepts", map.path, table.rows.len()));
    }
    faults
}

fn row_faults(map: &Page, row: &Row, pages: &[Page]) -> Faults {
    let mut faults = Vec::new();
    let links: Vec<(String, Option<String>)> =
        row.cells.iter().flat_map(|c| &c.links).map(|l| map.resolve(l)).collect();
    let commands = row.cells.iter().flat_map(|c| &c.spans).filter(|s| s.starts_with("cargo run "));
    let commands: Vec<&String> = commands.collect();
    if commands.is_empty() {
        faults.push("no command".to_owned());
    }
    if !links.iter().any(|(path, _)| path.ends_with(".rs")) {
        faults.push("no link to a source file".to_owned());
    }
    let mut sections = Vec::new();
    for (path, anchor) in links.iter().filter(|(path, _)| path.ends_with(".md")) {
        let page = pages.iter().find(|p| p.path == *path);
        let section = anchor
            .as_ref()
            .and_then(|a| page?.headings.iter().position(|h| h.anchor == *a))
            .and_then(|at| Some((page?, at)));
        match section {
            Some(section) => sections.push(section),
            None => faults.push(format!("{path} is linked without a section that exists")),
        }
    }
    if sections.is_empty() {
        faults.push("no link to a section of a chapter".to_owned());
    }
    for command in commands {
        let shown = |&(page, at): &(&Page, usize)| {
            // A section goes on to the next heading that is not below its own.
            let level = page.headings[at].level;
            let end = (at + 1..page.headings.len()).find(|i| page.headings[*i].level <= level);
            let end = end.unwrap_or(page.headings.len());
            let blocks = page.blocks.iter().filter(|b| b.section.is_some_and(|s| (at..end).contains(&s)));
            let lines = blocks.filter(|b| b.language == "console").flat_map(|b| &b.lines);
            lines.filter_map(|l| l.strip_prefix("$ ")).any(|typed| typed.contains(command.as_str()))
        };
        if !sections.is_empty() && !sections.iter().any(shown) {
            faults.push(format!("no console block of the section linked to has `{command}`"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: usize, from: &str, to: &str) -> Faults {
        let mut text = "| # | c | w |\n|---|---|---|\n".to_owned();
        for i in 1..=rows {
            let row = format!("| {i} | `cargo run --bin a -- --x` | [b](b.md#s), [f](../f.rs) |\n");
            text += &if i == 2 { row.replace(from, to) } else { row };
        }
        let chapter = "# S\n## T\n```console\n$ cargo run --bin a -- --x 1\n```\n# Other\n```console\n$ cargo run --bin z\n```\n";
        faults(&Page::parse("docs/README.md", &text), &[Page::parse("docs/b.md", chapter)])
    }

    #[test]
    fn the_map_is_whole() {
        assert_eq!(check(29, "", ""), [""; 0]);
        for (rows, from, to, what) in [
            (28, "", "", "28 of 29"),
            (30, "", "", "30 of 29"),
            (29, "| 2 |", "| 3 |", "docs/README.md:4: row 2 is numbered \"3\""),
            (29, "--x", "--y", "no console block"),
            (29, "bin a", "bin z", "no console block"),
            (29, "#s", "#u", "without a section"),
            (29, "#s", "", "without a section"),
            (29, "#s", "#other", "no console block"),
            (29, ", [f](../f.rs)", "", "no link to a source file"),
            (29, "cargo run", "cargo", "no command"),
        ] {
            let faults = check(rows, from, to);
            assert!(faults.iter().any(|f| f.contains(what)), "{from} → {to}: {faults:?}");
        }
        assert!(faults(&Page::parse("docs/README.md", "# Map\n"), &[])[0].contains("one table"));
    }
}
