//! The pipe: what a reader makes of all that was written, at once or in pieces, and what one that has to make sense of
//! torn frames does.

use std::fs::File;
use std::io::{self, ErrorKind, PipeWriter, Read, Write};
use std::ops::RangeInclusive;

use pipe_demo::frame::{FrameWriter, MAX_BODY};
use pipe_demo::frame_reader::FrameReader;
use pipe_demo::torn::TornReader;

use crate::memory::at_most;
use crate::wire::{encode, frame, pieces};
use crate::{LONGEST, Seed, item};

const DATA: u32 = 1;
const GOODBYE: u32 = 2;
const HELLO: u32 = 3;
const RULES: [(u32, RangeInclusive<usize>); 3] = [(DATA, 1..=MAX_BODY), (GOODBYE, 0..=0), (HELLO, 8..=8)];
const VERSION: &[u8] = b"ipcpipe1";

/// A reader's buffer, and what an error says.
const BUFFER: usize = (64 << 10) + 1024;

/// What a stream is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stream {
    messages: Vec<Vec<u8>>,
    /// How many came, how many said goodbye.
    writers: (usize, usize),
    /// How it ended, if not well.
    error: Option<ErrorKind>,
}

impl Stream {
    /// As the wire format has it.
    fn plainly(mut bytes: &[u8]) -> Stream {
        let mut stream = Stream::default();
        loop {
            match frame(&mut bytes, &RULES) {
                Ok(Some(f)) if f.kind == DATA => stream.messages.push(f.body.to_vec()),
                Ok(Some(f)) if f.kind == HELLO && f.body == VERSION => stream.writers.0 += 1,
                Ok(Some(f)) if f.kind == HELLO => stream.error = Some(ErrorKind::InvalidData),
                // One for which there was no HELLO is none: it does not stand for another's that is missing.
                Ok(Some(_)) => stream.writers.1 = (stream.writers.1 + 1).min(stream.writers.0),
                Ok(None) if stream.writers.0 > stream.writers.1 => {
                    stream.error = Some(ErrorKind::ConnectionAborted);
                }
                Ok(None) => return stream,
                Err(kind) => stream.error = Some(kind),
            }
            if stream.error.is_some() {
                return stream;
            }
        }
    }

    /// As `read` finds it, until it fails or ends: whether it goes on.
    fn take(&mut self, reader: &mut FrameReader, read: fn(&mut FrameReader) -> io::Result<bool>) -> bool {
        let found = at_most(1024 + 4 * LONGEST, || read(reader));
        self.writers = reader.writers();
        match found {
            Ok(true) => {
                self.messages.push(reader.message().to_vec());
                return true;
            }
            Ok(false) => {}
            Err(e) => self.error = Some(e.kind()),
        }
        false
    }
}

/// The bytes are all that was written.
pub fn run(bytes: &[u8]) {
    if bytes.len() > LONGEST {
        return;
    }
    let plain = Stream::plainly(bytes);

    let (mut reader, mut to) = pipe();
    to.write_all(bytes).expect("room");
    drop(to);
    let mut whole = Stream::default();
    while whole.take(&mut reader, FrameReader::read) {}
    assert_eq!(whole, plain, "at once");

    assert_eq!(in_pieces(bytes), plain, "in pieces");

    torn(bytes, &plain);
    written(bytes, &plain);
}

fn pipe() -> (FrameReader, PipeWriter) {
    let (from, to) = io::pipe().expect("a pipe");
    (at_most(BUFFER, || FrameReader::new(from.into())), to)
}

fn in_pieces(bytes: &[u8]) -> Stream {
    let (mut reader, mut to) = pipe();
    let mut stream = Stream::default();
    for piece in pieces(bytes) {
        to.write_all(piece).expect("room");
        while stream.take(&mut reader, FrameReader::try_read) {}
        if stream.error.take_if(|e| *e == ErrorKind::WouldBlock).is_none() {
            assert!(stream.error.is_some(), "no end as long as there is a writer");
            return stream;
        }
    }
    drop(to);
    while stream.take(&mut reader, FrameReader::read) {}
    stream
}

/// The reader for torn frames promises nothing; but it finds all that is whole, and makes nothing up.
fn torn(bytes: &[u8], plain: &Stream) {
    let (from, mut to) = io::pipe().expect("a pipe");
    to.write_all(bytes).expect("room");
    drop(to);
    let mut reader = TornReader::new(from.into());
    let mut messages = Vec::new();
    while at_most(1024 + 2 * LONGEST, || reader.read()).expect("it does not fail") {
        messages.push(reader.message().to_vec());
    }
    assert!(messages.iter().map(|m| m.len() + 8).sum::<usize>() <= bytes.len());
    assert!(reader.torn() <= bytes.len() as u64);
    assert!(messages.starts_with(&plain.messages), "what is whole before the first tear");
    if matches!(plain.error, None | Some(ErrorKind::ConnectionAborted)) {
        assert_eq!((messages, reader.torn()), (plain.messages.clone(), 0), "nothing is torn");
    }
}

/// What was read is written: the reader finds the same in it, and where one writer wrote it all it is the same.
fn written(bytes: &[u8], plain: &Stream) {
    let (from, to) = io::pipe().expect("a pipe");
    let mut writer = FrameWriter::new(to.into());
    for message in &plain.messages {
        writer.write(message).expect("it was read");
    }
    writer.goodbye().expect("room");
    drop(writer);
    let mut again = Vec::new();
    File::from(std::os::fd::OwnedFd::from(from)).read_to_end(&mut again).expect("read");
    let stream = Stream::plainly(&again);
    assert_eq!((&stream.messages, stream.writers, stream.error), (&plain.messages, (1, 1), None));
    let (hello, goodbye) = (encode(HELLO, VERSION), encode(GOODBYE, b""));
    let frames = plain.messages.len() * 8 + plain.messages.iter().map(Vec::len).sum::<usize>();
    if plain.error.is_none()
        && bytes.starts_with(&hello)
        && bytes.ends_with(&goodbye)
        && bytes.len() == hello.len() + frames + goodbye.len()
    {
        assert_eq!(again, bytes);
    }
}

/// Inputs to begin with.
pub fn seeds() -> Vec<Seed> {
    let hello = encode(HELLO, VERSION);
    let goodbye = encode(GOODBYE, b"");
    let one = encode(DATA, &item::sealed(0, b"one"));
    let two = encode(DATA, &item::sealed(1, b"two, somewhat longer"));
    let claims =
        |len: u32, kind: u32| [&hello[..], &len.to_le_bytes(), &kind.to_le_bytes(), b"rest"].concat();
    vec![
        ("nobody", vec![]),
        ("hello-and-goodbye", [&hello[..], &goodbye].concat()),
        ("two-items", [&hello[..], &one, &two, &goodbye].concat()),
        ("two-writers", [&hello[..], &one, &hello, &two, &goodbye, &goodbye].concat()),
        ("one-of-two-died", [&hello[..], &one, &hello, &two, &goodbye].concat()),
        ("goodbye-before-hello", [&goodbye[..], &hello, &one].concat()),
        ("header-cut", [&hello[..], &one[..5]].concat()),
        ("body-cut", [&hello[..], &one[..20]].concat()),
        ("torn", [&hello[..], &one[..20], &two, &one[20..], &goodbye].concat()),
        ("other-version", encode(HELLO, b"ipcpipe2")),
        ("unknown-kind", [&hello[..], &encode(77, b"what is it")].concat()),
        ("unknown-kind-claims-64-mib", claims(64 << 20, 77)),
        ("other-version-claims-64-mib", claims(64 << 20, HELLO)),
        ("claims-4-gib", claims(u32::MAX, DATA)),
        ("claims-64-mib", claims(64 << 20, DATA)),
        ("claims-nothing", claims(0, DATA)),
    ]
}
