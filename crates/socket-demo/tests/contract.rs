//! What every pair promises, over each transport.

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

common::contract_tests!(unix, UNIX);
common::contract_tests!(r#abstract, ABSTRACT);
common::contract_tests!(seqpacket, SEQPACKET);
common::contract_tests!(tcp, TCP);

/// What UDP can promise: not that anything arrives, nor that anybody ever waits for room.
mod udp {
    use super::UNIX;
    use common::testkit::{Pair, contract};

    const UDP: Pair = Pair { both: &["--transport", "udp", "--addr", "127.0.0.1:{port}"], ..UNIX };

    #[test]
    fn a_consumer_that_waits_for_a_producer_can_be_ended() {
        contract::ended_while_waiting_for_a_producer(&UDP);
    }
    #[test]
    fn a_consumer_that_waits_for_an_item_can_be_ended() {
        contract::ended_while_empty(&UDP);
    }
    #[test]
    fn waiting_is_free() {
        contract::waiting_is_free(&UDP);
    }
    #[test]
    fn nobody_came_in_time() {
        contract::timeout(&UDP);
    }
    #[test]
    fn wrong_usage_creates_nothing() {
        contract::wrong_usage(&UDP);
    }
    #[test]
    fn what_was_received_is_written_when_the_end_comes_early() {
        contract::output_at_the_end(&UDP);
    }
    #[test]
    fn closed_output_is_no_panic() {
        contract::closed_output(&UDP);
    }
}

#[test]
fn a_large_stream_comes_out_as_it_went_in_and_takes_little_memory() {
    common::testkit::large::stream(&TCP);
}
