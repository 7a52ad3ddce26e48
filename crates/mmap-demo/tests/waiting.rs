//! The other ways to wait than the default, over a mapped file; and what waiting costs.

use common::testkit::{Pair, waiting};

/// With a small ring, so that it fills up.
const fn small(both: &'static [&'static str]) -> Pair {
    Pair {
        producer: env!("CARGO_BIN_EXE_mmap-producer"),
        consumer: env!("CARGO_BIN_EXE_mmap-consumer"),
        both,
        only_producer: &["--capacity", "64KiB"],
        only_consumer: &[],
    }
}

common::waiting_tests!(block, small(&["--wait", "block"]));
common::waiting_tests!(spin, small(&["--wait", "spin"]));

#[test]
fn two_that_look_before_they_sleep_make_room_for_each_other_too() {
    waiting::on_one_processor(&Pair { only_producer: &["--capacity", "4KiB"], ..small(&[]) });
}

#[test]
fn two_that_have_nothing_to_do_do_nothing() {
    waiting::idle_is_free(&small(&[]));
}

#[test]
fn who_spins_takes_a_processor() {
    waiting::spinning_is_not_free(&small(&["--wait", "spin"]));
}
