//! Card: what an attached process says of itself, in the file that is its name.
//!
//! ```text
//! $ cat $XDG_RUNTIME_DIR/demo.mq.consumer.4712
//! takes 2                      what it hands to msgrcv(2); "takes 2 except" with MSG_EXCEPT
//! $ cat $XDG_RUNTIME_DIR/demo.mq.producer.4711
//! receipts 1532947683          the key of its own queue, to which receipts go
//! ```
//!
//! A queue knows nothing of who reads it. Whoever must know (a producer that sends to one process alone, a
//! consumer that owes a receipt) finds it here. A process writes its card while it holds the channel's lock,
//! before it does what the card says; it may have none. The card goes with the name.

use std::ffi::c_long;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::PathBuf;

use common::place::{Channel, Role};

use crate::sysv::Select;

/// No card is longer, whoever wrote it.
const LONGEST: u64 = 64;

/// A consumer's card: what it selects.
pub(crate) fn write_takes(channel: &Channel, select: Select) -> io::Result<()> {
    write(
        channel,
        Role::Consumer,
        &match select {
            Select::Any => "takes 0\n".into(),
            Select::Only(kind) => format!("takes {kind}\n"),
            Select::UpTo(kind) => format!("takes -{kind}\n"),
            Select::Except(kind) => format!("takes {kind} except\n"),
        },
    )
}

/// What a consumer selects, if it has said so.
pub(crate) fn takes(channel: &Channel, pid: u32) -> Option<Select> {
    parse_takes(&read(channel, Role::Consumer, pid)?)
}

fn parse_takes(card: &str) -> Option<Select> {
    let words = card.strip_prefix("takes ")?;
    if let Some(kind) = words.strip_suffix(" except") {
        return Some(Select::Except(kind.parse().ok()?));
    }
    Some(match words.parse::<c_long>().ok()? {
        0 => Select::Any,
        kind @ 1.. => Select::Only(kind),
        kind => Select::UpTo(kind.checked_neg()?),
    })
}

/// A producer's card: where its receipts go.
pub(crate) fn write_receipts(channel: &Channel, key: i32) -> io::Result<()> {
    write(channel, Role::Producer, &format!("receipts {key}\n"))
}

/// Where a producer's receipts go, if it wants any.
pub(crate) fn receipts(channel: &Channel, pid: u32) -> Option<i32> {
    let key = read(channel, Role::Producer, pid)?.strip_prefix("receipts ")?.parse().ok()?;
    (key > 0).then_some(key)
}

/// Writes this process's card into the name that it is attached by.
fn write(channel: &Channel, role: Role, card: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path(channel, role, std::process::id()))?.write_all(card.as_bytes())
}

fn read(channel: &Channel, role: Role, pid: u32) -> Option<String> {
    let mut card = String::new();
    fs::File::open(path(channel, role, pid)).ok()?.take(LONGEST).read_to_string(&mut card).ok()?;
    Some(card.strip_suffix('\n')?.to_owned())
}

fn path(channel: &Channel, role: Role, pid: u32) -> PathBuf {
    let mut path = channel.path().into_os_string();
    path.push(format!(".{}.{pid}", role.name()));
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_consumer_takes() {
        for (card, select) in [
            ("takes 0", Some(Select::Any)),
            ("takes 7", Some(Select::Only(7))),
            ("takes -2", Some(Select::UpTo(2))),
            ("takes 2 except", Some(Select::Except(2))),
            ("takes", None),
            ("takes x", None),
            ("takes -9223372036854775808", None),
            ("receipts 7", None),
        ] {
            assert_eq!(parse_takes(card), select, "{card}");
        }
    }
}
