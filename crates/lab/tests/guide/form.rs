//! The form of code blocks: each has a language that says what it is, and only `console` may be played. And of the
//! text around them: no HTML, and no emphasis that is none.

use crate::page::{Faults, Page};

/// What the shell lines that the test cannot play begin with.
const COMMANDS: [&str; 12] =
    ["make", "git", "docker", "podman", "wsl", "limactl", "multipass", "rustup", "curl", "sudo", "apt", "cd"];

const LANGUAGES: [&str; 6] = ["rust", "console", "text", "sh", "toml", "json"];

/// All faults of form. `targets` are those of the Makefile.
pub fn faults(page: &Page, targets: &[String]) -> Faults {
    let mut faults = Vec::new();
    for block in &page.blocks {
        if !LANGUAGES.contains(&block.language.as_str()) {
            let fault = format!("a code block of language {:?}: {}", block.language, LANGUAGES.join(", "));
            faults.push(format!("{}: {fault}", page.at(block.line)));
        }
        if block.language != "sh" {
            continue;
        }
        for (i, line) in block.lines.iter().enumerate() {
            let fault = |what: &str| format!("{}: {what}: {line}", page.at(block.line + 1 + i));
            let words: Vec<&str> = line.split_whitespace().take_while(|w| !w.starts_with('#')).collect();
            match words.first() {
                None => {}
                Some(first) if !COMMANDS.contains(first) => {
                    faults.push(fault("what the test can play is `console`, what is no command is `text`"));
                }
                Some(&"make") => {
                    // `make run-%` is a target for each pair.
                    let known = |word: &str| {
                        let pattern = |t: &String| t.strip_suffix('%').is_some_and(|t| word.starts_with(t));
                        targets.iter().any(|t| t == word || pattern(t))
                    };
                    let unknown = words[1..].iter().find(|w| !w.contains('=') && !known(w));
                    faults.extend(unknown.map(|w| fault(&format!("the Makefile has no target {w}"))));
                }
                Some(_) => {}
            }
        }
    }
    faults.extend(
        page.html
            .iter()
            .map(|line| format!("{}: HTML: a forge and the site may show it differently", page.at(*line))),
    );
    // The closing asterisk of `*word(x)*and` does not close, as a letter follows: write `*word*(x)and`.
    faults.extend(
        page.asterisks.iter().map(|line| format!("{}: an asterisk that emphasises nothing", page.at(*line))),
    );
    faults
}

/// The targets of a Makefile.
pub fn targets(makefile: &str) -> Vec<String> {
    let rules = makefile.lines().filter(|l| !l.starts_with(['\t', '#', '.', ' ']));
    let names = rules.filter_map(|l| l.split_once(':')).filter(|(_, rest)| !rest.starts_with('='));
    names.flat_map(|(names, _)| names.split_whitespace().map(String::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_makefiles_targets_are_known() {
        let text = "# a: b\nX := 1\n.PHONY: help\n\nhelp: ## x\n\techo a: b\ntest demo: build\nrun-%: build\nY ?= a\n";
        assert_eq!(targets(text), ["help", "test", "demo", "run-%"]);
    }

    #[test]
    fn what_is_out_of_form_is_found() {
        let targets = ["demo".to_owned(), "run-%".to_owned()];
        let faults = |block: &str| faults(&Page::parse("a.md", block), &targets);
        for block in [
            "```sh\nmake demo FILE=x  # words\n\nmake run-pipe\ngit clone x\n```\n",
            "```text\nanything\n```\n",
            "```rust\n```\n",
            "한 쌍의 *스텁*(stub)이다, `a * b`\n",
        ] {
            assert_eq!(faults(block), [""; 0], "{block}");
        }
        for (block, at) in [
            ("```\nx\n```\n", "a.md:1: a code block of language \"\""),
            ("    indented\n", "a.md:1: a code block of language \"\""),
            ("```bash\nmake demo\n```\n", "a.md:1: a code block of language \"bash\""),
            ("```sh\nmake demo\nmake demos\n```\n", "a.md:3: the Makefile has no target demos"),
            ("```sh\ncargo run --bin x\n```\n", "a.md:2: what the test can play"),
            ("a<br>b\n", "a.md:1: HTML"),
            ("한 쌍의 *스텁(stub)*이다\n", "a.md:1: an asterisk"),
        ] {
            let faults = faults(block);
            assert!(faults.len() == 1 && faults[0].starts_with(at), "{block}: {faults:?}");
        }
    }
}
