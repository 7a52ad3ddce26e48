//! What every pair promises, over both kinds of queue.

use common::testkit::Pair;

const SYSV: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_mq-producer"),
    consumer: env!("CARGO_BIN_EXE_mq-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};

const POSIX: Pair = Pair { both: &["--api", "posix"], ..SYSV };

common::contract_tests!(sysv, SYSV);
common::contract_tests!(posix, POSIX);

#[test]
fn a_large_stream_comes_out_as_it_went_in_and_takes_little_memory() {
    common::testkit::large::stream(&SYSV);
}
