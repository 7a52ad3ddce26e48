//! A process killed at every step of a push or a pop, and what the others make of it.

use std::path::PathBuf;

use common::testkit::steps::{Death, consumer_killed, producer_killed};
use common::testkit::{Pair, Sandbox};

/// With one slot: if that is lost, nothing moves any more.
const fn pair(both: &'static [&'static str]) -> Pair {
    Pair {
        producer: env!("CARGO_BIN_EXE_shm-producer"),
        consumer: env!("CARGO_BIN_EXE_shm-consumer"),
        both,
        only_producer: &["--slots", "1"],
        only_consumer: &[],
    }
}

const SEMAPHORE: Pair = pair(&["--sync", "semaphore"]);
const MUTEX: Pair = pair(&["--sync", "mutex"]);
const RING: Pair = pair(&["--sync", "ring"]);
const DUPLEX: Pair = pair(&["--sync", "ring", "--duplex"]);

/// Where the kernel shows the object.
fn object(sandbox: &Sandbox) -> PathBuf {
    format!("/dev/shm/ipc-lab-{}-{}", nix::unistd::geteuid(), sandbox.name()).into()
}

/// No item is damaged or doubled, and none is there half.
fn nothing_torn(death: &Death) {
    for key in ["lost", "corrupted", "duplicated", "reordered"] {
        assert_eq!(death.consumer.number(key), 0, "{key} after {death:?}");
    }
}

/// How many items came, death by death: first that many, and from one step on the other.
fn items(deaths: &[Death], before: u64, after: u64) {
    let items: Vec<u64> = deaths.iter().map(|death| death.consumer.number("items")).collect();
    let turn = items.iter().position(|n| *n != before).unwrap_or(items.len());
    let (first, rest) = items.split_at(turn);
    assert!(!first.is_empty() && !rest.is_empty() && rest.iter().all(|n| *n == after), "{items:?}");
}

/// The same where the other side runs meanwhile, and may have to be woken or not: so many steps come before the turn in
/// one run, and one or two more in another.
fn in_two_ways(deaths: &[Death], first: u64, last: u64) {
    let items: Vec<u64> = deaths.iter().map(|death| death.consumer.number("items")).collect();
    assert!(items.iter().all(|n| [first, last].contains(n)), "{items:?}");
    assert_eq!((items.first(), items.last()), (Some(&first), Some(&last)), "{items:?}");
}

fn how_many_say(deaths: &[Death], text: &str) -> usize {
    deaths.iter().filter(|death| death.says(text)).count()
}

#[test]
fn ring_producer() {
    let deaths = producer_killed(&RING, object);
    for death in &deaths {
        nothing_torn(death);
        assert_eq!(death.survivor.code, 3, "{death:?}");
        assert!(death.says("died without a goodbye"), "{death:?}");
    }
    if !deaths.is_empty() {
        // Invisible until it is published.
        items(&deaths, 1, 2);
    }
}

#[test]
fn ring_consumer() {
    let deaths = consumer_killed(&RING, object);
    for death in &deaths {
        nothing_torn(death);
        assert_eq!((death.survivor.code, death.consumer.code), (0, 0), "{death:?}");
    }
    if !deaths.is_empty() {
        // In hand, and so it comes again, until it is done.
        items(&deaths, 2, 1);
    }
}

#[test]
fn duplex_producer() {
    let deaths = producer_killed(&DUPLEX, object);
    for death in &deaths {
        nothing_torn(death);
        assert_eq!(death.survivor.code, 3, "{death:?}");
        assert!(death.says("died without a goodbye"), "{death:?}");
    }
    if !deaths.is_empty() {
        in_two_ways(&deaths, 1, 2);
    }
}

#[test]
fn duplex_consumer() {
    let deaths = consumer_killed(&DUPLEX, object);
    for death in &deaths {
        nothing_torn(death);
        // Whether the dead one has replied or not, the producer has its reply, once.
        assert_eq!((death.survivor.code, death.consumer.code), (0, 0), "{death:?}");
        let replies = death.survivor.stdout.matches("reply: ").count();
        assert_eq!(replies, 3, "{death:?}");
    }
    if !deaths.is_empty() {
        // As in a ring; in hand until the reply is there.
        in_two_ways(&deaths, 2, 1);
    }
}

#[test]
fn mutex_producer() {
    let deaths = producer_killed(&MUTEX, object);
    for death in &deaths {
        nothing_torn(death);
        assert_eq!(death.survivor.code, 3, "{death:?}");
    }
    if !deaths.is_empty() {
        items(&deaths, 1, 2);
        assert!(how_many_say(&deaths, "owner died, repaired") > 0, "{deaths:?}");
    }
}

#[test]
fn mutex_consumer() {
    let deaths = consumer_killed(&MUTEX, object);
    for death in &deaths {
        nothing_torn(death);
        assert_eq!((death.survivor.code, death.consumer.code), (0, 0), "{death:?}");
    }
    if !deaths.is_empty() {
        items(&deaths, 2, 1);
        assert!(how_many_say(&deaths, "owner died, repaired") > 0, "{deaths:?}");
        assert!(how_many_say(&deaths, "died with an item in hand: it comes again") > 0, "{deaths:?}");
    }
}

#[test]
fn semaphore_producer() {
    let deaths = producer_killed(&SEMAPHORE, object);
    for death in &deaths {
        nothing_torn(death);
        assert_eq!(death.survivor.code, 3, "{death:?}");
    }
    let locked = how_many_say(&deaths, "lock held by a dead process");
    assert!(deaths.is_empty() || locked > 0 && locked < deaths.len(), "{locked} {deaths:?}");
}

#[test]
fn semaphore_consumer() {
    let deaths = consumer_killed(&SEMAPHORE, object);
    for death in &deaths {
        nothing_torn(death);
        let found = death.says("lock held by a dead process") || death.says("all 1 slots are lost");
        let codes = [death.survivor.code, death.consumer.code];
        assert!(if found { codes.contains(&3) } else { codes == [0, 0] }, "{death:?}");
    }
    if !deaths.is_empty() {
        assert!(how_many_say(&deaths, "lock held by a dead process") > 0, "{deaths:?}");
        assert!(how_many_say(&deaths, "all 1 slots are lost") > 0, "{deaths:?}");
    }
}
