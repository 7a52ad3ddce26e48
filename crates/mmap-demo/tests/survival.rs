//! The faults that every pair survives, over a mapped file.

use common::testkit::Pair;

/// With a small ring, so that it fills up.
const SMALL: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_mmap-producer"),
    consumer: env!("CARGO_BIN_EXE_mmap-consumer"),
    both: &[],
    only_producer: &["--capacity", "64KiB"],
    only_consumer: &[],
};

common::survival_tests!(small_ring, SMALL);
