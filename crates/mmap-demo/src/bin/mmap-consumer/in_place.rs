//! An item of many MiB is worked on where it lies in the file: no process ever holds a copy of it.

use std::io;

use anyhow::Result;
use common::item::{self, Check, HEADER, Header};
use common::session::Session;
use mmap_demo::reader::Record;

/// Hashes a record through a small buffer, however long it is: its item's header, if it is intact.
pub fn check(record: &Record<'_>, piece: &mut [u8]) -> io::Result<Option<Header>> {
    if let Some(whole) = piece.get_mut(..record.len()) {
        record.read_at(0, whole)?;
        return Ok(item::open(whole).map(|(header, _)| header));
    }
    let mut head = [0; HEADER];
    record.read_at(0, &mut head)?;
    let mut check = Check::new(&head);
    let mut at = HEADER;
    while at < record.len() {
        let n = piece.len().min(record.len() - at);
        record.read_at(at, &mut piece[..n])?;
        check.update(&piece[..n]);
        at += n;
    }
    let header = check.header;
    Ok(check.is_intact().then_some(header))
}

/// Hands the payload to write(2), which takes it straight from the mapping.
pub fn write_payload(session: &mut Session, record: &Record<'_>) -> Result<()> {
    let mut at = HEADER;
    while at < record.len() {
        at += session.write_output(|out| record.write_to(out, at, record.len() - at))?;
    }
    Ok(())
}
