//! Another user of this machine, and both kinds of queue.

use common::testkit::{Pair, stranger::Spot};

const SYSV: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_mq-producer"),
    consumer: env!("CARGO_BIN_EXE_mq-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};
const POSIX: Pair = Pair { both: &["--api", "posix"], ..SYSV };

common::stranger_tests!(sysv, SYSV, &[Spot::Name("mq")]);
common::stranger_tests!(posix, POSIX, &[Spot::Name("mq"), Spot::Queue]);
