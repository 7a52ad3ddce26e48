//! Structs: a message is not a piece of a stream but a whole structure, and its type says which one.
//!
//! ```text
//!  type 1, a reading          type 2, a text        type 3, a command
//!  0        2         6       0      2              0      1          5
//! +--------+---------+       +------+------…       +------+----------+
//! | sensor | m°C     |       | n    | n B  |       | verb | argument |
//! +--------+---------+       +------+------…       +------+----------+
//! ```
//!
//! All integers are little-endian, and nothing is padded. A C program would send `struct { uint16_t sensor; int32_t
//! m; }` as it lies in its memory: 8 bytes, two of them padding that holds whatever was there before, in its
//! machine's byte order. So each field is *marshalled*: written and read one after the other.
//!
//! Guarantees: what is unmarshalled is exactly what was marshalled; bytes that are no such struct (too short,
//! too long, no such verb, no UTF-8) are refused, and never looked at as if they were one.
//! Limits: both sides know the three layouts. A fourth takes a new type, not a change of these.

use std::fmt;

/// The types that are structs: the first and the last.
pub const KINDS: (i64, i64) = (1, 3);

/// Bytes of the longest struct.
pub const LONGEST: usize = 2 + LONGEST_TEXT;

/// Bytes of the longest text.
const LONGEST_TEXT: usize = 62;

/// What a message can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Struct {
    /// Type 1: what a sensor has measured.
    Reading {
        /// Which sensor.
        sensor: u16,
        /// Thousandths of a degree Celsius.
        millidegrees: i32,
    },
    /// Type 2: words, of at most 62 bytes.
    Text(String),
    /// Type 3: something to be done.
    Command {
        /// What.
        verb: Verb,
        /// With what.
        argument: i32,
    },
}

/// What can be commanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Begin.
    Start = 1,
    /// Cease.
    Stop = 2,
    /// Set to the argument.
    Set = 3,
}

impl Struct {
    /// The message type by which a receiver knows the struct.
    pub fn kind(&self) -> i64 {
        match self {
            Struct::Reading { .. } => 1,
            Struct::Text(_) => 2,
            Struct::Command { .. } => 3,
        }
    }

    /// Appends the struct's bytes.
    ///
    /// # Panics
    /// If a text is longer than 62 bytes.
    pub fn marshal(&self, to: &mut Vec<u8>) {
        match self {
            Struct::Reading { sensor, millidegrees } => {
                to.extend(sensor.to_le_bytes());
                to.extend(millidegrees.to_le_bytes());
            }
            Struct::Text(text) => {
                assert!(text.len() <= LONGEST_TEXT, "a text of {} bytes", text.len());
                to.extend((text.len() as u16).to_le_bytes());
                to.extend(text.as_bytes());
            }
            Struct::Command { verb, argument } => {
                to.push(*verb as u8);
                to.extend(argument.to_le_bytes());
            }
        }
    }

    /// The struct that a message of type `kind` is; `None` if it is none of that kind.
    pub fn unmarshal(kind: i64, bytes: &[u8]) -> Option<Struct> {
        match kind {
            1 => {
                let (sensor, millidegrees) = bytes.split_first_chunk()?;
                Some(Struct::Reading {
                    sensor: u16::from_le_bytes(*sensor),
                    millidegrees: i32::from_le_bytes(millidegrees.try_into().ok()?),
                })
            }
            2 => {
                let (len, text) = bytes.split_first_chunk()?;
                // The sender's claim is checked against what came.
                let whole = usize::from(u16::from_le_bytes(*len)) == text.len() && text.len() <= LONGEST_TEXT;
                whole.then(|| String::from_utf8(text.to_vec()).ok().map(Struct::Text))?
            }
            3 => {
                let (verb, argument) = bytes.split_first()?;
                let verb = match verb {
                    1 => Verb::Start,
                    2 => Verb::Stop,
                    3 => Verb::Set,
                    _ => return None,
                };
                Some(Struct::Command { verb, argument: i32::from_le_bytes(argument.try_into().ok()?) })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Struct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Struct::Reading { sensor, millidegrees } => {
                write!(f, "a reading: sensor {sensor}, {:.3} °C", f64::from(*millidegrees) / 1000.0)
            }
            // {:?}, because a text may hold anything, and a terminal obeys what it is sent.
            Struct::Text(text) => write!(f, "a text: {text:?}"),
            Struct::Command { verb: Verb::Set, argument } => write!(f, "a command: set to {argument}"),
            Struct::Command { verb, .. } => write!(f, "a command: {}", format!("{verb:?}").to_lowercase()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_marshalled_is_unmarshalled_and_nothing_else() {
        let all = [
            Struct::Reading { sensor: 7, millidegrees: -1500 },
            Struct::Reading { sensor: u16::MAX, millidegrees: i32::MIN },
            Struct::Text(String::new()),
            Struct::Text("é".repeat(31)),
            Struct::Command { verb: Verb::Start, argument: 0 },
            Struct::Command { verb: Verb::Stop, argument: 0 },
            Struct::Command { verb: Verb::Set, argument: -3 },
        ];
        for one in all {
            let mut bytes = Vec::new();
            one.marshal(&mut bytes);
            assert!(bytes.len() <= LONGEST);
            assert_eq!(Struct::unmarshal(one.kind(), &bytes), Some(one.clone()));
            for len in 0..bytes.len() {
                assert_eq!(Struct::unmarshal(one.kind(), &bytes[..len]), None, "{one} cut at {len}");
            }
            bytes.push(0);
            assert_eq!(Struct::unmarshal(one.kind(), &bytes), None, "{one} and a byte more");
        }
        assert_eq!(Struct::unmarshal(3, &[4, 0, 0, 0, 0]), None, "no such verb");
        assert_eq!(Struct::unmarshal(2, &[1, 0, 0xFF]), None, "no UTF-8");
        assert_eq!(Struct::unmarshal(4, &[0; 6]), None, "no such type");
    }

    #[test]
    fn the_bytes_are_those_of_the_wire_format() {
        let bytes = |one: Struct| {
            let mut bytes = Vec::new();
            one.marshal(&mut bytes);
            bytes
        };
        assert_eq!(
            bytes(Struct::Reading { sensor: 0x0102, millidegrees: -2 }),
            [2, 1, 0xFE, 0xFF, 0xFF, 0xFF]
        );
        assert_eq!(bytes(Struct::Text("hi".into())), [2, 0, b'h', b'i']);
        assert_eq!(bytes(Struct::Command { verb: Verb::Set, argument: 5 }), [3, 5, 0, 0, 0]);
    }
}
