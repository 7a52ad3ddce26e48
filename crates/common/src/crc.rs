//! CRC-32, the checksum of zlib and Ethernet, by whichever library is faster.

use crc::{CRC_32_ISO_HDLC, Crc, Table};

/// From so many bytes on crc32fast is faster: it multiplies without carries, and to begin and to end that takes longer
/// than an item of 64 bytes takes by 16 tables.
const LONG: usize = 128;

static BY_TABLES: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);

/// The checksum of what has the checksum `crc`, or of nothing (0), and then of `bytes`.
pub fn update(crc: u32, bytes: &[u8]) -> u32 {
    if bytes.len() >= LONG {
        let mut long = crc32fast::Hasher::new_with_initial(crc);
        long.update(bytes);
        return long.finalize();
    }
    // It wants the remainder itself, its highest power first.
    let mut short = BY_TABLES.digest_with_initial((!crc).reverse_bits());
    short.update(bytes);
    short.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_checksum_of_zlib_at_every_length_and_in_every_two_pieces() {
        assert_eq!(update(0, b"123456789"), 0xCBF4_3926, "the check value of the catalogues");
        let bytes: Vec<u8> = (0..LONG as u32 + 40).map(|i| (i * i / 7) as u8).collect();
        for len in 0..bytes.len() {
            let (first, second) = bytes[..len].split_at(len / 3);
            let whole = crc32fast::hash(&bytes[..len]);
            assert_eq!((update(0, &bytes[..len]), update(update(0, first), second)), (whole, whole), "{len}");
        }
    }
}
