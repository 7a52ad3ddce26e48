//! What can be measured: each method in each of its variants, and how both sides are told.

use clap::ValueEnum;

use crate::bench::bare::Bare;
use crate::bench::beside::Beside;
use crate::pairs;
use Takes::{Both, Producers};

/// Who sends what when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pattern {
    /// One way, as fast as both can
    Stream,
    /// One way, with a pause between items in which both sides fall asleep
    Paced,
    /// There and back: the next item is sent when the answer to the last one has come
    RoundTrip,
    /// Several producers, and several consumers where they can share, as fast as all can
    Many,
    /// One way, as fast as both can, in items of several sizes
    Sizes,
    /// A large file, in large items, beside a program that does the same
    File,
    /// Connected, and silent for more than a second before each item
    Idle,
}

impl Pattern {
    /// As it is written in the JSON and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Pattern::Stream => "stream",
            Pattern::Paced => "paced",
            Pattern::RoundTrip => "round-trip",
            Pattern::Many => "many",
            Pattern::Sizes => "sizes",
            Pattern::File => "file",
            Pattern::Idle => "idle",
        }
    }
}

/// A variant of a method.
#[derive(Debug)]
pub struct Subject {
    /// `METHOD:VARIANT`, as the binaries name themselves in their JSON.
    pub name: &'static str,
    /// What the binaries call the variant, if this is a version of it that has no name of its own.
    pub version_of: Option<&'static str>,
    /// What does the same with nothing around it.
    pub bare: Bare,
    /// What both sides are told. `{addr}` stands for a free address.
    pub both: &'static [&'static str],
    /// What the producer is told besides. `{slots}` stands for [`slots`].
    pub producer: &'static [&'static str],
    /// What both sides are told besides, and the producer alone, so that each item is answered; `None` where
    /// nothing comes back.
    pub round_trip: Option<[&'static [&'static str]; 2]>,
    /// How many may share it.
    pub takes: Takes,
    /// Whether it has a row of its own in a stream.
    pub stream: bool,
    /// Whether it stands for its method where each method is measured in several sizes.
    pub sizes: bool,
    /// With what it is compared when it sends a large file; `None` where it does not.
    pub file: Option<Beside>,
}

/// How many processes may be on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// One producer and one consumer.
    OneEach,
    /// Any number of producers, and one consumer.
    Producers,
    /// Any number of both.
    Both,
}

impl Subject {
    /// Whether it has a row in that pattern. A version of a variant differs from it in a few.
    pub fn plays(&self, pattern: Pattern) -> bool {
        match pattern {
            Pattern::Stream => self.stream,
            Pattern::Paced | Pattern::Idle => self.version_of.is_none(),
            Pattern::RoundTrip => self.round_trip.is_some(),
            Pattern::Many => self.takes != Takes::OneEach,
            Pattern::Sizes => self.sizes,
            Pattern::File => self.file.is_some(),
        }
    }

    /// `"shm"`
    pub fn method(&self) -> &'static str {
        self.name.split_once(':').map_or(self.name, |(method, _)| method)
    }

    /// The variant, as the binaries report it.
    pub fn reported(&self) -> &'static str {
        self.version_of.unwrap_or(self.variant())
    }

    /// `"ring"`
    pub fn variant(&self) -> &'static str {
        self.name.split_once(':').map_or("", |(_, variant)| variant)
    }
}

/// Of what [`named`] knows, what streams.
pub fn streaming() -> impl Iterator<Item = &'static str> {
    pairs::NAMES.into_iter().chain(SUBJECTS.iter().filter(|s| s.stream).map(|s| s.name))
}

/// What [`named`] knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    pairs::NAMES.into_iter().chain(SUBJECTS.iter().map(|s| s.name))
}

/// The subjects of these names, `METHOD` or `METHOD:VARIANT`; all for none.
pub fn named(names: &[String]) -> Vec<&'static Subject> {
    let wanted = |s: &&Subject| names.is_empty() || names.iter().any(|n| n == s.name || n == s.method());
    SUBJECTS.iter().filter(wanted).collect()
}

/// The buffer's slots in shared memory. Its default is for watching; this is about what a pipe's 64 KiB hold,
/// and less where that would be more than 64 MiB.
pub fn slots(size: usize) -> usize {
    ((64 << 20) / size.max(1)).clamp(8, 1024)
}

const fn subject(name: &'static str, bare: Bare, both: &'static [&'static str]) -> Subject {
    let (version_of, round_trip, takes) = (None, None, Takes::OneEach);
    let producer = &[];
    Subject {
        name,
        version_of,
        bare,
        both,
        producer,
        round_trip,
        takes,
        stream: true,
        sizes: false,
        file: None,
    }
}

const fn buffer(name: &'static str, both: &'static [&'static str]) -> Subject {
    Subject { producer: &["--slots", "{slots}"], ..subject(name, Bare::Memory, both) }
}

const fn many(takes: Takes, subject: Subject) -> Subject {
    Subject { takes, ..subject }
}

const fn answered(
    both: &'static [&'static str],
    producer: &'static [&'static str],
    subject: Subject,
) -> Subject {
    Subject { round_trip: Some([both, producer]), ..subject }
}

/// Of several variants of a method the one that is measured in several sizes, too.
const fn sized(subject: Subject) -> Subject {
    Subject { sizes: true, ..subject }
}

const fn sends_a_file(beside: Beside, subject: Subject) -> Subject {
    Subject { file: Some(beside), ..subject }
}

/// Another version of a variant, which differs from it in a stream.
const fn version(of: &'static str, subject: Subject) -> Subject {
    Subject { version_of: Some(of), ..subject }
}

/// Another version of a variant, which differs from it elsewhere.
const fn apart(of: &'static str, subject: Subject) -> Subject {
    Subject { stream: false, ..version(of, subject) }
}

const fn told(producer: &'static [&'static str], subject: Subject) -> Subject {
    Subject { producer, ..subject }
}

const UNIX: &[&str] = &["--transport", "unix"];
const TCP: &[&str] = &["--transport", "tcp", "--addr", "{addr}"];

/// In the order of the study notes.
pub static SUBJECTS: &[Subject] = &[
    many(
        Producers,
        answered(&["--duplex"], &[], sized(sends_a_file(Beside::Cat, subject("pipe:fifo", Bare::Pipe, &[])))),
    ),
    apart(
        "fifo",
        told(&["--zero-copy"], sends_a_file(Beside::Cat, subject("pipe:zero-copy", Bare::Pipe, &[]))),
    ),
    version("fifo", told(&["--unbatched"], subject("pipe:unbatched", Bare::Pipe, &[]))),
    many(Both, answered(&[], &["--rendezvous"], sized(subject("mq:sysv", Bare::Sysv, &["--api", "sysv"])))),
    many(Both, answered(&[], &["--rendezvous"], subject("mq:posix", Bare::Posix, &["--api", "posix"]))),
    many(Both, buffer("shm:semaphore", &["--sync", "semaphore"])),
    many(Both, buffer("shm:mutex", &["--sync", "mutex"])),
    answered(
        &["--duplex"],
        &[],
        sized(sends_a_file(Beside::Memcpy, buffer("shm:ring", &["--sync", "ring"]))),
    ),
    answered(&["--duplex"], &[], apart("ring", buffer("shm:spin", &["--sync", "ring", "--wait", "spin"]))),
    version("ring", buffer("shm:block", &["--sync", "ring", "--wait", "block"])),
    sized(sends_a_file(Beside::Memcpy, subject("mmap:file", Bare::Memory, &[]))),
    many(
        Producers,
        answered(
            &["--duplex"],
            &[],
            sized(sends_a_file(Beside::Socat, subject("socket:unix", Bare::Unix, UNIX))),
        ),
    ),
    version("unix", told(&["--unbatched"], subject("socket:unbatched", Bare::Unix, UNIX))),
    many(Producers, subject("socket:abstract", Bare::Unix, &["--transport", "abstract"])),
    many(Producers, subject("socket:seqpacket", Bare::Seqpacket, &["--transport", "seqpacket"])),
    // Not udp: at full speed it loses items, as it may, and a row with losses is no row.
    many(
        Producers,
        answered(
            &["--duplex"],
            &[],
            sized(sends_a_file(Beside::Iperf3, subject("socket:tcp", Bare::Tcp, TCP))),
        ),
    ),
    // A call is answered by its nature.
    many(Producers, answered(&[], &[], sized(subject("rpc:unix", Bare::Unix, UNIX)))),
    version("unix", told(&["--in-flight", "32"], subject("rpc:in-flight", Bare::Unix, UNIX))),
    many(Producers, answered(&[], &[], subject("rpc:tcp", Bare::Tcp, TCP))),
];
