//! Two-way: a ring goes in one direction, so talking both ways takes two. Both are in one object.
//!
//! ```text
//!            0                                      size of a ring
//!           +--------+------+------+---------------+--------+------+------+-----------------+
//!           | header | head | tail | items         | unused | head | tail | replies         |
//!           +--------+------+------+---------------+--------+------+------+-----------------+
//!   written by the:    consumer producer                     producer consumer
//! ```
//!
//! The second ring is the first one's image: the producer pops there, and the consumer pushes. Nothing of [`crate::ring`]
//! changes for that. There is one object and not two, so it has one name, each process one place at it, and who dies is
//! noticed once; and nobody can ever find one ring without the other.
//!
//! Guarantees: those of a ring, in each direction. An item that a killed consumer had in hand comes again, and so does the
//! reply to it: who asks has to look which of its items it is about.
//! Limits: one of each; a reply is no longer than [`REPLY`].

use std::io;

use crate::object::{Format, Shape, SyncKind};
use crate::ring::{self, Ring};

/// The longest reply, in bytes: with its length in front it is a cache line.
pub const REPLY: usize = 56;

/// What it wants of its object.
pub static FORMAT: Format = Format {
    kind: SyncKind::Duplex,
    one_each: true,
    size: |shape| ring::size(shape) + ring::size(&replies_of(shape)),
    init: |_, _| Ok(()),
};

fn replies_of(items: &Shape) -> Shape {
    Shape { slots: items.slots, slot_size: REPLY as u32 }
}

/// The ring of the replies, behind that of the `items`: a consumer pushes there, a producer pops, and waits as it does here.
///
/// # Errors
/// `InvalidData` if its counters make no sense; what mmap(2) refuses.
pub fn replies(items: &Ring) -> io::Result<Ring> {
    let (object, waiting) = (&items.object, items.waiting.clone());
    let object = object.way_back(ring::size(&object.shape), replies_of(&object.shape))?;
    let mut ring = Ring::new(object)?;
    ring.waiting = waiting;
    Ok(ring)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind::{InvalidData, WouldBlock};

    use common::place::Place;

    use super::*;
    use crate::object::Object;
    use crate::seat::Seat;

    #[test]
    fn an_object_that_was_cut_has_no_way_back() {
        let (place, name) = (Place::open().expect("place"), format!("duplex-cut-{}", std::process::id()));
        let object =
            Object::create(&place, &name, &FORMAT, Shape { slots: 8, slot_size: 16 }).expect("create");
        let ring = Ring::new(object).expect("producer");
        let path = format!("/dev/shm/ipc-lab-{}-{name}", nix::unistd::geteuid());
        let file = std::fs::File::options().write(true).open(path).expect("open the object");
        for len in [900, 100, 0] {
            file.set_len(len).expect("cut it");
            assert_eq!(replies(&ring).expect_err("cut").kind(), InvalidData, "{len}");
        }
    }

    #[test]
    fn what_goes_one_way_does_not_come_the_other() {
        for slots in [1, 3] {
            let (place, name) =
                (Place::open().expect("place"), format!("duplex-{slots}-{}", std::process::id()));
            let shape = Shape { slots, slot_size: 16 };
            let object = Object::create(&place, &name, &FORMAT, shape).expect("create");
            let mut asking = Ring::new(object).expect("producer");
            let mut answered = replies(&asking).expect("the way back");
            let mut seat = Some(Seat::consumer(&place, &name, &FORMAT).expect("seat"));
            let object = Object::open(&mut seat).expect("open").expect("there");
            let mut asked = Ring::new(object).expect("consumer");
            let mut answering = replies(&asked).expect("the way back");

            for n in 0..10u8 {
                asking.try_push(&[n; 16]).expect("a free slot");
                assert_eq!(answered.try_pop().expect_err("no reply yet").kind(), WouldBlock);
                assert!(asked.try_pop().expect("an item"));
                assert_eq!(asked.item(), [n; 16]);
                answering.try_push(&[n + 100; REPLY]).expect("a free slot");
                assert_eq!(asked.try_pop().expect_err("one item").kind(), WouldBlock);
                assert!(answered.try_pop().expect("a reply"));
                assert_eq!(answered.item(), [n + 100; REPLY]);
                answered.done().expect("done");
            }
            // Full in one direction is not full in the other.
            for _ in 0..slots {
                answering.try_push(b"").expect("a free slot");
            }
            assert_eq!(answering.try_push(b"").expect_err("full").kind(), WouldBlock);
            asking.try_push(b"").expect("a free slot");
        }
    }
}
