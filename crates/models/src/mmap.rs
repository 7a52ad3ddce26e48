//! The ring in a mapped file: `positions.rs` and all that calls it, and the end of the stream in `consumer.rs`.

pub mod map;

mod header {
    pub const HEADER: usize = 4096;
}

use loom::thread;

use self::consumer::Consumer;
use self::map::Map;
use self::reader::Reader;
use self::writer::Writer;
use crate::futex;
use crate::waiting;
use crate::weak::Signalled::{self, Consuming, Nobody, Producing};
use crate::weak::{ASLEEP, Needed, RACE, again, each_is_needed, explore, would_not_block};

include!(concat!(env!("OUT_DIR"), "/mmap.rs"));

/// Both ends of an empty ring, of which the positions soon wrap.
fn pair(capacity: usize) -> (Writer, Consumer) {
    let map = Map::new(capacity, 0_u64.wrapping_sub(64));
    let reader = Some(Reader::new(map.clone()).expect("a reader"));
    let consumer = Consumer { reader, ended: false, producer: Some(1), lost: None };
    (Writer::new(map).expect("a writer"), consumer)
}

fn take(consumer: &mut Consumer, expected: &[u8]) {
    let record = consumer.record().expect("it was found");
    let mut bytes = vec![0; record.len()];
    record.read_at(0, &mut bytes).expect("no file is cut");
    assert_eq!(bytes, expected);
    record.commit();
}

/// A whole stream through a ring with room for one record. Each side sleeps when it has to.
fn a_stream(signalled: Signalled) {
    let (mut writer, mut consumer) = pair(32);
    let producing = thread::spawn(move || {
        if signalled == Consuming {
            futex::send_signal();
        }
        for item in 1..=2 {
            again(|| writer.push(&[item]));
        }
        writer.say_goodbye().expect("goodbye");
    });
    if signalled == Producing {
        futex::send_signal();
    }
    for item in 1..=2 {
        assert!(again(|| consumer.find()).is_some(), "lost item {item}");
        take(&mut consumer, &[item]);
    }
    assert!(again(|| consumer.find()).is_none(), "an item too much");
    producing.join().expect("the producer's end");
}

/// A record that goes up to the ring's end only with a skip: both are more than there is room for.
fn a_skip() {
    let (mut writer, mut consumer) = pair(64);
    let producing = thread::spawn(move || {
        again(|| writer.push(&[1; 17]));
        again(|| writer.push(&[2]));
        writer.say_goodbye().expect("goodbye");
    });
    for item in [&[1; 17][..], &[2]] {
        assert!(again(|| consumer.find()).is_some(), "lost {item:?}");
        take(&mut consumer, item);
    }
    assert!(again(|| consumer.find()).is_none(), "an item too much");
    producing.join().expect("the producer's end");
}

/// Neither side ever sleeps: no fence of theirs is there to help.
fn a_look(capacity: usize) {
    let (mut writer, mut consumer) = pair(capacity);
    let producing = thread::spawn(move || {
        let pushed = (1..=2).take_while(|item| would_not_block(writer.try_push(&[*item])).is_some()).count();
        writer.say_goodbye().expect("goodbye");
        pushed
    });
    let (mut popped, mut ended) = (0, false);
    for _ in 0..3 {
        match would_not_block(consumer.try_find()) {
            None => {}
            Some(None) => ended = true,
            Some(Some(_)) => {
                popped += 1;
                take(&mut consumer, &[popped]);
            }
        }
    }
    let pushed = producing.join().expect("the producer's end");
    assert!(!ended || usize::from(popped) == pushed, "lost an item at the end");
}

#[test]
fn a_stream_arrives() {
    explore(|| a_stream(Nobody));
}

#[test]
fn a_stream_arrives_from_an_interrupted_producer() {
    explore(|| a_stream(Producing));
}

#[test]
fn a_stream_arrives_at_an_interrupted_consumer() {
    explore(|| a_stream(Consuming));
}

#[test]
fn a_stream_with_a_skip_arrives() {
    explore(a_skip);
}

#[test]
fn who_looks_without_sleeping_sees_whole_records_and_the_true_end() {
    explore(|| a_look(32));
    explore(|| a_look(64));
}

const NEEDED: &[Needed] = &[
    (&["positions.rs tail Acquire"], || a_look(32), RACE),
    (&["positions.rs head Acquire"], || a_look(32), RACE),
    (&["positions.rs commit Release"], || a_look(32), RACE),
    (&["positions.rs release Release"], || a_look(32), RACE),
    (&["positions.rs said_goodbye Acquire"], || a_look(64), "lost an item"),
    // The fence of the last commit does its work.
    (
        &["positions.rs say_goodbye Release", "positions.rs wake_if_asleep SeqCst"],
        || a_look(64),
        "lost an item",
    ),
    (&["positions.rs wake_if_asleep SeqCst"], || a_stream(Nobody), ASLEEP),
    (&["positions.rs sleep_unless SeqCst"], || a_stream(Nobody), ASLEEP),
];

#[test]
fn each_ordering_is_needed() {
    each_is_needed(SITES, NEEDED);
}
