//! `--structs`: what the items hold is a struct, and the message's type says which.

use common::item::{self, HEADER, Header};
use mq_demo::structs::{Struct, Verb};

/// An item like `item`, whose payload is the next struct of this kind; and the struct.
pub fn fill(kind: i64, item: &[u8]) -> (Vec<u8>, Struct) {
    let header = Header::parse(item.first_chunk().expect("an encoded item"));
    let one = make(kind, header.seq);
    let mut bytes = vec![0; HEADER];
    one.marshal(&mut bytes);
    item::seal(&mut bytes, &header);
    (bytes, one)
}

fn make(kind: i64, seq: u64) -> Struct {
    const WORDS: [&str; 4] = ["good morning", "all is well", "the door is open", "good night"];
    const VERBS: [Verb; 3] = [Verb::Start, Verb::Set, Verb::Stop];
    let turn = seq as usize / 3;
    match kind {
        1 => Struct::Reading { sensor: (turn % 4) as u16, millidegrees: 20_000 + (seq % 1000) as i32 * 125 },
        2 => Struct::Text(WORDS[turn % WORDS.len()].into()),
        _ => match VERBS[turn % VERBS.len()] {
            Verb::Set => Struct::Command { verb: Verb::Set, argument: (seq % 100) as i32 },
            verb => Struct::Command { verb, argument: 0 },
        },
    }
}
