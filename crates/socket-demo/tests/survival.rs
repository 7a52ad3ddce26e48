//! The faults that every pair survives, over each transport.

use common::testkit::Pair;

const UNIX: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_socket-producer"),
    consumer: env!("CARGO_BIN_EXE_socket-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};
const TCP: Pair = Pair { both: &["--transport", "tcp", "--addr", "127.0.0.1:{port}"], ..UNIX };
const ABSTRACT: Pair = Pair { both: &["--transport", "abstract"], ..UNIX };
const SEQPACKET: Pair = Pair { both: &["--transport", "seqpacket"], ..UNIX };

common::survival_tests!(unix, UNIX);
common::survival_tests!(tcp, TCP);
common::survival_tests!(r#abstract, ABSTRACT);
common::survival_tests!(seqpacket, SEQPACKET);
