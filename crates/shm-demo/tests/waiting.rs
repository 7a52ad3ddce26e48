//! The other ways to wait than the default, over each of the three mechanisms that wake anybody; and what waiting costs.

use std::fs::File;
use std::os::unix::fs::FileExt;

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
fn two_that_have_nothing_to_do_do_nothing() {
    let duplex = pair(&["--sync", "ring", "--duplex"]);
    for pair in [RING, duplex, pair(&["--sync", "semaphore"]), pair(&["--sync", "mutex"])] {
        waiting::idle_is_free(&pair);
    }
}

/// Where the number of items that were ever pushed is in the object, and how many of them share a context switch: half
/// of what they do on a quiet machine, at the least.
const PUSHED: [(Pair, u64, u64); 3] =
    [(RING, 192, 25), (pair(&["--sync", "semaphore"]), 336, 5), (pair(&["--sync", "mutex"]), 240, 5)];

#[test]
fn a_stream_shares_its_context_switches() {
    for (pair, at, at_least) in PUSHED {
        waiting::switches_are_shared(
            &Pair { only_producer: &["--slots", "1024"], ..pair },
            at_least,
            |sandbox| {
                let object = format!("/dev/shm/ipc-lab-{}-{}", nix::unistd::geteuid(), sandbox.name());
                let mut bytes = [0; 8];
                let read = File::open(object).and_then(|object| object.read_exact_at(&mut bytes, at));
                read.map_or(0, |()| u64::from_ne_bytes(bytes))
            },
        );
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
