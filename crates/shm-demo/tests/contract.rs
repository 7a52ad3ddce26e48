//! What every pair promises, over each of the three mechanisms that promise anything.

use common::testkit::Pair;

const fn pair(both: &'static [&'static str]) -> Pair {
    Pair {
        producer: env!("CARGO_BIN_EXE_shm-producer"),
        consumer: env!("CARGO_BIN_EXE_shm-consumer"),
        both,
        only_producer: &[],
        only_consumer: &[],
    }
}

common::contract_tests!(semaphore, pair(&["--sync", "semaphore"]));
common::contract_tests!(mutex, pair(&["--sync", "mutex"]));
common::contract_tests!(ring, pair(&["--sync", "ring"]));
common::contract_tests!(duplex, pair(&["--sync", "ring", "--duplex"]));

#[test]
fn a_large_stream_comes_out_as_it_went_in_and_takes_little_memory() {
    common::testkit::large::stream(&pair(&["--sync", "ring"]));
}
