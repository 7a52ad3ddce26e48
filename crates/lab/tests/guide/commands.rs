//! Command lines in running text: each can be typed.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use crate::page::{Faults, Page};
use crate::stage::binaries;

/// The code spans that claim to be commands, each with all places where it stands.
pub fn commands(pages: &[Page]) -> BTreeMap<String, Vec<String>> {
    let mut commands = BTreeMap::<String, Vec<String>>::new();
    for page in pages {
        for (span, line) in page.spans.iter().filter(|(span, _)| span.starts_with("cargo run ")) {
            commands.entry(span.clone()).or_default().push(page.at(*line));
        }
    }
    commands
}

/// What is wrong with a command line, which is tried with `--help`: that is answered after all that stands before
/// was understood.
pub fn fault(command: &str) -> Option<String> {
    // Each process of "… & …" and "… | …" is tried by itself.
    let parts = command.split([';', '&', '|', '>']);
    parts.map(str::trim).filter(|part| part.starts_with("cargo run ")).find_map(fault_in)
}

fn fault_in(command: &str) -> Option<String> {
    let words = match words(command) {
        Ok(words) => words,
        Err(fault) => return Some(fault),
    };
    let mut words = words.into_iter().skip(2).peekable();
    while words.next_if(|w| ["--release", "--quiet", "-q"].contains(&w.as_str())).is_some() {}
    let (Some("--bin"), Some(name)) = (words.next().as_deref(), words.next()) else {
        return Some("it is written `cargo run --bin NAME -- ARGUMENTS`".into());
    };
    match words.next().as_deref() {
        None | Some("--") => {}
        Some(word) => return Some(format!("cargo would take {word} for itself: write `--` before it")),
    }
    let binary = binaries().join(&name);
    if !binary.is_file() {
        return Some(format!("there is no binary {name}"));
    }
    let output = Command::new(binary).args(words).arg("--help").stdin(Stdio::null()).output();
    let output = output.expect("run a binary");
    let said = String::from_utf8_lossy(&output.stderr);
    (!output.status.success()).then(|| said.trim().to_owned())
}

/// The words of a command line, as a shell would take it apart that knows quotes but nothing to expand.
fn words(command: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in command.chars() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (' ', None) => words.extend(word.take()),
            ('$' | '`' | '…' | '*' | '(' | '<', None) => return Err(format!("{c} cannot be checked here")),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is open".into());
    }
    words.extend(word);
    Ok(words)
}

/// Rows of tables with "Terminal 1" and "Terminal 2" at the top: the two commands, each with all places.
pub fn pairs(pages: &[Page]) -> (BTreeMap<[String; 2], Vec<String>>, Faults) {
    let (mut pairs, mut faults) = (BTreeMap::<[String; 2], Vec<String>>::new(), Vec::new());
    for page in pages {
        for table in &page.tables {
            let column = |title: &str| table.header.iter().position(|cell| cell.text == title);
            // "터미널" in Korean.
            let find = |n: u8| column(&format!("Terminal {n}")).or_else(|| column(&format!("터미널 {n}")));
            let (Some(first), Some(second)) = (find(1), find(2)) else { continue };
            for row in &table.rows {
                let command = |i: usize| match row.cells.get(i).map(|c| (c.spans.as_slice(), &c.text)) {
                    Some(([span], text)) if span == text => Some(span.clone()),
                    _ => None,
                };
                match (command(first), command(second)) {
                    (Some(a), Some(b)) => pairs.entry([a, b]).or_default().push(page.at(row.line)),
                    _ => faults.push(format!("{}: each terminal has one command", page.at(row.line))),
                }
            }
        }
    }
    (pairs, faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_tried() {
        for command in [
            "cargo run --bin mq-producer",
            "cargo run --bin mq-producer -- --type 1,2 --name 'a' &",
            "cargo run --release --bin ipc-lab -- play pipe",
            "cargo run --bin mq-consumer -- --json | tail -1",
        ] {
            assert_eq!(fault(command), None, "{command}");
        }
        for (command, what) in [
            ("cargo run --bin mq-producer --type 1", "cargo would take --type"),
            ("cargo run --bin mq-producer -- --typ 1", "unexpected argument '--typ'"),
            ("cargo run --bin mq-producer -- --size many", "invalid value 'many'"),
            ("cargo run --bin mq-producers", "there is no binary mq-producers"),
            ("cargo run -p mq-demo", "it is written"),
            ("cargo run --bin mq-producer -- --to $P", "cannot be checked"),
            ("cargo run --bin mq-consumer | cargo run --bin no", "there is no binary no"),
            ("cargo run --bin mq-consumer -- --name 'a", "a quote is open"),
        ] {
            let fault = fault(command);
            assert!(fault.as_ref().is_some_and(|f| f.contains(what)), "{command}: {fault:?}");
        }
    }

    #[test]
    fn spans_and_rows_are_found() {
        let text = "Type `cargo run --bin x`, not `cargo test`.\n\n| m | Terminal 1 | Terminal 2 |\n|---|---|---|\n\
                    | m | `a` | `b c` |\n| m | `a` or `b` | `c` |\n";
        let pages = [Page::parse("a.md", text)];
        assert_eq!(commands(&pages), BTreeMap::from([("cargo run --bin x".into(), vec!["a.md:1".into()])]));
        let (pairs, faults) = pairs(&pages);
        assert_eq!(pairs, BTreeMap::from([(["a".into(), "b c".into()], vec!["a.md:5".into()])]));
        assert_eq!(faults, ["a.md:6: each terminal has one command"]);
    }
}
