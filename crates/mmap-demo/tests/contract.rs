//! What every pair promises, over a mapped file.

use common::testkit::Pair;

/// With a small ring, so that it fills up.
const SMALL: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_mmap-producer"),
    consumer: env!("CARGO_BIN_EXE_mmap-consumer"),
    both: &[],
    only_producer: &["--capacity", "64KiB"],
    only_consumer: &[],
};

common::contract_tests!(small_ring, SMALL);

#[test]
fn a_large_stream_comes_out_as_it_went_in_and_takes_little_memory() {
    common::testkit::large::stream(&Pair { only_producer: &[], ..SMALL });
}
