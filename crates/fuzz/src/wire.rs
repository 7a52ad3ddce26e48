//! Frames as `docs/wire-format.md` has them: the plain reading with which the real readers are compared.

use std::io::ErrorKind;
use std::ops::RangeInclusive;

/// A frame as it stands in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: u32,
    pub body: &'a [u8],
}

/// Takes the first frame off `bytes`: `None` between two frames, `UnexpectedEof` within one, `InvalidData` for
/// one that must not come.
pub fn frame<'a>(
    bytes: &mut &'a [u8],
    rules: &[(u32, RangeInclusive<usize>)],
) -> Result<Option<Frame<'a>>, ErrorKind> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (head, rest) = bytes.split_first_chunk::<8>().ok_or(ErrorKind::UnexpectedEof)?;
    let word = |i| u32::from_le_bytes(std::array::from_fn(|j| head[i + j]));
    let (len, kind) = (word(0) as usize, word(4));
    check(kind, len, rules)?;
    let (body, rest) = rest.split_at_checked(len).ok_or(ErrorKind::UnexpectedEof)?;
    *bytes = rest;
    Ok(Some(Frame { kind, body }))
}

/// Whether such a frame may come.
pub fn check(kind: u32, len: usize, rules: &[(u32, RangeInclusive<usize>)]) -> Result<(), ErrorKind> {
    let known = rules.iter().any(|(k, lens)| *k == kind && lens.contains(&len));
    if known { Ok(()) } else { Err(ErrorKind::InvalidData) }
}

/// A frame's bytes.
pub fn encode(kind: u32, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..], &kind.to_le_bytes(), body].concat()
}

/// The number in a body of eight bytes.
pub fn number(body: &[u8]) -> u64 {
    u64::from_le_bytes(body.try_into().expect("eight bytes, by the rules"))
}

/// The window that a HELLO asks for or grants.
pub fn window(hello: &[u8]) -> u32 {
    hello.get(16..20).map_or(0, |word| u32::from_le_bytes(word.try_into().expect("four bytes")))
}

/// The lengths of the pieces in which a stream may come.
pub const PIECES: [usize; 7] = [1, 2, 5, 13, 3, 89, 8];

/// Cuts a stream into them.
pub fn pieces(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut pieces) = (bytes, Vec::new());
    for len in PIECES.into_iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, others) = rest.split_at(len.min(rest.len()));
        pieces.push(piece);
        rest = others;
    }
    pieces
}
