//! What `zero_copy.rs` prevents: pages that are written to again while they are still in the pipe.
//!
//! ```text
//!   give #0     the pipe: [page 1 of #0 | page 2 of #0 | page 3 of #0]     read: page 1 of #0
//!   fill #1     the pipe: [               page 2 of #1 | page 3 of #1]     read: pages 2 and 3 of #1
//! ```
//!
//! One buffer for all messages, as it is right with write(2), which has copied what it took when it returns. Here the
//! pipe has the pages themselves, and the reader finds what is in them when it comes. Nothing fails: neither a call nor
//! the frames, whose headers are the same. Only a checksum tells.

use crate::zero_copy::PageWriter;

/// Takes the pages of the last message, all of which the pipe has, for the next one, whoever is still to read them.
pub fn at_once(pipe: &mut PageWriter) {
    pipe.building = pipe.given.pop_back().map(|last| last.pages);
}

#[cfg(test)]
mod tests {
    use crate::frame::FrameWriter;
    use crate::frame_reader::FrameReader;
    use crate::zero_copy::PageWriter;

    #[test]
    fn the_reader_finds_what_was_written_later() {
        let (r, w) = std::io::pipe().expect("pipe");
        let (mut r, mut w) = (FrameReader::new(r.into()), PageWriter::new(FrameWriter::new(w.into())));
        for n in [1, 2] {
            w.room(5000).expect("room").fill(n);
            w.give(5000, true).expect("give");
            super::at_once(&mut w);
        }
        for _ in 0..2 {
            assert!(r.read().expect("read") && r.message() == [2; 5000]);
        }
    }
}
