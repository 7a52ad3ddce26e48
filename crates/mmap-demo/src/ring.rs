//! A ring of bytes that holds records of any length, each in one piece, so that both sides can work on it in
//! place.
//!
//! ```text
//!   a record, at a multiple of 16:            where the next does not fit before the ring's end:
//!   0      4        8          16      16+length    up to 15
//!   +------+--------+----------+-------+---------+  +------+--------+----------+- - - - -+ end
//!   | ITEM | length | position | bytes | padding |  | SKIP | length | position | unused  |
//!   +------+--------+----------+-------+---------+  +------+--------+----------+- - - - -+
//!     u32    u32      u64                little-endian
//! ```
//!
//! `position` is the record's own place in the endless stream of bytes: an old record that is still lying
//! there from the last time round has another one.
//!
//! The producer reserves room, writes in pieces, and commits ([`crate::writer`]); the consumer finds the next
//! record, reads it in pieces, and commits when it has *processed* it ([`crate::reader`]). Either may die in
//! between: see [`crate::positions`].
//!
//! Guarantees: records come whole, once and in order; without a system call while the other side is awake.
//! Everything read from the file is checked before it is used: it may be damaged, or a peer may be wrong.
//! Limits: one producer, one consumer; a record fits if it is no longer than the ring, with its 16 bytes.
//!
//! System calls: futex, when there is nothing to do but wait. Reading: the kernel's
//! `Documentation/core-api/circular-buffers.rst`.

use std::io;

use crate::map::Map;

/// Bytes in front of a record's own.
pub const RECORD: u64 = 16;

/// The tag of a record.
pub const ITEM: u32 = u32::from_le_bytes(*b"ITEM");
/// The tag of what fills the ring up to its end.
pub const SKIP: u32 = u32::from_le_bytes(*b"SKIP");

/// How much of the ring a record of `len` bytes takes.
pub const fn room_for(len: u64) -> u64 {
    RECORD + len.next_multiple_of(16)
}

/// How many bytes there are from `position` to the ring's end.
pub(crate) fn to_end(map: &Map, position: u64) -> u64 {
    map.capacity() - (position & (map.capacity() - 1))
}

/// How many bytes of a file are not processed, beside a mere skip to the ring's beginning.
///
/// # Errors
/// `InvalidData` if its positions or the first record cannot be.
pub fn unread(map: &Map) -> io::Result<u64> {
    let (head, tail) = checked_positions(map)?;
    let unread = tail.wrapping_sub(head);
    let mut tag = [0; 4];
    map.read(head, &mut tag);
    map.intact()?;
    let only_a_skip = unread == to_end(map, head) && u32::from_le_bytes(tag) == SKIP;
    Ok(if only_a_skip { 0 } else { unread })
}

/// Head and tail as the file has them, each read once.
pub(crate) fn checked_positions(map: &Map) -> io::Result<(u64, u64)> {
    let (head, tail) = (map.positions().head(), map.positions().tail());
    map.intact()?;
    // A tail that moves meanwhile is moved by a producer, which comes after us or sees that we are there.
    if tail.wrapping_sub(head) > map.capacity() || !head.is_multiple_of(16) || !tail.is_multiple_of(16) {
        return Err(map.damaged(&format!("head is {head}, tail is {tail}, capacity is {}", map.capacity())));
    }
    Ok((head, tail))
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::ErrorKind;
    use std::os::unix::fs::FileExt;
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::durability::Durability;
    use crate::header::{HEADER, POSITIONS};
    use crate::reader::Reader;
    use crate::writer::Writer;

    const CAPACITY: u64 = 4096;
    /// Where the counters wrap in the middle of the first round.
    const NEAR_WRAP: u64 = 0_u64.wrapping_sub(CAPACITY / 2);

    struct Ring {
        path: PathBuf,
        _dir: tempfile::TempDir,
    }

    impl Ring {
        fn new(start: u64) -> (Ring, Writer, Reader) {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("ring");
            let map = Map::create(&path, CAPACITY, start).expect("create");
            let ring = Ring { path, _dir: dir };
            let reader = Reader::new(ring.map()).expect("reader");
            (ring, Writer::new(map).expect("writer"), reader)
        }

        fn map(&self) -> Map {
            Map::open(&self.path).expect("open").expect("it is there")
        }

        fn overwrite(&self, at: usize, bytes: &[u8]) {
            let file = OpenOptions::new().write(true).open(&self.path).expect("open");
            file.write_all_at(bytes, at as u64).expect("write");
        }
    }

    fn record(n: usize, len: usize) -> Vec<u8> {
        (0..len).map(|i| (n * 31 + i) as u8).collect()
    }

    fn take(reader: &mut Reader) -> Vec<u8> {
        let record = reader.record().expect("found");
        let mut bytes = vec![0; record.len()];
        let (a, b) = bytes.split_at_mut(record.len() / 2);
        record.read_at(0, a).expect("first half");
        record.read_at(a.len(), b).expect("second half");
        record.commit();
        bytes
    }

    fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> ErrorKind {
        result.expect_err("an error").kind()
    }

    #[test]
    fn every_length_passes_the_end_and_the_wrap() {
        for start in [0, NEAR_WRAP] {
            let (_ring, mut writer, mut reader) = Ring::new(start);
            for n in 0..3 * 4080 {
                let sent = record(n, n % 4081);
                // Twice: a skip can be in the way, for which the reader must have looked.
                if writer.try_push(&sent).is_err() {
                    assert_eq!(kind(reader.try_find()), ErrorKind::WouldBlock);
                    writer.try_push(&sent).expect("an empty ring takes everything");
                }
                reader.try_find().expect("committed");
                assert!(take(&mut reader) == sent, "record {n} from {start}");
            }
            assert_eq!(kind(reader.try_find()), ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn a_full_ring_gives_room_when_a_record_is_processed_not_when_it_is_found() {
        for start in [0, NEAR_WRAP] {
            let (_ring, mut writer, mut reader) = Ring::new(start);
            let mut sent = 0;
            while writer.try_push(&record(sent, 100)).is_ok() {
                sent += 1;
            }
            assert_eq!(sent, (CAPACITY / 128) as usize);
            reader.try_find().expect("the first");
            assert_eq!(kind(writer.try_push(b"more")), ErrorKind::WouldBlock);
            assert!(take(&mut reader) == record(0, 100));
            writer.try_push(b"more").expect("room");
            assert_eq!(kind(writer.try_reserve(4081)), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn two_threads_sleep_and_wake() {
        let (_ring, mut writer, mut reader) = Ring::new(NEAR_WRAP);
        std::thread::scope(|threads| {
            threads.spawn(move || {
                for n in 0..50_000 {
                    writer.push(&record(n, n * 7 % 1000)).expect("push");
                }
            });
            for n in 0..50_000 {
                reader.find().expect("find");
                assert!(take(&mut reader) == record(n, n * 7 % 1000), "record {n}");
            }
        });
    }

    /// Waits until one end sleeps: its word, `at` bytes behind the positions' beginning, says so.
    fn until_asleep(ring: &Ring, at: usize) {
        let (mut word, deadline) = ([0; 4], Instant::now() + Duration::from_secs(10));
        while word != [1, 0, 0, 0] {
            assert!(Instant::now() < deadline, "nobody sleeps");
            let file = File::open(&ring.path).expect("open");
            file.read_exact_at(&mut word, (POSITIONS + at) as u64).expect("read");
        }
    }

    #[test]
    fn a_sleeper_is_woken_though_nobody_else_goes_to_sleep() {
        let soon = Duration::from_secs(10);
        let (ring, mut writer, mut reader) = Ring::new(NEAR_WRAP);
        let (found, finding) = std::sync::mpsc::channel();
        std::thread::spawn(move || drop(found.send((reader.find(), reader))));
        until_asleep(&ring, 128);
        writer.try_push(b"one").expect("push");
        let (found, mut reader) = finding.recv_timeout(soon).expect("the reader was woken");
        assert_eq!(found.expect("find"), 3);

        while writer.try_push(&[7; 100]).is_ok() {}
        let (pushed, pushing) = std::sync::mpsc::channel();
        std::thread::spawn(move || pushed.send(writer.push(&[7; 100])));
        until_asleep(&ring, 192);
        for _ in 0..10 {
            reader.try_find().expect("find");
            take(&mut reader);
        }
        pushing.recv_timeout(soon).expect("the writer was woken").expect("push");
    }

    #[test]
    fn what_is_not_committed_has_not_happened() {
        let (ring, mut writer, mut reader) = Ring::new(0);
        writer.try_reserve(100).expect("room");
        writer.reserved().write_at(0, b"half a record");
        assert_eq!(kind(reader.try_find()), ErrorKind::WouldBlock);
        drop(writer);
        let mut writer = Writer::new(ring.map()).expect("the next writer");
        writer.try_push(b"whole").expect("push");
        reader.try_find().expect("the whole one");
        drop(reader);
        let mut reader = Reader::new(ring.map()).expect("the next reader");
        reader.try_find().expect("it was not processed");
        assert_eq!(take(&mut reader), b"whole");
        let mut reader = Reader::new(ring.map()).expect("one more");
        assert_eq!(kind(reader.try_find()), ErrorKind::WouldBlock);
    }

    #[test]
    fn a_skip_alone_is_nothing_unread() {
        let (ring, mut writer, mut reader) = Ring::new(0);
        writer.try_push(&record(0, 3000)).expect("push");
        reader.try_find().expect("found");
        take(&mut reader);
        assert_eq!(kind(writer.try_reserve(4000)), ErrorKind::WouldBlock);
        assert!(writer.unread() > 0 && unread(&ring.map()).expect("sound") == 0);
    }

    #[test]
    fn room_is_given_back_on_the_device_before_it_is_written_again() {
        for start in [0, NEAR_WRAP] {
            let (_ring, mut writer, mut reader) = Ring::new(start);
            writer.keep(Durability::Sync).expect("sync");
            let calls = |writer: &Writer| writer.spent_on_msync().0;
            while writer.try_push(&[7; 48]).is_ok() {}
            // Record and header, for 64 of them.
            assert_eq!(calls(&writer), 128);
            while reader.try_find().is_ok() {
                take(&mut reader);
            }
            // The device has the old head yet, for which these bytes are the first record.
            writer.try_push(&[7; 48]).expect("an empty ring");
            assert_eq!(calls(&writer), 128 + 3);
            writer.try_push(&[7; 48]).expect("much room");
            assert_eq!(calls(&writer), 128 + 3 + 2);
        }
    }

    #[test]
    fn lies_of_the_other_side_are_errors() {
        // The tail goes back, too far ahead, or off the grid; so does the head.
        for lie in [0, u64::MAX, 64 + CAPACITY + 16, 72, 1 << 40] {
            let (ring, mut writer, mut reader) = Ring::new(64);
            ring.overwrite(POSITIONS, &lie.to_le_bytes());
            assert_eq!(kind(reader.try_find()), ErrorKind::InvalidData, "tail {lie}");
            ring.overwrite(POSITIONS + 64, &(lie | 1 << 50).to_le_bytes());
            while writer.try_push(&[7; 100]).is_ok() {}
            assert_eq!(kind(writer.try_push(&[7; 100])), ErrorKind::InvalidData, "head {lie}");
        }
        // Lengths that go over the tail, over the end, over everything; tags and positions of no record.
        for (at, lie) in [(4, 49_u32), (4, 4081), (4, u32::MAX), (4, 1 << 31), (0, 0), (0, SKIP), (8, 1)] {
            let (ring, mut writer, mut reader) = Ring::new(0);
            writer.try_push(&[7; 48]).expect("push");
            ring.overwrite(HEADER + at, &lie.to_le_bytes());
            assert_eq!(kind(reader.try_find()), ErrorKind::InvalidData, "{lie} at {at}");
        }
    }

    #[test]
    fn a_cut_file_is_an_error_on_both_sides() {
        let (ring, mut writer, mut reader) = Ring::new(0);
        writer.try_push(&[7; 1000]).expect("push");
        reader.try_find().expect("found");
        OpenOptions::new().write(true).open(&ring.path).expect("open").set_len(100).expect("cut");
        let record = reader.record().expect("found");
        let mut bytes = [0; 1000];
        let read = record.read_at(0, &mut bytes);
        // Bytes that nobody looks at are not even read.
        std::hint::black_box(bytes);
        assert_eq!(kind(read), ErrorKind::InvalidData);
        assert_eq!(kind(writer.try_push(&[7; 1000])), ErrorKind::InvalidData);
        assert_eq!(kind(writer.map().check()), ErrorKind::InvalidData);
        assert_eq!(kind(Map::open(&ring.path)), ErrorKind::InvalidData);
    }
}
