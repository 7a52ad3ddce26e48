//! Another user of this machine, and a FIFO.

use common::testkit::{Pair, stranger::Spot};

const PIPE: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_pipe-producer"),
    consumer: env!("CARGO_BIN_EXE_pipe-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};
const DUPLEX: Pair = Pair { both: &["--duplex"], ..PIPE };

common::stranger_tests!(fifo, PIPE, &[Spot::Name("fifo")]);
common::stranger_tests!(duplex, DUPLEX, &[Spot::Name("fifo"), Spot::Name("back")]);
