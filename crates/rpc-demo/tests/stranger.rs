//! Another user of this machine, and each transport.

use common::testkit::{Pair, stranger, stranger::Spot};

const UNIX: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_rpc-producer"),
    consumer: env!("CARGO_BIN_EXE_rpc-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};
const TCP: Pair = Pair { both: &["--transport", "tcp", "--addr", "127.0.0.1:{port}"], ..UNIX };

common::stranger_tests!(unix, UNIX, &[Spot::Name("rpc.sock")]);

#[test]
fn two_users_have_a_server_each_over_tcp() {
    stranger::neighbours(&TCP, &[]);
}
