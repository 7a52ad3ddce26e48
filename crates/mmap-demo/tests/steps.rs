//! A process killed at every step of writing and of processing an item, and what the file says afterwards.

use std::path::PathBuf;

use common::testkit::steps::{Death, consumer_killed, producer_killed};
use common::testkit::{Pair, Sandbox};

const MMAP: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_mmap-producer"),
    consumer: env!("CARGO_BIN_EXE_mmap-consumer"),
    both: &[],
    only_producer: &["--capacity", "4KiB"],
    only_consumer: &[],
};

fn file(sandbox: &Sandbox) -> PathBuf {
    sandbox.dir().join(format!("{}.map", sandbox.name()))
}

/// Nothing is damaged, doubled or there in part; and the number of items that came changes once, at the commit.
fn check(deaths: &[Death], before: u64, after: u64) {
    for death in deaths {
        for key in ["lost", "corrupted", "duplicated", "reordered"] {
            assert_eq!(death.consumer.number(key), 0, "{key} after {death:?}");
        }
    }
    let items: Vec<u64> = deaths.iter().map(|death| death.consumer.number("items")).collect();
    let turn = items.iter().position(|n| *n != before).unwrap_or(items.len());
    let (first, rest) = items.split_at(turn);
    let once = !first.is_empty() && !rest.is_empty() && rest.iter().all(|n| *n == after);
    assert!(once || deaths.is_empty(), "{items:?}");
}

#[test]
fn a_producer_killed_while_it_writes_has_committed_nothing() {
    let deaths = producer_killed(&MMAP, file);
    for death in &deaths {
        assert_eq!(death.survivor.code, 3, "{death:?}");
        assert!(death.says("without a goodbye"), "{death:?}");
    }
    check(&deaths, 1, 2);
}

#[test]
fn a_consumer_killed_while_it_reads_has_processed_nothing() {
    let deaths = consumer_killed(&MMAP, file);
    for death in &deaths {
        assert_eq!((death.survivor.code, death.consumer.code), (0, 0), "{death:?}");
    }
    check(&deaths, 2, 1);
}
