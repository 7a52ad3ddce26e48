//! The ways to wait (`--wait`): each carries every item, and ends when it is told to. `waiting_tests!` makes tests of
//! it for a [`Pair`] that has been told one of them. The default has the contract's and the survival tests.

use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::{Pair, Process, SOON, Sandbox};

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

/// Two that have met and have nothing to do for a second do nothing: no context switch, and no CPU time. First nothing
/// is there; then nothing is taken, if that makes the producer wait.
pub fn idle_is_free(pair: &Pair) {
    let sandbox = Sandbox::new();
    let producer = sandbox.producer(pair, &["--count", "2", "--interval", "1h"]);
    let consumer = sandbox.consumer(pair, &[]);
    consumer.wait_for_stdout("received #0").wait_for_stderr("blocked");
    at_rest([producer, consumer]);

    let sandbox = Sandbox::new();
    let producer = sandbox.producer(pair, &["--count", "0", "--interval", "0", "--quiet"]);
    let consumer = sandbox.consumer(pair, &["--delay", "1h"]);
    consumer.wait_for_stdout("received #0");
    producer.wait_for_stderr("blocked");
    at_rest([producer, consumer]);
}

/// Waits for a second in which neither process does anything. (There is a look or two after somebody came.)
fn at_rest(pair: [Process; 2]) {
    let deadline = Instant::now() + SOON;
    loop {
        let before = pair.each_ref().map(Process::usage);
        std::thread::sleep(Duration::from_secs(1));
        let after = pair.each_ref().map(Process::usage);
        if before == after {
            break;
        }
        assert!(Instant::now() < deadline, "never at rest: {before:?}, a second later {after:?}");
    }
    for process in pair {
        process.signal(Signal::SIGINT);
        process.end_within(SOON);
    }
}

/// In a stream through a large buffer a context switch is shared by so many items at least, in one of many moments:
/// `items` says how many have gone through.
pub fn switches_are_shared(pair: &Pair, at_least: u64, items: impl Fn(&Sandbox) -> u64) {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(pair, &["--quiet"]);
    consumer.wait_for_stderr("waiting for a producer");
    let producer = sandbox.producer(pair, &["--count", "0", "--interval", "0", "--quiet"]);
    let pair = [producer, consumer];
    let deadline = Instant::now() + SOON;
    let counted = || (items(&sandbox), pair.iter().map(|side| side.usage().sleeps).sum::<u64>());
    while items(&sandbox) == 0 {
        assert!(Instant::now() < deadline, "nothing moves");
    }
    loop {
        let before = counted();
        std::thread::sleep(Duration::from_millis(100));
        let after = counted();
        let (items, sleeps) = (after.0 - before.0, after.1 - before.1);
        if items > 1000 && items >= at_least * sleeps {
            break;
        }
        assert!(Instant::now() < deadline, "{items} items in {sleeps} context switches");
    }
    for process in pair {
        process.signal(Signal::SIGINT);
        process.end_within(SOON);
    }
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
