//! The message queue: structs, the registry that leads to a queue, the cards of who is attached, receipts.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use common::place::{Channel, Place};
use mq_demo::direct::{self, Link};
use mq_demo::registry::{self, Api, LENGTH, Record};
use mq_demo::sender::{Sender, Shape};
use mq_demo::structs::{LONGEST as LONGEST_STRUCT, Struct, Verb};
use mq_demo::sysv::{Select, SysvQueue};

use crate::memory::at_most;
use crate::rpc_request::printable;
use crate::script::{Script, of_parts};
use crate::{LONGEST, Seed, unique_name};

/// How many receipts there can be.
const RECEIPTS: usize = 16;
/// No process has this id: Linux gives none so large.
const NOBODY: u32 = direct::LAST_PID;

/// The first byte says what the others are.
pub fn run(bytes: &[u8]) {
    if bytes.len() > LONGEST {
        return;
    }
    let mut script = Script(bytes);
    match script.u8() {
        0 => one_struct(script.u8().into(), script.0),
        1 => one_registry(script.0),
        2 => card(script.0),
        _ => receipts(script.u64(), &script.parts(RECEIPTS)),
    }
}

fn one_struct(kind: i64, bytes: &[u8]) {
    let number = |bytes: &[u8]| i32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let plain = match (kind, bytes) {
        (1, [low, high, rest @ ..]) if rest.len() == 4 => {
            let sensor = u16::from_le_bytes([*low, *high]);
            Some(Struct::Reading { sensor, millidegrees: number(rest) })
        }
        (2, [n, 0, text @ ..]) if text.len() == usize::from(*n) && text.len() <= 62 => {
            str::from_utf8(text).ok().map(|text| Struct::Text(text.into()))
        }
        (3, [verb @ 1..=3, rest @ ..]) if rest.len() == 4 => {
            let verb = [Verb::Start, Verb::Stop, Verb::Set][usize::from(*verb) - 1];
            Some(Struct::Command { verb, argument: number(rest) })
        }
        _ => None,
    };
    let found = at_most(LONGEST_STRUCT, || Struct::unmarshal(kind, bytes));
    assert_eq!(found, plain);
    if let Some(one) = found {
        let mut again = Vec::new();
        one.marshal(&mut again);
        assert_eq!((one.kind(), &again[..]), (kind, bytes));
        printable(one.to_string());
    }
}

/// The bytes are the registry's file.
fn one_registry(bytes: &[u8]) {
    let channel = Place::open().expect("a place").channel(&unique_name(), "mq");
    private_file(channel.path(), bytes);
    let found = at_most(4096, || registry::read(&channel));
    match &found {
        Ok(None) => assert!(bytes.is_empty()),
        Ok(Some(record)) => {
            assert!(bytes.len() == LENGTH && bytes.starts_with(b"ipc-lab mq 2\n"));
            assert!(record.key > 0 && record.size <= 1 << 24);
            for line in lines(record) {
                let (name, value) = line.split_once(' ').expect("a name and a number");
                let text = str::from_utf8(bytes).expect("it was read");
                let said =
                    text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')).expect("it was read");
                // A number can be written in more than one way: +7, 007.
                let same = said.parse::<u64>().map_or(said == value, |n| n.to_string() == value);
                assert!(same, "{line} and not {said}");
            }
            registry::write(&channel, record).expect("room");
            let again = fs::read(channel.path()).expect("it is there");
            let text: String = lines(record).map(|line| line + "\n").concat();
            assert_eq!(
                String::from_utf8_lossy(&again),
                format!("{:1$}\n", "ipc-lab mq 2\n".to_owned() + &text, LENGTH - 1)
            );
            assert_eq!(registry::read(&channel).expect("it was written").as_ref(), Some(record));
        }
        Err(e) if bytes.starts_with(b"ipc-lab mq 2\n") => assert_eq!(e.kind(), ErrorKind::InvalidData, "{e}"),
        // Not one of ours at all, or else no text.
        Err(e) => assert!(matches!(e.kind(), ErrorKind::AlreadyExists | ErrorKind::InvalidData), "{e}"),
    }
    registry::remove(&channel).expect("it is there");
}

/// What the file says after its first line.
fn lines(record: &Record) -> [String; 9] {
    let Record { api, key, capacity, size, structs, producers, consumers, died, goodbye } = record;
    [
        format!("api {}", if *api == Api::Sysv { "sysv" } else { "posix" }),
        format!("key {key}"),
        format!("capacity {capacity}"),
        format!("size {size}"),
        format!("structs {}", u8::from(*structs)),
        format!("producers {producers}"),
        format!("consumers {consumers}"),
        format!("died {died}"),
        format!("goodbye {}", u8::from(*goodbye)),
    ]
}

fn private_file(path: PathBuf, bytes: &[u8]) -> File {
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).expect("a new file");
    file.write_all(bytes).expect("room");
    file
}

/// A producer with a queue of its own. It goes with the input, so that each finds the same.
fn producer() -> (Sender, Channel) {
    let channel = Place::open().expect("a place").channel(&unique_name(), "mq");
    let shape = Shape { api: Api::Sysv, capacity: Some(1), size: 64, structs: false };
    (Sender::create(channel.clone(), &shape).expect("a queue"), channel)
}

/// The bytes are the card of a consumer, which lives.
fn card(bytes: &[u8]) {
    let (mut producer, channel) = producer();
    let path = channel.path().with_extension(format!("mq.consumer.{NOBODY}"));
    let consumer = private_file(path.clone(), bytes);
    consumer.lock().expect("nobody else has it");
    // No more than 64 bytes are looked at, the newline among them.
    let text = str::from_utf8(&bytes[..bytes.len().min(64)]).ok().and_then(|card| card.strip_suffix('\n'));
    for (to, is_it) in [(NOBODY, true), (NOBODY - 1, false)] {
        producer.link(Link::to(to));
        let looked = at_most(64 << 10, || producer.look());
        looked.expect("it lives, or was never there");
        let link = producer.linked().expect("it was set");
        let takes = text.is_some_and(|card| takes(card, direct::to(to).into()));
        assert_eq!(link.listens(), is_it && takes, "{text:?}");
        assert_eq!(link.thief(), (!is_it && takes).then_some(NOBODY), "{text:?}");
    }
    fs::remove_file(path).expect("it is there");
    drop(consumer);
}

/// Whether who has this card takes messages of this type.
fn takes(card: &str, kind: i128) -> bool {
    let Some(words) = card.strip_prefix("takes ") else { return false };
    let number = |word: &str| word.parse::<i64>().map(i128::from);
    match words.strip_suffix(" except") {
        Some(word) => number(word).is_ok_and(|other| other != kind),
        None => number(words).is_ok_and(|n| match n {
            0 => true,
            1.. => n == kind,
            // The smallest of all is no selection: msgrcv(2) makes nothing of it.
            _ => n > i64::MIN.into() && kind <= -n,
        }),
    }
}

/// Messages come to the queue for receipts, while the one for `number` is waited for.
fn receipts(number: u64, messages: &[&[u8]]) {
    let (mut producer, channel) = producer();
    producer.want_receipts().expect("a queue");
    let card = channel.path().with_extension(format!("mq.producer.{}", std::process::id()));
    let card = fs::read_to_string(card).expect("its card");
    let key = card.strip_prefix("receipts ").and_then(|card| card.trim_end().parse().ok()).expect("a key");
    let mut queue = SysvQueue::open(key, 256).expect("it leads there");
    // As many as fit into it.
    let sent: Vec<&[u8]> = messages.iter().copied().take_while(|m| queue.try_send(1, m).is_ok()).collect();
    producer.expect(number);
    let held = at_most(1024, || producer.held(false)).map_err(|e| e.kind());
    // Each is taken until the one has come; one that is too long is not, and is in the way for ever.
    let mut expected = Err(ErrorKind::WouldBlock);
    let mut taken = 0;
    for message in &sent {
        if message.len() > 16 {
            expected = Err(ErrorKind::InvalidData);
            break;
        }
        taken += 1;
        if message.len() == 16 && message[..8] == number.to_ne_bytes() && message[12..] == 2u32.to_ne_bytes()
        {
            expected = Ok(());
            break;
        }
    }
    assert_eq!(held, expected);
    for message in &sent[taken..] {
        queue.try_receive(Select::Any).expect("it was not taken");
        assert_eq!(queue.message(), *message);
    }
    assert_eq!(queue.try_receive(Select::Any).expect_err("no more").kind(), ErrorKind::WouldBlock);
}

/// Inputs to begin with.
pub fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (name, one) in [
        ("struct-reading", Struct::Reading { sensor: 3, millidegrees: -1500 }),
        ("struct-text", Struct::Text("가득 찬 큐".into())),
        ("struct-text-empty", Struct::Text(String::new())),
        ("struct-text-longest", Struct::Text("x".repeat(62))),
        ("struct-command", Struct::Command { verb: Verb::Set, argument: -3 }),
    ] {
        let mut bytes = vec![0, one.kind() as u8];
        one.marshal(&mut bytes);
        seeds.push((name, bytes));
    }
    seeds.push(("struct-text-claims-more", [0, 2, 63, 0].into_iter().chain([b'x'; 62]).collect()));
    seeds.push(("struct-text-claims-less", b"\0\x02\x02\0text".to_vec()));
    seeds.push(("struct-text-one-too-long", [0, 2, 63, 0].into_iter().chain([b'x'; 63]).collect()));
    seeds.push(("struct-text-commands-the-terminal", b"\0\x02\x04\0\x1b[2J".to_vec()));

    let record = Record {
        api: Api::Sysv,
        key: 1_532_947_683,
        capacity: 10,
        size: 96,
        structs: false,
        producers: 2,
        consumers: 1,
        died: 0,
        goodbye: true,
    };
    let largest =
        Record { api: Api::Posix, key: i32::MAX, size: 1 << 24, producers: u64::MAX, ..record.clone() };
    for (name, record) in [("registry", record), ("registry-largest", largest)] {
        let text = lines(&record).map(|line| line + "\n").concat();
        let file = format!("{:1$}\n", "ipc-lab mq 2\n".to_owned() + &text, LENGTH - 1);
        seeds.push((name, [&[1], file.as_bytes()].concat()));
    }
    let registry = seeds[seeds.len() - 2].1.clone();
    seeds.push(("registry-empty", vec![1]));
    seeds.push(("registry-cut", registry[..LENGTH].to_vec()));
    seeds.push(("registry-longer", [&registry[..], b"\n"].concat()));
    seeds.push(("registry-no-text", vec![1; 1 + LENGTH]));

    for (name, card) in [
        ("card-any", "takes 0\n".to_owned()),
        ("card-its-own", format!("takes {}\n", direct::to(NOBODY))),
        ("card-up-to", "takes -9223372036854775807\n".into()),
        ("card-except", "takes 2 except\n".into()),
        ("card-smallest", "takes -9223372036854775808\n".into()),
        ("card-of-a-producer", "receipts 1532947683\n".into()),
        ("card-empty", String::new()),
        ("card-too-long", format!("takes {:064}\n", 0)),
    ] {
        seeds.push((name, [&[2], card.as_bytes()].concat()));
    }

    let receipt = |number: u64, what: u32| {
        [&number.to_ne_bytes()[..], &4712u32.to_ne_bytes(), &what.to_ne_bytes()].concat()
    };
    let (taken, received, other) = (receipt(7, 1), receipt(7, 2), receipt(6, 2));
    let cases: [(_, Vec<&[u8]>); 5] = [
        ("receipt", vec![&taken, &received]),
        ("receipt-none", vec![]),
        ("receipt-of-another", vec![&other, &received]),
        ("receipt-too-short", vec![&received[..15], b"", &taken]),
        ("receipt-too-long", vec![b"seventeen bytes!!", &received]),
    ];
    for (name, parts) in cases {
        seeds.push((name, [&[3][..], &7u64.to_le_bytes(), &of_parts(&parts)].concat()));
    }
    seeds
}
