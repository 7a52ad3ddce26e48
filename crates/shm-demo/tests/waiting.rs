//! The other ways to wait than the default, over each of the three mechanisms that wake anybody.

use common::testkit::{Pair, Sandbox, waiting};

const fn pair(both: &'static [&'static str]) -> Pair {
    Pair {
        producer: env!("CARGO_BIN_EXE_shm-producer"),
        consumer: env!("CARGO_BIN_EXE_shm-consumer"),
        both,
        only_producer: &[],
        only_consumer: &[],
    }
}

const RING: Pair = pair(&["--sync", "ring"]);
const SPIN: Pair = pair(&["--sync", "ring", "--wait", "spin"]);

common::waiting_tests!(semaphore_block, pair(&["--sync", "semaphore", "--wait", "block"]));
common::waiting_tests!(semaphore_spin, pair(&["--sync", "semaphore", "--wait", "spin"]));
common::waiting_tests!(mutex_block, pair(&["--sync", "mutex", "--wait", "block"]));
common::waiting_tests!(mutex_spin, pair(&["--sync", "mutex", "--wait", "spin"]));
common::waiting_tests!(ring_block, pair(&["--sync", "ring", "--wait", "block"]));
common::waiting_tests!(ring_spin, SPIN);
common::waiting_tests!(duplex_block, pair(&["--sync", "ring", "--duplex", "--wait", "block"]));
common::waiting_tests!(duplex_spin, pair(&["--sync", "ring", "--duplex", "--wait", "spin"]));

#[test]
fn two_that_look_before_they_sleep_make_room_for_each_other_too() {
    let others = [&["--sync", "semaphore"][..], &["--sync", "mutex"], &["--sync", "ring", "--duplex"]];
    for pair in others.map(pair).into_iter().chain([RING]) {
        waiting::on_one_processor(&pair);
    }
}

#[test]
fn who_spins_takes_a_processor() {
    waiting::spinning_is_not_free(&SPIN);
}

#[test]
fn each_side_waits_as_it_likes() {
    for [producer, consumer] in [["spin", "block"], ["block", "spin"], ["adaptive", "block"]] {
        let sandbox = Sandbox::new();
        let receiving = sandbox.consumer(&RING, &["--wait", consumer, "--quiet", "--json"]);
        let sending =
            sandbox.producer(&RING, &["--wait", producer, "--count", "20000", "--interval", "0", "--quiet"]);
        sending.end().expect(0);
        receiving.end().expect(0).all_well(20_000);
    }
}

#[test]
fn without_synchronisation_there_is_nothing_to_wait_for() {
    let (sandbox, args) = (Sandbox::new(), ["--sync", "none", "--wait", "spin"]);
    for side in [sandbox.producer(&pair(&[]), &args), sandbox.consumer(&pair(&[]), &args)] {
        side.end().expect(2).says("--wait: with --sync none nobody wakes anybody");
    }
    sandbox.consumer(&RING, &["--wait", "patiently"]).end().expect(2).says("block, adaptive, spin");
}
