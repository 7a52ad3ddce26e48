//! Another user of this machine, and each of the four mechanisms.

use common::testkit::{Pair, stranger::Spot};

const fn pair(both: &'static [&'static str]) -> Pair {
    Pair {
        producer: env!("CARGO_BIN_EXE_shm-producer"),
        consumer: env!("CARGO_BIN_EXE_shm-consumer"),
        both,
        only_producer: &[],
        only_consumer: &[],
    }
}

/// What leads to the object, and the object.
const SPOTS: &[Spot] = &[Spot::Name("shm"), Spot::Shm];

common::stranger_tests!(semaphore, pair(&["--sync", "semaphore"]), SPOTS);
common::stranger_tests!(mutex, pair(&["--sync", "mutex"]), SPOTS);
common::stranger_tests!(ring, pair(&["--sync", "ring"]), SPOTS);
common::stranger_tests!(duplex, pair(&["--sync", "ring", "--duplex"]), SPOTS);
common::stranger_tests!(none, pair(&["--sync", "none"]), SPOTS);
