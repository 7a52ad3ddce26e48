//! Every input that is kept goes through its decoder, and every decoder has some.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fuzz::{LONGEST, TARGETS, Target};

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files in a folder, none if there is no such folder.
fn files(folder: PathBuf) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

fn corpus(target: &Target) -> Vec<PathBuf> {
    files(top().join("fuzz/corpus").join(target.name))
}

/// Runs a target on all that is kept for it.
fn all_of(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of that name");
    let (corpus, regressions) = (corpus(target), files(top().join("regressions").join(name)));
    assert!(!corpus.is_empty(), "{name} has no corpus: cargo run -p fuzz --example write-seeds");
    for file in corpus.iter().chain(&regressions) {
        let bytes = fs::read(file).expect("a file");
        assert!(bytes.len() <= LONGEST, "{} would not be looked at", file.display());
        let run = std::panic::catch_unwind(|| (target.run)(&bytes));
        assert!(run.is_ok(), "{} is decoded wrongly", file.display());
    }
}

#[test]
fn item() {
    all_of("item");
}

#[test]
fn pipe() {
    all_of("pipe");
}

#[test]
fn socket() {
    all_of("socket");
}

#[test]
fn rpc_request() {
    all_of("rpc_request");
}

#[test]
fn rpc_reply() {
    all_of("rpc_reply");
}

#[test]
fn mq() {
    all_of("mq");
}

#[test]
fn shm() {
    all_of("shm");
}

#[test]
fn mmap() {
    all_of("mmap");
}

#[test]
fn every_target_is_run_here_and_by_libfuzzer() {
    let all = BTreeSet::from(TARGETS.map(|target| target.name.to_owned()));
    let named = |folder: &str| {
        let names = files(top().join(folder)).into_iter();
        names.map(|f| f.file_stem().expect("a name").to_string_lossy().into_owned()).collect::<BTreeSet<_>>()
    };
    assert_eq!(all, named("fuzz/fuzz_targets"));
    assert_eq!(all, named("fuzz/corpus"));
    assert!(named("regressions").is_subset(&all));
    let here = fs::read_to_string(top().join("tests/corpus.rs")).expect("this file");
    assert!(all.iter().all(|name| here.contains(&format!("#[test]\nfn {name}() {{\n"))));
}

#[test]
fn two_guards_against_sigbus_in_one_process_get_along() {
    // Each of the two demos has its own, and each must leave alone what is the other's.
    for _ in 0..2 {
        for (target, seed) in [("mmap", "cut-to-nothing"), ("shm", "ring-cut-to-nothing")] {
            let target = TARGETS.iter().find(|t| t.name == target).expect("a target of that name");
            let seeds = (target.seeds)();
            let (_, bytes) = seeds.iter().find(|(name, _)| *name == seed).expect("a seed of that name");
            (target.run)(bytes);
        }
    }
}

#[test]
fn the_seeds_are_what_the_encoders_make_today() {
    for target in TARGETS {
        for (name, bytes) in (target.seeds)() {
            let file = top().join("fuzz/corpus").join(target.name).join(name);
            let kept = fs::read(&file).unwrap_or_default();
            assert!(kept == bytes, "{}: cargo run -p fuzz --example write-seeds", file.display());
        }
    }
}

#[test]
fn a_corpus_is_small() {
    for target in TARGETS {
        let files = corpus(&target);
        assert!(files.len() <= 200, "{}: {} files; too many to be read", target.name, files.len());
    }
}
