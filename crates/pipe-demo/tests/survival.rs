//! The faults that every pair survives, over a FIFO.

use common::testkit::Pair;

const PIPE: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_pipe-producer"),
    consumer: env!("CARGO_BIN_EXE_pipe-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};

common::survival_tests!(fifo, PIPE);
