//! What can be measured: each method in each of its variants, and how both sides are told.

use clap::ValueEnum;

use crate::bench::bare::Bare;
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
}

impl Pattern {
    /// As it is written in the JSON and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Pattern::Stream => "stream",
            Pattern::Paced => "paced",
            Pattern::RoundTrip => "round-trip",
            Pattern::Many => "many",
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
    Subject { name, version_of: None, bare, both, producer: &[], round_trip: None, takes: Takes::OneEach }
}

const fn buffer(name: &'static str, both: &'static [&'static str]) -> Subject {
    Subject { producer: &["--slots", "{slots}"], ..subject(name, Bare::Memory, both) }
}

const fn many(takes: Takes, subject: Subject) -> Subject {
    Subject { takes, ..subject }
}

const fn answered(
    subject: Subject,
    both: &'static [&'static str],
    producer: &'static [&'static str],
) -> Subject {
    Subject { round_trip: Some([both, producer]), ..subject }
}

/// Another version of a variant, which the producer is told to be: it differs where there is something to share.
const fn version(of: &'static str, producer: &'static [&'static str], subject: Subject) -> Subject {
    Subject { version_of: Some(of), producer, ..subject }
}

/// In the order of the study notes.
pub static SUBJECTS: &[Subject] = &[
    many(Producers, answered(subject("pipe:fifo", Bare::Pipe, &[]), &["--duplex"], &[])),
    version("fifo", &["--unbatched"], subject("pipe:unbatched", Bare::Pipe, &[])),
    many(Both, answered(subject("mq:sysv", Bare::Sysv, &["--api", "sysv"]), &[], &["--rendezvous"])),
    many(Both, answered(subject("mq:posix", Bare::Posix, &["--api", "posix"]), &[], &["--rendezvous"])),
    many(Both, buffer("shm:semaphore", &["--sync", "semaphore"])),
    many(Both, buffer("shm:mutex", &["--sync", "mutex"])),
    buffer("shm:ring", &["--sync", "ring"]),
    subject("mmap:file", Bare::Memory, &[]),
    many(Producers, subject("socket:unix", Bare::Unix, &["--transport", "unix"])),
    version("unix", &["--unbatched"], subject("socket:unbatched", Bare::Unix, &["--transport", "unix"])),
    many(Producers, subject("socket:abstract", Bare::Unix, &["--transport", "abstract"])),
    many(Producers, subject("socket:seqpacket", Bare::Seqpacket, &["--transport", "seqpacket"])),
    // Not udp: at full speed it loses items, as it may, and a row with losses is no row.
    many(Producers, subject("socket:tcp", Bare::Tcp, &["--transport", "tcp", "--addr", "{addr}"])),
    // A call is answered by its nature.
    many(Producers, answered(subject("rpc:unix", Bare::Unix, &["--transport", "unix"]), &[], &[])),
    version("unix", &["--in-flight", "32"], subject("rpc:in-flight", Bare::Unix, &["--transport", "unix"])),
    many(
        Producers,
        answered(subject("rpc:tcp", Bare::Tcp, &["--transport", "tcp", "--addr", "{addr}"]), &[], &[]),
    ),
];
