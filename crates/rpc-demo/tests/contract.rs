//! What every pair promises, over each transport.

use common::testkit::Pair;

const UNIX: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_rpc-producer"),
    consumer: env!("CARGO_BIN_EXE_rpc-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};
const TCP: Pair = Pair { both: &["--transport", "tcp", "--addr", "127.0.0.1:{port}"], ..UNIX };

common::contract_tests!(unix, UNIX);
common::contract_tests!(tcp, TCP);

#[test]
fn a_large_stream_comes_out_as_it_went_in_and_takes_little_memory() {
    common::testkit::large::stream(&UNIX);
}
