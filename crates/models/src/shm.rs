//! The ring in shared memory: `side.rs` and `ring.rs`, and the goodbye of `object.rs`.

pub mod memory;

use crate::futex;

include!(concat!(env!("OUT_DIR"), "/shm.rs"));

use std::io::{self, ErrorKind};
use std::rc::Rc;

use loom::thread;

use self::memory::Memory;
use self::object::{Object, Role, Shape};
use self::ring::Ring;
use crate::weak::{ASLEEP, Needed, RACE, each_is_needed, explore};

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
fn a_stream() {
    let (mut producer, mut consumer) = pair(1);
    let producing = thread::spawn(move || {
        for item in 1..=3 {
            producer.push(&[item]).expect("nobody interrupts");
        }
        producer.leave(true, 0).expect("goodbye");
    });
    for item in 1..=3 {
        assert!(consumer.pop().expect("nobody dies"), "lost item {item}");
        assert_eq!(consumer.item(), [item]);
    }
    assert!(!consumer.pop().expect("nobody dies"), "an item too much");
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

fn would_not_block<T>(result: io::Result<T>) -> Option<T> {
    result.map_err(|e| assert_eq!(e.kind(), ErrorKind::WouldBlock, "{e}")).ok()
}

#[test]
fn a_stream_arrives() {
    explore(a_stream);
}

#[test]
fn who_looks_without_sleeping_sees_whole_items_and_the_true_end() {
    explore(|| a_look(1));
    explore(|| a_look(2));
}

const NEEDED: &[Needed] = &[
    (&["side.rs load Acquire"], || a_look(1), RACE),
    (&["side.rs publish Release"], || a_look(1), RACE),
    (&["side.rs about_to_sleep SeqCst"], a_stream, ASLEEP),
    (&["side.rs wake SeqCst"], a_stream, ASLEEP),
    (&["object.rs is_closed Acquire"], || a_look(2), "lost an item"),
    // The fence of the last push does its work. The other mechanisms have the goodbye too, and no fence.
    (&["object.rs leave Release", "side.rs wake SeqCst"], || a_look(2), "lost an item"),
];

#[test]
fn each_ordering_is_needed() {
    each_is_needed(SITES, NEEDED);
}
