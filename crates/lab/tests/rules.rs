//! The repository's rules: what a reader of one mechanism may rely on in all of them.

use std::fs;
use std::path::{Path, PathBuf};

/// A mechanism can be read in one go, up to its tests.
const MECHANISM: usize = 300;
/// A binary is a page or two: arguments, the loop, the end.
const BINARY: usize = 120;

struct Source {
    /// From the workspace's top: `crates/pipe-demo/src/fifo.rs`.
    path: String,
    text: String,
}

impl Source {
    fn is_binary(&self) -> bool {
        self.path.contains("-demo/src/bin/")
    }

    fn is_mechanism(&self) -> bool {
        self.path.contains("-demo/src/") && !self.is_binary()
    }

    fn lines_before_tests(&self) -> usize {
        self.text.lines().take_while(|l| *l != "#[cfg(test)]").count()
    }
}

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("crates/").to_owned()
}

fn demos() -> Vec<PathBuf> {
    let all = fs::read_dir(crates()).expect("crates/").map(|e| e.expect("an entry").path());
    let mut demos: Vec<_> = all.filter(|p| p.to_string_lossy().ends_with("-demo")).collect();
    demos.sort();
    demos
}

fn sources() -> Vec<Source> {
    let (mut sources, mut dirs) = (Vec::new(), vec![crates()]);
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(&dir).expect("a directory").map(|e| e.expect("an entry").path()) {
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("UTF-8");
                let path = path.strip_prefix(crates().parent().expect("the top")).expect("below it");
                sources.push(Source { path: path.display().to_string(), text });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.iter().any(Source::is_mechanism) && sources.iter().any(Source::is_binary));
    sources
}

/// Fails with all that break a rule, not only the first.
#[track_caller]
fn none(broken: Vec<String>, rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// Whether a line names the crate `common`, in whatever way, but for `common::place`; a comment may.
fn names_common(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices("common").any(|(at, _)| {
        let rest = &code[at + "common".len()..];
        let after = rest.trim_start();
        let whole = !code[..at].ends_with(is_word) && !rest.starts_with(is_word);
        let place = after
            .strip_prefix("::")
            .is_some_and(|r| r.strip_prefix("place").is_some_and(|r| !r.starts_with(is_word)));
        // A string may say it, a path or an import is what matters.
        let used =
            after.starts_with("::") || code.trim_start().starts_with("use ") || code.contains("extern crate");
        whole && used && !place
    })
}

#[test]
fn a_mechanism_names_nothing_of_common_but_the_place() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|s| s.is_mechanism()) {
        let lines = source.text.lines().enumerate().filter(|(_, line)| names_common(line));
        broken.extend(lines.map(|(i, line)| format!("{}:{}: {}", source.path, i + 1, line.trim())));
    }
    none(broken, "a mechanism is copied without `common`, so it names only common::place");
}

#[test]
fn what_counts_as_naming_common() {
    for line in
        ["use common::item;", "use common::{args, place};", "let x = common::exit::status(e);", "use common;"]
    {
        assert!(names_common(line), "{line}");
    }
    for line in ["use common::place::Place;", "// common::item", "use uncommon::x;", "let common = 1;", ""] {
        assert!(!names_common(line), "{line}");
    }
}

#[test]
fn a_mechanism_and_a_binary_can_be_read_in_one_go() {
    let broken = sources().into_iter().filter_map(|s| {
        let limit = match (s.is_mechanism(), s.is_binary()) {
            (true, _) => MECHANISM,
            (_, true) => BINARY,
            _ => return None,
        };
        let lines = s.lines_before_tests();
        (lines > limit).then(|| format!("{}: {lines} of {limit} lines", s.path))
    });
    none(broken.collect(), "too long to be read in one go");
}

#[test]
fn every_file_begins_with_what_it_is() {
    let broken = sources().into_iter().filter(|s| !s.text.starts_with("//! ")).map(|s| s.path);
    none(broken.collect(), "the first line is //! and a sentence");
}

#[test]
fn what_both_lessons_of_mapped_memory_need_is_the_same() {
    for file in ["src/futex.rs", "src/sigbus.rs", "src/waiting.rs"] {
        let [a, b] = ["shm-demo", "mmap-demo"]
            .map(|c| fs::read_to_string(crates().join(c).join(file)).expect("a file"));
        assert!(a == b, "{file} stands twice, so that each lesson can be copied whole");
    }
}

#[test]
fn no_two_examples_have_one_name() {
    let mut names: Vec<_> = sources()
        .into_iter()
        .filter_map(|s| Some((s.path.split_once("/examples/")?.1.to_owned(), s.path)))
        .collect();
    names.sort();
    let broken = names
        .windows(2)
        .filter(|two| two[0].0 == two[1].0)
        .map(|two| format!("{} and {}", two[0].1, two[1].1));
    none(broken.collect(), "one workspace builds them all into one directory");
}

#[test]
fn all_demo_crates_have_the_same_shape() {
    let mut broken = Vec::new();
    for demo in demos() {
        let name = demo.file_name().expect("a name").to_string_lossy().into_owned();
        let method = name.trim_end_matches("-demo");
        for file in ["Cargo.toml", "README.md", "src/lib.rs"] {
            if !demo.join(file).is_file() {
                broken.push(format!("{name} has no {file}"));
            }
        }
        // The tests that the promises name in `common/src/testkit/` are none until a crate makes them.
        for kind in ["contract", "survival", "stranger"] {
            let made = format!("common::{kind}_tests!(");
            let text = fs::read_to_string(demo.join(format!("tests/{kind}.rs"))).unwrap_or_default();
            if !text.lines().any(|line| line.starts_with(&made)) {
                broken.push(format!("{name}/tests/{kind}.rs makes no {made}…)"));
            }
        }
        for role in ["producer", "consumer"] {
            let binary = demo.join(format!("src/bin/{method}-{role}"));
            if !binary.with_extension("rs").is_file() && !binary.join("main.rs").is_file() {
                broken.push(format!("{name} has no src/bin/{method}-{role}.rs"));
            }
        }
        if fs::read_dir(demo.join("examples")).map_or(0, Iterator::count) == 0 {
            broken.push(format!("{name} has no example"));
        }
        let readme = fs::read_to_string(demo.join("README.md")).unwrap_or_default();
        if !readme.contains("\n## Copy it\n") {
            broken.push(format!("{name}/README.md has no section \"## Copy it\""));
        }
    }
    none(broken, "who knows one demo crate knows all six");
}

/// What stands between backquotes as `crate/path/file.rs: test`, in the order of the page.
fn tests_named_in(page: &str) -> Vec<(String, String)> {
    let top = crates().parent().expect("the top").to_owned();
    let text = fs::read_to_string(top.join(page)).expect("the page");
    let spans = text.split('`').skip(1).step_by(2);
    let named = spans.filter_map(|span| span.split_once(".rs: "));
    named.map(|(file, test)| (format!("{file}.rs"), test.to_owned())).collect()
}

/// Whether a file has a test of that name, also inside of a macro.
fn has_test(file: &str, test: &str) -> bool {
    let text = fs::read_to_string(crates().join(file)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_test = |two: &[&str]| two[0] == "#[test]" && two[1].starts_with(&format!("fn {test}("));
    lines.windows(2).any(is_test)
}

#[test]
fn every_test_that_the_promises_name_exists() {
    let named = tests_named_in("docs/promises.md");
    assert!(named.len() > 90, "only {} tests are named", named.len());
    let missing = named.iter().filter(|(file, test)| !has_test(file, test));
    none(missing.map(|(file, test)| format!("{file}: {test}")).collect(), "a promise stands on its test");
    assert!(
        named == tests_named_in("docs/ko/promises.md"),
        "both languages name the same tests, in the same order"
    );
    assert!(!has_test("lab/tests/rules.rs", "no_such_test"));
}
