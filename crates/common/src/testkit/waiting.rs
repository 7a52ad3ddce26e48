//! The ways to wait (`--wait`): each carries every item, and ends when it is told to. `waiting_tests!` makes tests of
//! it for a [`Pair`] that has been told one of them. The default has the contract's and the survival tests.

use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::{Pair, SOON, Sandbox};

/// The tests that every way to wait passes: `waiting_tests!(module, PAIR)`.
#[macro_export]
macro_rules! waiting_tests {
    ($module:ident, $pair:expr) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;
            use $crate::testkit::{contract, survival, waiting};

            #[test]
            fn a_hundred_thousand_items_in_either_order() {
                contract::many_items(&$pair, true);
                contract::many_items(&$pair, false);
            }
            #[test]
            fn who_waits_can_be_ended() {
                contract::ended_while_empty(&$pair);
                contract::ended_while_full(&$pair);
            }
            #[test]
            fn who_waits_in_vain_gives_up_at_the_timeout() {
                contract::timeout(&$pair);
            }
            #[test]
            fn a_peer_that_is_stopped_and_goes_on_loses_nothing() {
                survival::stopped(&$pair);
            }
            #[test]
            fn killed_at_random_moments_and_started_again() {
                survival::killed_so_often(&$pair, 20);
            }
            #[test]
            fn two_on_one_processor_make_room_for_each_other() {
                waiting::on_one_processor(&$pair);
            }
        }
    };
}

/// Both sides on one processor, in a small buffer: each time one of them waits, the other has to run.
pub fn on_one_processor(pair: &Pair) {
    let everywhere = sched_getaffinity(Pid::from_raw(0)).expect("the processors");
    let mut here = CpuSet::new();
    here.set(sched_getcpu().expect("a processor")).expect("one of them");
    // Of this thread, and so of the processes that it starts.
    sched_setaffinity(Pid::from_raw(0), &here).expect("move to one processor");
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(pair, &["--quiet", "--json"]);
    let producer = sandbox.producer(pair, &["--count", "20000", "--interval", "0", "--quiet"]);
    sched_setaffinity(Pid::from_raw(0), &everywhere).expect("move back");
    // A twentieth of a second; a minute if each looks until its time slice is over.
    producer.end_within(SOON).expect(0);
    consumer.end_within(SOON).expect(0).all_well(20_000);
}

/// Who spins takes a processor while there is nothing to do.
pub fn spinning_is_not_free(pair: &Pair) {
    let sandbox = Sandbox::new();
    let producer = sandbox.producer(pair, &["--count", "2", "--interval", "1h"]);
    let consumer = sandbox.consumer(pair, &[]);
    consumer.wait_for_stdout("received #0").wait_for_stderr("blocked");
    let (before, deadline) = (consumer.usage().cpu, Instant::now() + SOON);
    while consumer.usage().cpu < before + Duration::from_millis(300) {
        assert!(Instant::now() < deadline, "it sleeps");
        std::thread::sleep(Duration::from_millis(20));
    }
    for process in [consumer, producer] {
        process.signal(Signal::SIGINT);
        process.end_within(SOON).expect(130);
    }
}
