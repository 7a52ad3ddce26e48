//! The ring in shared memory: `side.rs` and `ring.rs`, and the goodbye of `object.rs`.

pub mod memory;

use crate::futex;
use crate::waiting;

include!(concat!(env!("OUT_DIR"), "/shm.rs"));

use std::rc::Rc;

use loom::thread;

use self::memory::Memory;
use self::object::{Object, Role, Shape};
use self::ring::Ring;
use crate::weak::Signalled::{self, Consuming, Nobody, Producing};
use crate::weak::{ASLEEP, Needed, RACE, again, each_is_needed, explore, would_not_block};

/// Both ends of an empty ring, of which the counters soon wrap.
fn pair(slots: u32) -> (Ring, Ring) {
    let memory = Rc::new(Memory::new(slots as usize));
    for counter in [ring::HEAD, ring::TAIL] {
        side::Side::at(&memory, counter).publish(u64::MAX);
    }
    let shape = Shape { slots, slot_size: 1 };
    let end = |role| Ring::new(Object { memory: Rc::clone(&memory), shape, role }).expect("an end");
    (end(Role::Producer), end(Role::Consumer))
}

/// A whole stream through one slot. Each side sleeps when it has to.
fn a_stream(items: u8, signalled: Signalled) {
    let (mut producer, mut consumer) = pair(1);
    let producing = thread::spawn(move || {
        if signalled == Consuming {
            futex::send_signal();
        }
        for item in 1..=items {
            again(|| producer.push(&[item]));
        }
        producer.leave(true, 0).expect("goodbye");
    });
    if signalled == Producing {
        futex::send_signal();
    }
    for item in 1..=items {
        assert!(again(|| consumer.pop()), "lost item {item}");
        assert_eq!(consumer.item(), [item]);
    }
    assert!(!again(|| consumer.pop()), "an item too much");
    producing.join().expect("the producer's end");
}

/// Neither side ever sleeps: no fence of theirs is there to help.
fn a_look(slots: u32) {
    let (mut producer, mut consumer) = pair(slots);
    let producing = thread::spawn(move || {
        let pushed =
            (1..=2).take_while(|item| would_not_block(producer.try_push(&[*item])).is_some()).count();
        producer.leave(true, 0).expect("goodbye");
        pushed
    });
    let (mut popped, mut ended) = (0, false);
    for _ in 0..3 {
        match would_not_block(consumer.try_pop()) {
            None => {}
            Some(false) => ended = true,
            Some(true) => {
                popped += 1;
                assert_eq!(consumer.item(), [popped]);
            }
        }
    }
    let pushed = producing.join().expect("the producer's end");
    assert!(!ended || usize::from(popped) == pushed, "lost an item at the end");
}

#[test]
fn a_stream_arrives() {
    explore(|| a_stream(3, Nobody));
}

#[test]
fn a_stream_arrives_from_an_interrupted_producer() {
    explore(|| a_stream(2, Producing));
}

#[test]
fn a_stream_arrives_at_an_interrupted_consumer() {
    explore(|| a_stream(2, Consuming));
}

#[test]
fn who_looks_without_sleeping_sees_whole_items_and_the_true_end() {
    explore(|| a_look(1));
    explore(|| a_look(2));
}

const NEEDED: &[Needed] = &[
    (&["side.rs load Acquire"], || a_look(1), RACE),
    (&["side.rs publish Release"], || a_look(1), RACE),
    (&["side.rs about_to_sleep SeqCst"], || a_stream(3, Nobody), ASLEEP),
    (&["side.rs wake SeqCst"], || a_stream(3, Nobody), ASLEEP),
    (&["object.rs is_closed Acquire"], || a_look(2), "lost an item"),
    // The fence of the last push does its work. The other mechanisms have the goodbye too, and no fence.
    (&["object.rs leave Release", "side.rs wake SeqCst"], || a_look(2), "lost an item"),
];

#[test]
fn each_ordering_is_needed() {
    each_is_needed(SITES, NEEDED);
}
