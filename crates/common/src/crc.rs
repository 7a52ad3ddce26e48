//! CRC-32, the checksum of zlib and Ethernet: a division of the bytes, taken for a polynomial, of which the remainder
//! counts.
//!
//! The crate that does it for long payloads multiplies without carries, and has hundreds of bytes under way at a time. To
//! begin and to end that takes longer than an item of 64 bytes by tables, which this file has: 16 of them, so that 16
//! bytes are one step, whose 16 look-ups do not wait for each other.

/// From so many bytes on multiplying is faster.
const LONG: usize = 128;
/// The polynomial, its lowest power first; the highest one is understood.
const POLYNOMIAL: u32 = 0xEDB8_8320;

/// `TABLES[n][byte]`: what remains of a byte, divided, that `n` others follow.
static TABLES: [[u32; 256]; 16] = {
    let mut tables = [[0; 256]; 16];
    let mut byte = 0;
    while byte < 256 {
        let mut rest = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            rest = if rest & 1 == 1 { rest >> 1 ^ POLYNOMIAL } else { rest >> 1 };
            bit += 1;
        }
        tables[0][byte] = rest;
        byte += 1;
    }
    let mut follow = 1;
    while follow < 16 {
        let mut byte = 0;
        while byte < 256 {
            let rest = tables[follow - 1][byte];
            tables[follow][byte] = rest >> 8 ^ tables[0][(rest & 0xFF) as usize];
            byte += 1;
        }
        follow += 1;
    }
    tables
};

/// The checksum of what has the checksum `crc`, or of nothing (0), and then of `bytes`.
pub fn update(crc: u32, bytes: &[u8]) -> u32 {
    if bytes.len() >= LONG {
        let mut long = crc32fast::Hasher::new_with_initial(crc);
        long.update(bytes);
        return long.finalize();
    }
    let (steps, rest) = bytes.as_chunks();
    let mut rest = rest;
    let mut crc = steps.iter().fold(!crc, step::<16>);
    if let Some((bytes, behind)) = rest.split_first_chunk() {
        (crc, rest) = (step::<12>(crc, bytes), behind); // the end of a header is that long
    }
    let (steps, rest) = rest.as_chunks();
    crc = steps.iter().fold(crc, step::<4>);
    !rest.iter().fold(crc, |crc, byte| crc >> 8 ^ TABLES[0][usize::from(crc as u8 ^ byte)])
}

/// Divides `N` bytes more, at least four.
#[inline]
fn step<const N: usize>(crc: u32, bytes: &[u8; N]) -> u32 {
    let look_up = |rest, (byte, table): (u8, &[u32; 256])| rest ^ table[usize::from(byte)];
    let (first, others) = bytes.split_at(4);
    // The others do not have to wait for the step before: they come first.
    let others = others.iter().copied().zip(TABLES[..N - 4].iter().rev()).fold(0, look_up);
    let first = first.iter().zip(crc.to_le_bytes()).map(|(byte, crc)| byte ^ crc);
    first.zip(TABLES[N - 4..N].iter().rev()).fold(others, look_up)
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
