//! Another user of this machine, and a mapped file.

use common::testkit::{Pair, stranger::Spot};

const MMAP: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_mmap-producer"),
    consumer: env!("CARGO_BIN_EXE_mmap-consumer"),
    both: &[],
    only_producer: &["--capacity", "64KiB"],
    only_consumer: &[],
};

common::stranger_tests!(in_the_place, MMAP, &[Spot::Name("map")]);
common::stranger_tests!(elsewhere, MMAP, &[Spot::File]);
