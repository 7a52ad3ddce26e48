//! What every pair promises, over a FIFO.

use common::testkit::Pair;

const PIPE: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_pipe-producer"),
    consumer: env!("CARGO_BIN_EXE_pipe-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};

common::contract_tests!(fifo, PIPE);

#[test]
fn a_large_stream_comes_out_as_it_went_in_and_takes_little_memory() {
    common::testkit::large::stream(&PIPE);
}
