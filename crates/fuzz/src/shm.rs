//! Shared memory: two ends of a buffer, and somebody who writes into the object, cuts it, or makes it longer, at any
//! moment.
//!
//! As long as nobody does, it is a bounded buffer: every item, in order, and full and empty exactly when it should be.
//! From then on nothing is promised but this: every call returns, an item is no longer than a slot, and an error is
//! one of those that are documented. Of the semaphores and the mutex, which are the C library's and trusted by it,
//! the scribbler keeps off; all other words of those two mechanisms are as open to it as the ring's.

use std::collections::VecDeque;
use std::fs::File;
use std::io::ErrorKind::{self, *};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use common::place::Place;
use nix::unistd::geteuid;
use shm_demo::buffer::Buffer;
use shm_demo::inspect::{Seen, inspect};
use shm_demo::object::{Shape, SyncKind};

use crate::memory::at_most;
use crate::script::Script;
use crate::{LONGEST, Seed, unique_name};

/// What a call may take: an item, the names of who is attached, what an error says.
const MEMORY: usize = 64 << 10;
/// How many steps a script may have, and how many in which somebody comes.
const STEPS: usize = 64;
const ARRIVALS: usize = 6;
/// The longest that the object is made.
const LONGEST_OBJECT: u64 = 1 << 16;

/// The bytes are the mechanism, slots, their size, and a script.
pub fn run(bytes: &[u8]) {
    if bytes.len() > LONGEST {
        return;
    }
    let mut script = Script(bytes);
    let kind = SyncKind::ALL[usize::from(script.u8()) % 4];
    let shape = Shape { slots: 1 + u32::from(script.u8()) % 8, slot_size: script.u8().into() };
    let mut scene = Scene::new(kind, shape);
    for _ in 0..STEPS {
        let Some(op) = script.op() else { break };
        scene.step(op, &mut script);
    }
    // Who leaves takes the object along, whatever is in it.
    let path = scene.path.clone();
    drop(scene);
    assert!(!std::path::Path::new(&path).exists(), "{path} is left behind");
}

/// One end of a ring: its own counter, the other's when it last looked, and whether it has an item in hand.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    mine: u64,
    theirs: u64,
    in_hand: bool,
}

/// In `Scene::at`.
const PRODUCER: usize = 0;
const CONSUMER: usize = 1;
/// Where the ring's counters are.
const HEAD: u64 = 128;
const TAIL: u64 = 192;

struct Scene {
    place: Place,
    name: String,
    path: String,
    kind: SyncKind,
    shape: Shape,
    producer: Option<Buffer>,
    consumer: Option<Buffer>,
    /// Somebody else has written to it, or has cut it.
    tampered: bool,
    cut: bool,
    /// Where the two ends of a ring are, as the wire format has it.
    at: [End; 2],
    /// The scribbler's own way to it.
    object: File,
    /// What is in the buffer, and in the consumer's hand, as long as nobody has.
    items: VecDeque<Vec<u8>>,
    hand: Option<Vec<u8>>,
    /// A producer went without a goodbye.
    died: bool,
    pushed: u8,
    arrivals: usize,
}

impl Scene {
    fn new(kind: SyncKind, shape: Shape) -> Scene {
        let (place, name) = (Place::open().expect("a place"), unique_name());
        let path = format!("/dev/shm/ipc-lab-{}-{name}", geteuid());
        let producer = Some(Buffer::create(&place, &name, kind, shape).expect("a buffer"));
        let object = File::options().read(true).write(true).open(&path).expect("it was made");
        let (items, hand) = (VecDeque::new(), None);
        let mut scene = Scene {
            place,
            name,
            path,
            kind,
            shape,
            producer,
            consumer: None,
            tampered: false,
            cut: false,
            at: [End::default(); 2],
            object,
            items,
            hand,
            died: false,
            pushed: 0,
            arrivals: 0,
        };
        scene.consumer_comes();
        assert!(scene.consumer.is_some());
        scene
    }

    fn step(&mut self, op: u8, script: &mut Script<'_>) {
        match op % 11 {
            0 => self.push(script.u8().into()),
            1 => self.pop(),
            2 => self.done(),
            3 => self.scribble(script.u16().into(), &script.u64().to_le_bytes()[..4]),
            4 => self.scribble(script.u16().into(), &script.u64().to_le_bytes()),
            5 => self.resize(script.u16().into()),
            6 if self.may_come() => self.consumer_comes(),
            7 if self.may_come() => self.producer_comes(),
            8 if self.may_come() => self.goodbye(),
            9 => self.look(),
            _ => self.inspect(),
        }
    }

    fn may_come(&mut self) -> bool {
        self.arrivals += 1;
        self.arrivals <= ARRIVALS
    }

    fn push(&mut self, len: usize) {
        let Some(producer) = &mut self.producer else { return };
        self.pushed = self.pushed.wrapping_add(1);
        let item = vec![self.pushed; len];
        let shape = producer.object().shape;
        let pushed = at_most(MEMORY, || producer.push(&item, false)).map_err(|e| e.kind());
        if self.kind == SyncKind::Ring && !self.cut {
            assert_eq!(pushed, self.push_plainly(&shape, len));
        }
        if self.tampered {
            return assert_kind(&pushed, &[WouldBlock, InvalidInput, InvalidData, ConnectionAborted]);
        }
        let used = self.items.len() + usize::from(self.hand.is_some() && self.kind != SyncKind::None);
        if len > self.shape.slot_size as usize {
            assert_eq!(pushed, Err(InvalidInput));
        } else if used == self.shape.slots as usize {
            assert_eq!(pushed, Err(WouldBlock), "{used} items");
        } else {
            assert_eq!(pushed, Ok(()), "{used} items");
            self.items.push_back(item);
        }
    }

    fn pop(&mut self) {
        let Some(consumer) = &mut self.consumer else { return };
        self.hand = None;
        let shape = consumer.object().shape;
        let plain = (self.kind == SyncKind::Ring && !self.cut).then(|| self.pop_plainly(&shape));
        let Some(consumer) = &mut self.consumer else { return };
        let popped = at_most(MEMORY, || consumer.pop(false)).map_err(|e| e.kind());
        match plain {
            // Empty: whether it is the end depends on who is there.
            Some(Ok(None)) => assert_ne!(popped, Ok(true)),
            Some(Ok(Some(item))) => assert_eq!((popped, consumer.item()), (Ok(true), &item[..])),
            Some(Err(kind)) => assert_eq!(popped, Err(kind)),
            None => {}
        }
        if popped == Ok(true) {
            assert!(consumer.item().len() <= consumer.object().shape.slot_size as usize);
        }
        if self.tampered {
            return assert_kind(&popped, &[WouldBlock, InvalidData, ConnectionAborted]);
        }
        match self.items.pop_front() {
            Some(item) => {
                assert_eq!((popped, consumer.item()), (Ok(true), &item[..]));
                self.hand = Some(item);
            }
            // Whether it is the end, too, depends on who was there at the last look: see the demo's own tests.
            None => {
                assert_ne!(popped, Ok(true));
                assert_kind(
                    &popped,
                    if self.died { &[WouldBlock, ConnectionAborted] } else { &[WouldBlock] },
                );
            }
        }
    }

    fn word(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.object.read_exact_at(&mut bytes, at).expect("it is not cut");
        u64::from_le_bytes(bytes)
    }

    /// How many items there are between two counters, if that can be.
    fn between(shape: &Shape, head: u64, tail: u64) -> Result<u64, ErrorKind> {
        let items = tail.wrapping_sub(head);
        if items <= shape.slots.into() { Ok(items) } else { Err(InvalidData) }
    }

    /// What comes of a push into a ring, as the wire format has it. (What is written there, a pop finds.)
    fn push_plainly(&mut self, shape: &Shape, len: usize) -> Result<(), ErrorKind> {
        let head = self.word(HEAD);
        let end = &mut self.at[PRODUCER];
        if len > shape.slot_size as usize {
            return Err(InvalidInput);
        }
        if end.mine.wrapping_sub(end.theirs) >= u64::from(shape.slots) {
            let items = Scene::between(shape, head, end.mine)?;
            end.theirs = head;
            if items == u64::from(shape.slots) {
                return Err(WouldBlock);
            }
        }
        end.mine = end.mine.wrapping_add(1);
        Ok(())
    }

    /// What comes of a pop, likewise: no item if there seems to be none.
    fn pop_plainly(&mut self, shape: &Shape) -> Result<Option<Vec<u8>>, ErrorKind> {
        let tail = self.word(TAIL);
        let end = &mut self.at[CONSUMER];
        end.mine = end.mine.wrapping_add(u64::from(std::mem::take(&mut end.in_hand)));
        if end.mine == end.theirs {
            if Scene::between(shape, end.mine, tail)? == 0 {
                return Ok(None);
            }
            end.theirs = tail;
        }
        let slot = end.mine % u64::from(shape.slots.next_power_of_two());
        let at = 256 + slot * (8 + u64::from(shape.slot_size)).next_multiple_of(64);
        let len = self.word(at) as u32;
        if len > shape.slot_size {
            return Err(InvalidData);
        }
        let mut item = vec![0; len as usize];
        self.object.read_exact_at(&mut item, at + 8).expect("it is not cut");
        self.at[CONSUMER].in_hand = true;
        Ok(Some(item))
    }

    fn done(&mut self) {
        let Some(consumer) = &mut self.consumer else { return };
        self.hand = None;
        let end = &mut self.at[CONSUMER];
        end.mine = end.mine.wrapping_add(u64::from(std::mem::take(&mut end.in_hand)));
        let done = at_most(MEMORY, || consumer.done()).map_err(|e| e.kind());
        if self.tampered { assert_kind(&done, &[InvalidData]) } else { assert_eq!(done, Ok(())) }
    }

    fn scribble(&mut self, at: u64, bytes: &[u8]) {
        let library: Range<u64> = match self.kind {
            SyncKind::Semaphore => 128..320,
            SyncKind::Mutex => 128..192,
            _ => 0..0,
        };
        let end = at + bytes.len() as u64;
        if at < library.end && library.start < end {
            return;
        }
        // Not beyond the end, for that would make it longer.
        if end <= self.object.metadata().expect("open").len() {
            self.object.write_all_at(bytes, at).expect("a file in memory");
            self.tampered = true;
        }
    }

    fn resize(&mut self, len: u64) {
        self.cut |= len < self.object.metadata().expect("open").len();
        self.object.set_len(len.min(LONGEST_OBJECT)).expect("a file in memory");
        self.tampered = true;
    }

    fn consumer_comes(&mut self) {
        self.consumer = None;
        if let (SyncKind::Ring | SyncKind::Mutex, Some(item)) = (self.kind, self.hand.take()) {
            self.items.push_front(item); // it was not done with it
        }
        if self.producer.is_none() {
            return; // the last one has left, and the object with it
        }
        let seat = Buffer::wait(&self.place, &self.name, self.kind).expect("there is a place for it");
        match at_most(MEMORY, || Buffer::open(&mut Some(seat), self.kind)) {
            Ok(Some(consumer)) => {
                let object = consumer.object();
                assert!(self.tampered || (object.kind(), object.shape) == (self.kind, self.shape));
                self.consumer = Some(consumer);
                self.at[CONSUMER] = self.end(HEAD, TAIL);
            }
            other => {
                let kind = other.map(|o| o.is_some()).map_err(|e| e.kind());
                assert!(self.tampered, "{kind:?}");
                assert_kind(&kind, &[InvalidData, ConnectionAborted]);
            }
        }
    }

    fn producer_comes(&mut self) {
        self.died |= self.producer.take().is_some();
        if self.consumer.is_none() {
            return;
        }
        match at_most(MEMORY, || Buffer::create(&self.place, &self.name, self.kind, self.shape)) {
            Ok(producer) => {
                self.producer = Some(producer);
                self.at[PRODUCER] = self.end(TAIL, HEAD);
            }
            Err(e) => {
                assert!(self.tampered, "{e}");
                assert_kind(&Err::<(), _>(e.kind()), &[InvalidData, InvalidInput, ConnectionAborted]);
            }
        }
    }

    /// Where somebody begins who has just come to a ring.
    fn end(&self, mine: u64, theirs: u64) -> End {
        if self.kind != SyncKind::Ring || self.cut {
            return End::default();
        }
        End { mine: self.word(mine), theirs: self.word(theirs), in_hand: false }
    }

    fn goodbye(&mut self) {
        let Some(producer) = &mut self.producer else { return };
        let said = at_most(MEMORY, || producer.finish()).map_err(|e| e.kind());
        if self.consumer.is_some() && !self.tampered {
            assert_eq!(said, Ok(()), "there is somebody to hear it");
        }
        assert_kind(&said, &[WouldBlock, InvalidData]);
        self.producer = None;
    }

    fn look(&mut self) {
        // A semaphore is asked for a tenth of a second whether it will not come back: not in each of so many runs.
        if self.tampered && self.kind == SyncKind::Semaphore {
            return;
        }
        for end in [&mut self.producer, &mut self.consumer].into_iter().flatten() {
            let looked = at_most(MEMORY, || end.look()).map_err(|e| e.kind());
            if self.tampered {
                assert_kind(&looked, &[InvalidData])
            } else {
                assert_eq!(looked, Ok(()))
            }
            let _ = (end.note(), end.items(), end.why(), end.tally().map(|tally| tally.faults()));
        }
    }

    fn inspect(&mut self) {
        let seen = at_most(MEMORY, || inspect(&self.object)).map_err(|e| e.kind());
        let Scene { kind, shape, .. } = *self;
        if !self.tampered {
            // In hand it counts as in the ring, whose slot it keeps; the others have counted it off.
            let in_hand = self.hand.is_some() && kind == SyncKind::Ring;
            let items = self.items.len() as u64 + u64::from(in_hand);
            return assert_eq!(seen, Ok(Some(Seen { kind, shape, items })));
        }
        if let Ok(Some(seen)) = seen {
            assert!(seen.items <= seen.shape.slots.into() && seen.shape.is_possible());
        }
        assert_kind(&seen, &[InvalidData]);
    }
}

/// An error is one of these.
#[track_caller]
fn assert_kind<T: std::fmt::Debug>(result: &Result<T, ErrorKind>, kinds: &[ErrorKind]) {
    if let Err(kind) = result {
        assert!(kinds.contains(kind), "{kind:?} is none of {kinds:?}");
    }
}

/// Inputs to begin with.
pub fn seeds() -> Vec<Seed> {
    const DONE: &[u8] = &[2];
    const POP: &[u8] = &[1];
    const CONSUMER_COMES: &[u8] = &[6];
    const PRODUCER_COMES: &[u8] = &[7];
    const GOODBYE: &[u8] = &[8];
    const LOOK: &[u8] = &[9];
    const INSPECT: &[u8] = &[10];
    let push = |len: u8| vec![0, len];
    let word = |at: u16, value: u32| [&[3][..], &at.to_le_bytes(), &u64::from(value).to_le_bytes()].concat();
    let long = |at: u16, value: u64| [&[4][..], &at.to_le_bytes(), &value.to_le_bytes()].concat();
    let resize = |len: u16| [&[5][..], &len.to_le_bytes()].concat();
    let (one, full) = (push(5), push(16));
    let script = |kind: u8, steps: &[&[u8]]| [&[kind, 2, 16][..], &steps.concat()].concat();
    // By their places in `SyncKind::ALL`.
    let [none, semaphore, mutex, ring] = [0, 1, 2, 3];
    let through: Vec<&[u8]> = vec![
        &one,
        INSPECT,
        POP,
        &full,
        &one,
        &one,
        INSPECT,
        DONE,
        LOOK,
        POP,
        CONSUMER_COMES,
        POP,
        POP,
        PRODUCER_COMES,
        &one,
        POP,
        POP,
        GOODBYE,
        POP,
        CONSUMER_COMES,
    ];
    let header = |kind, at, value| {
        script(kind, &[&one, &word(at, value), INSPECT, CONSUMER_COMES, POP, PRODUCER_COMES])
    };
    vec![
        ("none-all-well", script(none, &through)),
        ("semaphore-all-well", script(semaphore, &through)),
        ("mutex-all-well", script(mutex, &through)),
        ("ring-all-well", script(ring, &through)),
        ("ring-item-too-large", script(ring, &[&push(17)])),
        ("header-no-magic", header(ring, 0, 0)),
        ("header-other-version", header(ring, 8, 2)),
        ("header-other-kind", header(ring, 12, 2)),
        ("header-4-giga-slots", header(ring, 16, u32::MAX)),
        ("header-no-slots", header(mutex, 16, 0)),
        ("header-another-shape-of-the-same-size", header(ring, 16, 4)),
        ("header-4-gib-in-a-slot", header(semaphore, 20, u32::MAX)),
        ("header-closed", header(ring, 64, 1)),
        ("header-deaths", header(ring, 68, 7)),
        ("ring-head-ahead", script(ring, &[&one, &long(128, 9), INSPECT, POP, CONSUMER_COMES])),
        ("ring-tail-ahead", script(ring, &[&one, &long(192, u64::MAX), POP, INSPECT])),
        ("ring-tail-a-little-ahead", script(ring, &[&one, &long(192, 5), POP, POP])),
        ("ring-head-a-little-back", script(ring, &[&one, &one, &one, &long(128, u64::MAX - 3), &one, &one])),
        (
            "ring-near-the-wrap",
            script(
                ring,
                &[&long(128, u64::MAX), &long(192, 0), CONSUMER_COMES, PRODUCER_COMES, POP, &one, POP],
            ),
        ),
        ("ring-item-length", script(ring, &[&one, &word(256, 17), POP])),
        ("mutex-full-slot-is-none", script(mutex, &[&one, &word(256, 3), POP])),
        ("mutex-free-slot-is-none", script(mutex, &[&word(268, u32::MAX), &one])),
        ("mutex-item-length", script(mutex, &[&one, &word(328, u32::MAX), POP, POP])),
        ("semaphore-item-length", script(semaphore, &[&one, &word(448, u32::MAX), POP])),
        ("semaphore-no-free-hand", script(semaphore, &[&one, &long(384, u64::MAX), &word(392, 1), POP])),
        ("semaphore-head-ahead", script(semaphore, &[&one, &long(328, 9), POP, INSPECT])),
        ("none-indices", script(none, &[&one, &long(128, u64::MAX), POP, &one, POP])),
        ("none-count", script(none, &[&word(136, u32::MAX), POP, INSPECT, &word(136, 1 << 30), POP, &one])),
        ("ring-cut-to-nothing", script(ring, &[&one, &resize(0), POP, &one, CONSUMER_COMES, INSPECT])),
        ("ring-cut-in-the-header", script(ring, &[&resize(100), &one, POP, LOOK, PRODUCER_COMES])),
        ("mutex-cut", script(mutex, &[&one, POP, &resize(300), DONE, GOODBYE, POP])),
        ("ring-longer", script(ring, &[&one, &resize(8192), POP, CONSUMER_COMES])),
    ]
}
