//! The faults that every pair survives, over both kinds of queue.

use common::testkit::Pair;

const SYSV: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_mq-producer"),
    consumer: env!("CARGO_BIN_EXE_mq-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};

const POSIX: Pair = Pair { both: &["--api", "posix"], ..SYSV };

common::survival_tests!(sysv, SYSV);
common::survival_tests!(posix, POSIX);
