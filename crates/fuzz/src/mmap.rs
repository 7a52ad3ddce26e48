//! The mapped file: a writer, a reader, and somebody who writes into the file, cuts it, or makes it longer, at any
//! moment.
//!
//! As long as nobody does, every record comes once, whole and in order. From then on nothing is promised but this:
//! every call returns, a record lies within the ring, the reader's position only goes forward, by no more than the ring
//! at a time, and an error is one of those that are documented.

use std::collections::VecDeque;
use std::fs::File;
use std::io::ErrorKind::{self, *};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use common::place::Place;
use mmap_demo::inspect::{Seen, inspect};
use mmap_demo::map::Map;
use mmap_demo::reader::Reader;
use mmap_demo::ring::{room_for, unread};
use mmap_demo::writer::Writer;

use crate::memory::at_most;
use crate::script::Script;
use crate::{LONGEST, Seed, unique_name};

/// The ring's size in bytes; a scribbler can make the file say another.
const CAPACITY: u64 = 4096;
/// What a call may take: what an error says.
const MEMORY: usize = 4096;
/// How many steps a script may have.
const STEPS: usize = 64;
/// The longest that the file is made.
const LONGEST_FILE: u64 = 1 << 16;

/// The bytes are the ring's first position, in steps of 16, and a script.
pub fn run(bytes: &[u8]) {
    if bytes.len() > LONGEST {
        return;
    }
    let mut script = Script(bytes);
    let start = (script.u8() as i8 as i64 as u64).wrapping_mul(16);
    let path = Place::open().expect("a place").channel(&unique_name(), "map").path();
    let mut scene = Scene::new(&path, start);
    for _ in 0..STEPS {
        let Some(op) = script.op() else { break };
        scene.step(op, &mut script);
    }
    std::fs::remove_file(path).expect("it is there");
}

struct Scene<'a> {
    path: &'a Path,
    writer: Option<Writer>,
    reader: Option<Reader>,
    /// The reader's position, the tail that it has seen, and the record that it has found, as they are to be.
    head: u64,
    tail: u64,
    found: Option<usize>,
    /// Somebody else has written to the file, or cut it.
    tampered: bool,
    cut: bool,
    /// The scribbler's own way to it.
    file: File,
    /// What is in the ring, as long as nobody has.
    records: VecDeque<Vec<u8>>,
    pushed: u8,
    goodbye: bool,
}

impl Scene<'_> {
    fn new(path: &Path, start: u64) -> Scene<'_> {
        let writer = Writer::new(Map::create(path, CAPACITY, start).expect("a new file"));
        let file = File::options().read(true).write(true).open(path).expect("it was made");
        let mut scene = Scene {
            path,
            writer: Some(writer.expect("it is sound")),
            reader: None,
            head: 0,
            tail: 0,
            found: None,
            tampered: false,
            cut: false,
            file,
            records: VecDeque::new(),
            pushed: 0,
            goodbye: false,
        };
        scene.reader_comes();
        scene
    }

    fn step(&mut self, op: u8, script: &mut Script<'_>) {
        match op % 10 {
            0 => self.push(script.u16().into()),
            1 => self.find(),
            2 => self.read(),
            3 => self.commit(),
            4 => self.scribble(script.u16().into(), &script.u64().to_le_bytes()),
            5 => self.resize(script.u16().into()),
            6 => self.reader_comes(),
            7 => self.writer_comes(),
            8 => self.say_goodbye(),
            _ => self.look(),
        }
    }

    fn push(&mut self, len: usize) {
        let Some(writer) = &mut self.writer else { return };
        self.pushed = self.pushed.wrapping_add(1);
        let record = vec![self.pushed; len % (CAPACITY as usize + 64)];
        let mut pushed = at_most(MEMORY, || writer.try_push(&record)).map_err(|e| e.kind());
        let fits = room_for(record.len() as u64) <= writer.map().capacity();
        assert_eq!(pushed == Err(InvalidInput), !fits);
        if self.tampered {
            return assert_kind(&pushed, &[WouldBlock, InvalidInput, InvalidData]);
        }
        assert_kind(&pushed, &[WouldBlock, InvalidInput]);
        if pushed == Err(WouldBlock) && self.records.is_empty() && self.reader.is_some() {
            // A skip to the ring's end is in the way; the reader steps over it, and then all of the ring is free.
            self.find();
            pushed = self.writer.as_mut().map_or(pushed, |w| w.try_push(&record).map_err(|e| e.kind()));
            assert_eq!(pushed, Ok(()), "an empty ring takes everything");
        }
        if pushed.is_ok() {
            self.records.push_back(record);
            let used: u64 = self.records.iter().map(|r| room_for(r.len() as u64)).sum();
            assert!(used <= CAPACITY);
        }
    }

    fn find(&mut self) {
        let plain = self.find_plainly();
        let Some(reader) = &mut self.reader else { return };
        let found = at_most(MEMORY, || reader.try_find()).map_err(|e| e.kind());
        if self.cut {
            return assert_kind(&found, &[WouldBlock, InvalidData]);
        }
        assert_eq!((found, reader.position()), (plain, self.head));
        assert!(self.tampered || found == self.records.front().map(Vec::len).ok_or(WouldBlock));
    }

    /// What the reader is to find, as the wire format has it, in a file that is as long as it was.
    fn find_plainly(&mut self) -> Result<usize, ErrorKind> {
        let Some(reader) = &self.reader else { return Err(WouldBlock) };
        let (capacity, bytes) = (reader.map().capacity(), std::fs::read(self.path).expect("it is there"));
        let long =
            |at: usize| bytes.get(at..at + 8).map_or(0, |b| u64::from_le_bytes(b.try_into().expect("eight")));
        while self.found.is_none() && !self.cut {
            if self.head == self.tail {
                let tail = long(64);
                if tail.wrapping_sub(self.head) > capacity || tail % 16 != 0 {
                    return Err(InvalidData);
                }
                self.tail = tail;
                if tail == self.head {
                    return Err(WouldBlock);
                }
            }
            let at = self.head % capacity;
            let [tag_and_len, position] = [4096, 4104].map(|base| long(base + at as usize));
            let (tag, len, to_end) = (tag_and_len as u32, tag_and_len >> 32, capacity - at);
            let most = self.tail.wrapping_sub(self.head).min(to_end);
            match &tag.to_le_bytes() {
                _ if position != self.head => return Err(InvalidData),
                b"ITEM" if 16 + len.next_multiple_of(16) <= most => self.found = Some(len as usize),
                b"SKIP" if 16 + len == to_end && to_end <= most => self.head = self.head.wrapping_add(to_end),
                _ => return Err(InvalidData),
            }
        }
        self.found.ok_or(InvalidData)
    }

    /// Reads the record that was found, by both ways.
    fn read(&mut self) {
        let Some(record) = self.reader.as_mut().and_then(Reader::record) else { return };
        let mut bytes = vec![0; record.len()];
        for (i, piece) in bytes.chunks_mut(1000).enumerate() {
            let read = at_most(MEMORY, || record.read_at(1000 * i, piece)).map_err(|e| e.kind());
            if self.tampered { assert_kind(&read, &[InvalidData]) } else { assert_eq!(read, Ok(())) }
        }
        let (mut from, to) = io::pipe().expect("a pipe");
        let written = at_most(MEMORY, || record.write_to(to.as_fd(), 0, record.len())).map_err(|e| e.kind());
        drop(to);
        let mut piped = Vec::new();
        from.read_to_end(&mut piped).expect("a pipe");
        if self.tampered {
            return assert_kind(&written, &[InvalidData]);
        }
        assert_eq!((written, &piped), (Ok(bytes.len()), &bytes));
        assert_eq!(Some(&bytes), self.records.front());
    }

    fn commit(&mut self) {
        let Some(record) = self.reader.as_mut().and_then(Reader::record) else { return };
        let room = room_for(record.len() as u64);
        at_most(0, || record.commit());
        self.records.pop_front();
        (self.head, self.found) = (self.head.wrapping_add(room), None);
    }

    fn scribble(&mut self, at: u64, bytes: &[u8]) {
        // Not beyond the end, for that would make it longer.
        if at + bytes.len() as u64 <= self.file.metadata().expect("open").len() {
            self.file.write_all_at(bytes, at).expect("room");
            self.tampered = true;
        }
    }

    fn resize(&mut self, len: u64) {
        self.cut |= len < self.file.metadata().expect("open").len();
        self.file.set_len(len.min(LONGEST_FILE)).expect("room");
        self.tampered = true;
    }

    /// The file mapped once more, if it can be.
    fn map(&self) -> Option<Map> {
        let opened = at_most(MEMORY, || Map::open(self.path));
        if let Ok(map) = &opened {
            assert_eq!(
                map.as_ref().expect("it is there").capacity() + 4096,
                self.file.metadata().expect("open").len()
            );
        }
        assert!(self.tampered || opened.is_ok(), "{opened:?}");
        assert_kind(&opened.as_ref().map_err(|e| e.kind()), &[InvalidData]);
        opened.ok().flatten()
    }

    fn reader_comes(&mut self) {
        self.reader = None;
        let Some(reader) = self.map().map(|map| at_most(MEMORY, || Reader::new(map))) else { return };
        assert!(self.tampered || reader.is_ok(), "{reader:?}");
        assert_kind(&reader.as_ref().map_err(|e| e.kind()), &[InvalidData]);
        self.reader = reader.ok();
        if let Some(reader) = &self.reader {
            let mut tail = [0; 8];
            self.file.read_exact_at(&mut tail, 64).expect("a whole header");
            (self.head, self.tail, self.found) = (reader.position(), u64::from_le_bytes(tail), None);
        }
    }

    fn writer_comes(&mut self) {
        self.writer = None;
        let Some(writer) = self.map().map(|map| at_most(MEMORY, || Writer::new(map))) else { return };
        assert!(self.tampered || writer.is_ok(), "{writer:?}");
        assert_kind(&writer.as_ref().map_err(|e| e.kind()), &[InvalidData]);
        self.writer = writer.ok();
        if let Some(writer) = &self.writer {
            writer.map().positions().arrive();
            self.goodbye = false;
        }
    }

    fn say_goodbye(&mut self) {
        let Some(writer) = &mut self.writer else { return };
        writer.say_goodbye().expect("nothing is brought to a device");
        self.goodbye = true;
    }

    /// What those find who only look.
    fn look(&mut self) {
        let seen = at_most(MEMORY, || inspect(self.path)).map_err(|e| e.kind());
        let maps = [self.writer.as_ref().map(Writer::map), self.reader.as_ref().map(Reader::map)];
        for map in maps.into_iter().flatten() {
            let left = at_most(MEMORY, || unread(map)).map_err(|e| e.kind());
            let checked = at_most(MEMORY, || map.check()).map_err(|e| e.kind());
            let positions = map.positions();
            if self.tampered {
                assert_kind(&left, &[InvalidData]);
                assert_kind(&checked, &[InvalidData]);
                assert!(left.unwrap_or(0) <= map.capacity());
                continue;
            }
            assert_eq!((checked, positions.said_goodbye()), (Ok(()), self.goodbye));
            assert_eq!(left.expect("sound") == 0, self.records.is_empty());
            positions.hear_goodbye();
        }
        if let Ok(Some(Seen { capacity, unread })) = seen {
            assert!(unread <= capacity && capacity + 4096 == self.file.metadata().expect("open").len());
        }
        assert!(self.tampered || seen.is_ok_and(|seen| seen.is_some()), "{seen:?}");
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
    const FIND: &[u8] = &[1];
    const READ: &[u8] = &[2];
    const COMMIT: &[u8] = &[3];
    const READER_COMES: &[u8] = &[6];
    const WRITER_COMES: &[u8] = &[7];
    const GOODBYE: &[u8] = &[8];
    const LOOK: &[u8] = &[9];
    const TAIL: u16 = 64;
    const HEAD: u16 = 128;
    let push = |len: u16| [&[0][..], &len.to_le_bytes()].concat();
    let long = |at: u16, value: u64| [&[4][..], &at.to_le_bytes(), &value.to_le_bytes()].concat();
    let resize = |len: u16| [&[5][..], &len.to_le_bytes()].concat();
    let script = |start: i8, steps: &[&[u8]]| [&[start as u8][..], &steps.concat()].concat();
    let (one, large, largest, too_large) = (push(100), push(3000), push(4080), push(4081));
    let take: &[u8] = &[FIND, READ, COMMIT].concat();
    let header =
        |at, value| script(0, &[&one, &long(at, value), LOOK, READER_COMES, FIND, WRITER_COMES, &one]);
    let record =
        |at: u16, value| script(0, &[&one, &one, &long(4096 + at, value), FIND, READ, COMMIT, FIND, LOOK]);
    let (item, skip) = (u64::from(u32::from_le_bytes(*b"ITEM")), u64::from(u32::from_le_bytes(*b"SKIP")));
    vec![
        (
            "all-well",
            script(
                0,
                &[LOOK, &one, LOOK, take, FIND, &one, READER_COMES, take, GOODBYE, LOOK, WRITER_COMES, LOOK],
            ),
        ),
        ("round-the-end", script(0, &[&large, take, &large, take, &one, &one, take, take, LOOK])),
        ("a-skip-alone", script(0, &[&large, take, &largest, LOOK, FIND])),
        ("near-the-wrap", script(-16, &[&one, &one, &one, take, take, take, &largest, take])),
        ("full", script(0, &[&large, &one, &large, &one, take, take, &large])),
        ("too-large", script(0, &[&too_large, &largest, take])),
        ("found-and-not-committed", script(0, &[&one, FIND, READ, READER_COMES, FIND, COMMIT, FIND])),
        ("header-no-magic", header(0, 0)),
        ("header-other-version", header(8, 2 | 4096 << 32)),
        ("header-other-length", header(8, 1 | 64 << 32)),
        ("header-capacity-no-power", header(16, 4095)),
        ("header-capacity-of-a-tebibyte", header(16, 1 << 40)),
        (
            "another-capacity",
            script(
                0,
                &[&one, &long(16, 8192), &resize(12288), READER_COMES, WRITER_COMES, LOOK, FIND, &push(4100)],
            ),
        ),
        ("tail-too-far", header(TAIL, 1 << 20)),
        ("tail-off-the-grid", header(TAIL, 72)),
        ("tail-back", script(0, &[&one, take, &long(TAIL, 0), FIND, LOOK])),
        ("head-back", script(0, &[&one, take, &long(HEAD, u64::MAX), &large, &large, LOOK])),
        ("record-of-none", record(0, 0)),
        ("record-over-the-tail", record(0, item | 249 << 32)),
        ("record-of-4-gib", record(0, item | u64::from(u32::MAX) << 32)),
        ("record-of-another-round", record(8, 4096)),
        (
            "skip-to-the-end",
            script(0, &[&one, &long(4096, skip | 4080 << 32), &long(TAIL, 4096), FIND, FIND, LOOK]),
        ),
        ("skip-beyond-the-end", record(0, skip | 4096 << 32)),
        ("all-asleep", script(0, &[&long(192, 1), &long(256, 1), &one, take, &one])),
        ("cut-to-nothing", script(0, &[&one, FIND, &resize(0), READ, COMMIT, &one, LOOK, READER_COMES])),
        ("cut-in-the-ring", script(0, &[&large, FIND, &resize(4200), READ, COMMIT, &large, FIND])),
        (
            "cut-and-long-again",
            script(0, &[&large, FIND, &resize(4096), &resize(8192), READ, COMMIT, FIND, &one]),
        ),
        ("longer", script(0, &[&one, &resize(12288), FIND, LOOK, READER_COMES])),
    ]
}
