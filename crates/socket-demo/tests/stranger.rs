//! Another user of this machine, and each transport.

use common::testkit::{Pair, Sandbox, stranger, stranger::Spot};

const UNIX: Pair = Pair {
    producer: env!("CARGO_BIN_EXE_socket-producer"),
    consumer: env!("CARGO_BIN_EXE_socket-consumer"),
    both: &[],
    only_producer: &[],
    only_consumer: &[],
};
const SEQPACKET: Pair = Pair { both: &["--transport", "seqpacket"], ..UNIX };
const ABSTRACT: Pair = Pair { both: &["--transport", "abstract"], ..UNIX };
const TCP: Pair = Pair { both: &["--transport", "tcp", "--addr", "127.0.0.1:{port}"], ..UNIX };
const UDP: Pair = Pair { both: &["--transport", "udp", "--addr", "127.0.0.1:{port}"], ..UNIX };

common::stranger_tests!(unix, UNIX, &[Spot::Name("sock")]);
common::stranger_tests!(seqpacket, SEQPACKET, &[Spot::Name("sock")]);

/// They have nothing in a file system; what strangers can do to an abstract name, `concepts.rs` has.
#[test]
fn two_users_have_a_channel_each_where_no_file_is() {
    for pair in [ABSTRACT, TCP, UDP] {
        stranger::neighbours(&pair, &[]);
    }
}

/// So it is, and so says SECURITY.md: whoever has the port is the consumer, and whoever connects is a producer.
#[test]
fn a_port_asks_nobody_who_he_is() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can be two users");
        return;
    }
    for pair in [TCP, UDP] {
        let (root, nobody) = (Sandbox::new(), Sandbox::as_nobody());
        let addr = format!("127.0.0.1:{}", nobody.port());
        let there = ["--addr", &addr];
        for (ours, theirs) in [(&root, &nobody), (&nobody, &root)] {
            let consumer = theirs.consumer(&UNIX, &[&pair.both[..2], &there, &["--json"]].concat());
            consumer.wait_for_stderr("waiting for a producer");
            ours.consumer(&UNIX, &[&pair.both[..2], &there].concat()).end().expect(1).says("in use");
            let few = ["--count", "3", "--interval", "1ms"];
            ours.producer(&UNIX, &[&pair.both[..2], &there, &few].concat()).end().expect(0);
            consumer.end().expect(0).all_well(3);
        }
    }
}
