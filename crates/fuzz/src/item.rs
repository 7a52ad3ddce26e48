//! The item: what it says is believed only if its checksum fits, and then it is what its maker sealed.

use common::item::{self, Check, HEADER, Header};

use crate::memory::at_most;
use crate::{LONGEST, Seed};

/// The bytes are an item.
pub fn run(bytes: &[u8]) {
    if bytes.len() > LONGEST {
        return;
    }
    let opened = at_most(0, || item::open(bytes));
    let Some((head, payload)) = bytes.split_first_chunk::<HEADER>() else {
        assert!(opened.is_none(), "shorter than a header");
        return;
    };
    let header = Header::parse(head);
    let fits = crc32([&head[..28], payload].concat().as_slice()) == header.crc;
    assert_eq!(opened, fits.then_some((header, payload)));

    let mut check = Check::new(head);
    payload.chunks(7).for_each(|piece| check.update(piece));
    assert_eq!(check.header, header);
    assert_eq!(check.is_intact(), fits, "in pieces");

    // Sealed anew it is intact, the same by either way, and the same bytes if it was.
    let mut sealed = bytes.to_vec();
    item::seal(&mut sealed, &header);
    assert_eq!(sealed == bytes, fits);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(payload);
    assert_eq!(header.seal(&hasher), sealed[..HEADER]);
    let (again, same) = item::open(&sealed).expect("sealed");
    assert_eq!((Header { crc: header.crc, ..again }, same), (header, payload));

    let bit = header.seq as usize % (8 * sealed.len());
    sealed[bit / 8] ^= 1 << (bit % 8);
    assert!(item::open(&sealed).is_none(), "bit {bit} flipped");
}

/// CRC-32 as `docs/wire-format.md` has it, bit by bit: reflected, 0x04C11DB7, begun and ended with all ones.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// An item as a producer sends it.
pub fn sealed(seq: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [&[0; HEADER], payload].concat();
    item::seal(&mut bytes, &Header { stream: 0x5EED, seq, sent_ns: 1_000_000_007, pid: 4711, crc: 0 });
    bytes
}

/// Inputs to begin with.
pub fn seeds() -> Vec<Seed> {
    let mut torn = sealed(2, b"half of this is another's");
    torn[40..].fill(0);
    vec![
        ("empty-payload", sealed(0, b"")),
        ("text", sealed(1, b"an item")),
        ("last-of-all", sealed(u64::MAX, &[0xFF; 64])),
        ("torn", torn),
        ("header-cut", sealed(3, b"")[..HEADER - 1].to_vec()),
        ("all-zero", vec![0; HEADER + 1]),
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_plain_crc_is_that_of_the_wire_format() {
        assert_eq!(super::crc32(b"123456789"), 0xCBF4_3926);
    }
}
