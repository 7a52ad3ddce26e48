//! The gauge: how full a buffer is, seen by somebody who only watches.
//!
//! ```text
//! [##··] 2/4             an item, or a slot that is being filled or emptied: #
//! [####] 4/4  FULL: waiting
//! ```
//!
//! It maps the object a second time and reads a word or two of it, now and then, without any lock. So a number
//! can be old when it is shown, and nobody is slower for being watched: neither the mechanism nor the other
//! process knows.
//!
//! System call: mmap(2), once.

use std::io;
use std::sync::atomic::Ordering::Relaxed;

use crate::memory::Memory;
use crate::object::{Object, Shape, SyncKind};
use crate::posix_semaphore::Semaphore;
use crate::semaphore::EMPTY;
use crate::slots::{Queue, Slots};
use crate::{ring, unsynchronized};

/// A watcher's view of an object.
#[derive(Debug)]
pub struct Gauge {
    memory: Memory,
    shape: Shape,
    kind: SyncKind,
    is_producers: bool,
}

impl Gauge {
    /// A gauge of `object`, which lives as long as it likes: also when the object has been left.
    ///
    /// # Errors
    /// What mmap(2) refuses.
    pub fn of(object: &Object) -> io::Result<Gauge> {
        Ok(Gauge {
            memory: object.memory.again()?,
            shape: object.shape,
            kind: object.kind(),
            is_producers: object.is_producers(),
        })
    }

    /// How many slots are not free.
    fn used(&self) -> u32 {
        let (memory, slots) = (&self.memory, self.shape.slots);
        let long = |at| memory.long(at).load(Relaxed);
        let used = match self.kind {
            SyncKind::Semaphore => {
                slots.saturating_sub(Semaphore { memory, at: EMPTY }.value().unwrap_or(slots))
            }
            SyncKind::Mutex => {
                let free = Slots { memory, shape: &self.shape }.count(Queue::Free);
                slots.saturating_sub(free as u32)
            }
            SyncKind::Ring | SyncKind::Duplex => long(ring::TAIL).wrapping_sub(long(ring::HEAD)) as u32,
            SyncKind::None => unsynchronized::count(memory),
        };
        // What others wrote may be anything.
        used.min(slots)
    }

    /// What there is to see, in at most `columns` characters. Who is `blocked` waits for a full buffer's consumer, or
    /// an empty one's producer.
    pub fn line(&self, columns: usize, blocked: bool) -> String {
        let slots = self.shape.slots;
        let used = self.used();
        let (state, its_wait) = match used {
            0 => ("  EMPTY", !self.is_producers),
            _ if used == slots => ("  FULL", self.is_producers),
            _ => ("", false),
        };
        let waiting = if blocked && its_wait { ": waiting" } else { "" };
        let numbers = format!("{used}/{slots}{state}{waiting}");
        // As wide as it can ever get, so that the bar stays as it is while the words come and go.
        let widest = format!("[] {slots}/{slots}  EMPTY: waiting").len();
        match columns.saturating_sub(widest).min(slots as usize) {
            0 => numbers,
            cells => format!("{} {numbers}", bar(used, slots, cells)),
        }
    }
}

/// `[##··]`, scaled to a number of cells. Only an empty buffer looks empty, and only a full one full.
fn bar(used: u32, slots: u32, cells: usize) -> String {
    let marks = (used as usize * cells).div_ceil(slots as usize);
    let marks = if used < slots { marks.min(cells - 1).max((used > 0 && cells > 1).into()) } else { cells };
    format!("[{}{}]", "#".repeat(marks), "·".repeat(cells - marks))
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn a_cell_for_each_slot_where_there_is_room() {
        assert_eq!(bar(0, 4, 4), "[····]");
        assert_eq!(bar(2, 4, 4), "[##··]");
        assert_eq!(bar(4, 4, 4), "[####]");
    }

    #[test]
    fn a_scaled_bar_is_full_or_empty_only_when_the_buffer_is() {
        assert_eq!(bar(0, 1000, 10), "[··········]");
        assert_eq!(bar(1, 1000, 10), "[#·········]");
        assert_eq!(bar(500, 1000, 10), "[#####·····]");
        assert_eq!(bar(999, 1000, 10), "[#########·]");
        assert_eq!(bar(1000, 1000, 10), "[##########]");
        for used in 0..=1 << 20 {
            let _ = bar(used, 1 << 20, 1);
        }
    }
}
