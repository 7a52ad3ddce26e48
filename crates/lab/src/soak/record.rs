//! What is sent: numbered records, so that each of them is known again wherever it comes out.
//!
//! ```text
//!  0        8        16                                  64
//! +--------+--------+------------------------------------+
//! | stream | number | six words that follow from the two |
//! +--------+--------+------------------------------------+
//! ```

/// Bytes of a record.
pub const RECORD: usize = 64;

/// The record `number` of a producer's run.
pub fn record(stream: u64, number: u64) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    let mut word = stream.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number;
    for (at, eight) in bytes.chunks_exact_mut(8).enumerate() {
        let value = match at {
            0 => stream,
            1 => number,
            _ => {
                word = word.wrapping_mul(0xBF58_476D_1CE4_E5B9).rotate_left(31);
                word
            }
        };
        eight.copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

/// The stream and number of a record that is whole, and not pieced together of two.
pub fn parse(bytes: &[u8; RECORD]) -> Option<(u64, u64)> {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let (stream, number) = (word(0), word(8));
    (record(stream, number) == *bytes).then_some((stream, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_record_is_none() {
        let (a, b) = (record(3, 70), record(3, 71));
        assert_eq!(parse(&a), Some((3, 70)));
        for at in 1..RECORD {
            let mut torn = a;
            torn[at..].copy_from_slice(&b[at..]);
            // Up to the number, and from there on, it is all of one or the other.
            let whole = torn == a || torn == b;
            assert_eq!(parse(&torn).is_some(), whole, "torn at {at}");
        }
    }
}
