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
