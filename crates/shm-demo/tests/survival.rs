//! The faults that every pair survives, over each of the three mechanisms that promise anything.

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

common::survival_tests!(semaphore, pair(&["--sync", "semaphore"]));
common::survival_tests!(mutex, pair(&["--sync", "mutex"]));
common::survival_tests!(ring, pair(&["--sync", "ring"]));
common::survival_tests!(duplex, pair(&["--sync", "ring", "--duplex"]));
