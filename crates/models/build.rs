//! Prepares the rings' own source files for loom.
//!
//! They are compiled as they are, down to their tests, but for this:
//!
//! - For `std::sync::atomic` they get loom's, and for `crate::` the module that holds stand-ins for the rest of
//!   their crate. Loom's atomics have no layout, so what asserts one is left out, and what only pads.
//! - Every ordering but Relaxed passes through `crate::weak` under a name, `side.rs load Acquire`, so that a test
//!   can weaken it. `SITES` lists the names.
//! - In a stand-in the line `//= TEXT` becomes the demo's own lines: the one that begins with TEXT, to the end
//!   of its block.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let mut shm = Ring::new("shm");
    shm.take("side.rs");
    shm.take("ring.rs");
    shm.stand_in("object.rs");
    shm.write();

    let mut mmap = Ring::new("mmap");
    for file in ["positions.rs", "ring.rs", "reader.rs", "writer.rs", "durability.rs"] {
        mmap.take(file);
    }
    mmap.stand_in("consumer.rs");
    mmap.write();
}

/// What is taken from one demo crate.
struct Ring {
    name: &'static str,
    modules: String,
    sites: Vec<String>,
}

impl Ring {
    fn new(name: &'static str) -> Ring {
        Ring { name, modules: String::new(), sites: Vec::new() }
    }

    /// A file of the demo.
    fn take(&mut self, file: &str) {
        let lines = self.source(file);
        self.module(file, &lines);
    }

    /// A file of this crate in its place, with lines of the demo's.
    fn stand_in(&mut self, file: &str) {
        let source = self.source(file);
        let mut lines = Vec::new();
        for line in read(&format!("src/{}/{file}", self.name)) {
            match line.trim_start().strip_prefix("//= ") {
                Some(begin) => lines.extend_from_slice(block(file, &source, begin)),
                None => lines.push(line),
            }
        }
        self.module(file, &lines);
    }

    fn source(&self, file: &str) -> Vec<String> {
        let mut lines = read(&format!("../{}-demo/src/{file}", self.name));
        lines.truncate(lines.iter().position(|l| l == "#[cfg(test)]").unwrap_or(lines.len()));
        lines
    }

    fn module(&mut self, file: &str, lines: &[String]) {
        let module = file.trim_end_matches(".rs");
        self.modules += &format!("#[allow(dead_code, unused_imports)]\npub mod {module} {{\n");
        let mut function = String::new();
        for line in lines {
            let is_padding = line.starts_with("    _") && line.contains(": ");
            if is_padding || line.starts_with("const _: () = assert!(") {
                continue;
            }
            let (code, comment) = line.split_at(line.find("//").unwrap_or(line.len()));
            if let Some((_, name)) = code.split_once("fn ") {
                function = name.chars().take_while(|c| is_of_word(*c)).collect();
            }
            let mut code = code.replace("crate::", &format!("crate::{}::", self.name));
            if file == "positions.rs" && code == "#[derive(Debug)]" {
                code = "#[derive(Debug, Default)]".into(); // there it is not made, but mapped
            }
            if code.starts_with("use ") {
                self.modules += &code.replace("std::sync::atomic", "loom::sync::atomic");
            } else {
                self.weakened(&format!("{file} {function}"), &code);
            }
            self.modules += &format!("{comment}\n");
        }
        self.modules += "}\n\n";
    }

    /// Adds a line, with its orderings under control.
    fn weakened(&mut self, place: &str, code: &str) {
        for piece in code.split_inclusive(|c| !is_of_word(c)) {
            let word = piece.trim_end_matches(|c| !is_of_word(c));
            if word == "fence" {
                self.modules += "crate::weak::";
            }
            if !["Acquire", "Release", "AcqRel", "SeqCst"].contains(&word) {
                self.modules += piece;
                continue;
            }
            let site = format!("{place} {word}");
            assert!(!self.sites.contains(&site), "two orderings have one name: {site}");
            let after = &piece[word.len()..];
            self.modules += &format!("crate::weak::ordering({site:?}, {word}){after}");
            self.sites.push(site);
        }
    }

    fn write(self) {
        let Ring { name, modules, sites } = self;
        let text = format!("{modules}/// All orderings.\nconst SITES: &[&str] = &{sites:#?};\n");
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where"));
        fs::write(out.join(format!("{name}.rs")), text).expect("write a module");
    }
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn read(path: &str) -> Vec<String> {
    println!("cargo::rerun-if-changed={path}");
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    text.lines().map(String::from).collect()
}

/// The block whose first line begins with `begin`.
fn block<'a>(file: &str, lines: &'a [String], begin: &str) -> &'a [String] {
    let mut all = lines.iter().enumerate().filter(|(_, l)| l.trim_start().starts_with(begin));
    let (Some((first, line)), None) = (all.next(), all.next()) else {
        panic!("{file} has no line, or several, that begin with: {begin}")
    };
    let end = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
    let len = lines[first..].iter().position(|l| *l == end).expect("the block's end");
    &lines[first..=first + len]
}
