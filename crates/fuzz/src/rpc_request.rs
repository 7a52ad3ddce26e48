//! Requests: what the server stub runs, what it answers from memory, what it refuses.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

use rpc_demo::marshal::{Marshal, Unmarshal};
use rpc_demo::message::{PROTOCOL, REQUEST_HEADER, RequestHeader, Semantics, VERSION};
use rpc_demo::service::{Counters, Fault, Receipt, Service};
use rpc_demo::skeleton::{Done, ServerStub};
use rpc_demo::trace;
use socket_demo::consumer::Received;
use socket_demo::dial::Hello;
use socket_demo::endpoint::Address;
use socket_demo::frame::{HELLO, REPLY, REQUEST};

use crate::memory::at_most;
use crate::script::{Script, of_parts};
use crate::wire::encode;
use crate::{LONGEST, Seed, item, unique_name};

/// How long arguments may be, in bytes.
const LONGEST_ARGUMENTS: usize = 160;
/// What a request may cost the server: a buffer, its memory of the client, a reply, what it says of it.
const MEMORY: usize = (64 << 10) + 2 * LONGEST + 4096;
/// How many there can be.
const REQUESTS: usize = 16;

/// The bytes are requests, each with its length in a byte before it.
pub fn run(bytes: &[u8]) {
    if bytes.len() > LONGEST {
        return;
    }
    let name = unique_name();
    let mut stub =
        ServerStub::listen(&Address::Abstract(name.clone()), LONGEST_ARGUMENTS).expect("a free name");
    let address = SocketAddr::from_abstract_name(name).expect("a short name");
    let mut client = UnixStream::connect_addr(&address).expect("it listens");
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("it is not zero");
    let hello = Hello::new(PROTOCOL, VERSION, 1024).encode();
    client.write_all(&encode(HELLO, &hello)).expect("room");
    let came = stub.meet(false);
    assert!(matches!(came, Ok(None)), "{came:?}");
    client.read_exact(&mut [0; 8 + Hello::LEN]).expect("its HELLO");

    let (mut service, mut model) = (Desk::default(), Model::default());
    for body in Script(bytes).parts(REQUESTS) {
        client.write_all(&encode(REQUEST, body)).expect("room");
        let received = at_most(MEMORY, || stub.receive(false));
        let length = REQUEST_HEADER..=REQUEST_HEADER + LONGEST_ARGUMENTS;
        if !length.contains(&body.len()) {
            assert!(matches!(received, Ok(Received::Notice(_))), "{received:?}");
            match stub.receive(false) {
                Ok(Received::End(Err(e))) => return assert_eq!(e.kind(), ErrorKind::InvalidData),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(received, Ok(Received::Item)), "{received:?}");
        let done = at_most(MEMORY, || stub.run(&mut service));
        stub.answer();
        let (expected, reply) = model.run(body);
        assert_eq!(done, expected, "{}", printable(trace::request(body)));
        assert_eq!(stub.last(), (body, &reply[..]), "{}", printable(trace::reply(&reply)));
        // The reply may have waited for others, until the next request is asked for.
        let next = stub.receive(false).map_err(|e| e.kind());
        assert!(matches!(next, Err(ErrorKind::WouldBlock)), "{next:?}");
        let mut answer = vec![0; 8 + reply.len()];
        client.read_exact(&mut answer).expect("the reply");
        assert_eq!(answer, encode(REPLY, &reply));
        assert_eq!(service.0, model.service.0, "it ran once, or not at all");
        written(body);
    }
    drop(stub);
    let mut more = Vec::new();
    File::from(std::os::fd::OwnedFd::from(client)).read_to_end(&mut more).expect("closed");
    assert!(more.is_empty(), "one reply for each request, and no more");
}

/// What is shown in a terminal must not command it.
pub(crate) fn printable(text: String) -> String {
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    text
}

/// What was understood is marshalled again, to the same bytes.
fn written(body: &[u8]) {
    let mut from = Unmarshal::new(body);
    let header = RequestHeader::unmarshal(&mut from).expect("long enough");
    let mut to = Marshal::default();
    header.marshal(&mut to);
    if let Ok(numbers) = from.clone().i64s()
        && header.procedure == 2
    {
        to.i64s(&numbers);
        let _ = from.i64s();
    }
    to.raw(from.raw());
    assert_eq!(to.bytes(), body);
}

/// The procedures, as anybody would write them.
#[derive(Debug, Default)]
struct Desk(Counters);

impl Desk {
    fn ran<T>(&mut self, result: Result<T, Fault>) -> Result<T, Fault> {
        self.0.calls += 1;
        self.0.faults += u64::from(result.is_err());
        result
    }
}

impl Service for Desk {
    fn put(&mut self, item: &[u8]) -> Receipt {
        self.0.calls += 1;
        self.0.items += 1;
        self.0.bytes += item.len() as u64;
        Receipt { number: self.0.items, bytes: item.len() as u64 }
    }

    fn sum(&mut self, numbers: &[i64]) -> Result<i64, Fault> {
        let sum: i128 = numbers.iter().copied().map(i128::from).sum();
        self.ran(i64::try_from(sum).map_err(|_| Fault::Overflow))
    }

    fn stats(&mut self) -> Counters {
        self.0.calls += 1;
        self.0
    }

    fn divide(&mut self, dividend: i64, divisor: i64) -> Result<i64, Fault> {
        let fault = if divisor == 0 { Fault::DivisionByZero } else { Fault::Overflow };
        self.ran(dividend.checked_div(divisor).ok_or(fault))
    }
}

/// A server as the wire format has it.
#[derive(Debug, Default)]
struct Model {
    service: Desk,
    /// By stream.
    clients: HashMap<u64, Client>,
}

/// How many calls of a client are remembered.
const WINDOW: u64 = 64;

#[derive(Debug)]
struct Client {
    first: u64,
    newest: u64,
    /// Calls that ran, and their replies.
    kept: Vec<(u64, Vec<u8>)>,
}

/// What is known of a call.
enum Known<'a> {
    Kept(&'a Vec<u8>),
    TooOld,
    NotRun,
    Nothing,
}

impl Model {
    fn known(&self, stream: u64, call: u64, attempt: u32) -> Known<'_> {
        if let Some(client) = self.clients.get(&stream) {
            if let Some((_, reply)) = client.kept.iter().find(|(kept, _)| *kept == call) {
                return Known::Kept(reply);
            }
            if u128::from(call) + u128::from(WINDOW) <= client.newest.into() {
                return Known::TooOld;
            }
            if call >= client.first {
                return Known::NotRun;
            }
        }
        if attempt <= 1 { Known::NotRun } else { Known::Nothing }
    }

    /// What is to be done with a request, and the reply.
    fn run(&mut self, body: &[u8]) -> (Done, Vec<u8>) {
        let long = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().expect("eight bytes"));
        let word = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().expect("four bytes"));
        let (stream, call, again) = (long(0), long(8), word(20));
        let header = |status: u32| {
            [&call.to_le_bytes()[..], &std::process::id().to_le_bytes(), &status.to_le_bytes()].concat()
        };
        let refused = |fault: Fault| (Done::Refused(fault), header(fault.status()));
        if ![1, 2].contains(&again) {
            return refused(Fault::BadArguments);
        }
        let again = again == 1;
        let heir = call > 1 && !self.clients.contains_key(&stream);
        let done = match self.known(stream, call, word(24)) {
            Known::Kept(reply) if !again => return (Done::Remembered, reply.clone()),
            Known::TooOld | Known::Nothing if !again => return refused(Fault::Forgotten),
            Known::Kept(_) | Known::TooOld => Done::RanAgain,
            _ if heir => Done::TakenOver,
            _ => Done::Ran,
        };
        let (status, result) = match self.procedure(word(16), &body[28..]) {
            Ok(result) => (0, result),
            Err(fault @ (Fault::Overflow | Fault::DivisionByZero)) => (fault.status(), vec![]),
            Err(fault) => return refused(fault),
        };
        let reply = [header(status), result].concat();
        let client =
            self.clients.entry(stream).or_insert_with(|| Client { first: call, newest: call, kept: vec![] });
        client.newest = client.newest.max(call);
        // Of the numbers that are 64 apart the newest is kept.
        if client.kept.iter().all(|(other, _)| other % WINDOW != call % WINDOW || *other <= call) {
            client.kept.retain(|(other, _)| other % WINDOW != call % WINDOW);
            client.kept.push((call, reply.clone()));
        }
        (done, reply)
    }

    fn procedure(&mut self, number: u32, args: &[u8]) -> Result<Vec<u8>, Fault> {
        let (longs, rest) = args.as_chunks::<8>();
        let bytes = |all: &[u64]| all.iter().flat_map(|n| n.to_le_bytes()).collect();
        match (number, longs) {
            (1, _) => {
                let Receipt { number, bytes: len } = self.service.put(args);
                Ok(bytes(&[number, len]))
            }
            (2, _) => {
                let (count, numbers) = args.split_first_chunk::<4>().ok_or(Fault::BadArguments)?;
                let (numbers, rest) = numbers.as_chunks::<8>();
                if !rest.is_empty() || numbers.len() != u32::from_le_bytes(*count) as usize {
                    return Err(Fault::BadArguments);
                }
                let numbers: Vec<i64> = numbers.iter().map(|n| i64::from_le_bytes(*n)).collect();
                self.service.sum(&numbers).map(|sum| sum.to_le_bytes().to_vec())
            }
            (3, []) if rest.is_empty() => {
                let all = self.service.stats();
                Ok(bytes(&[all.calls, all.faults, all.items, all.bytes]))
            }
            (4, [dividend, divisor]) if rest.is_empty() => {
                let [dividend, divisor] = [*dividend, *divisor].map(i64::from_le_bytes);
                self.service.divide(dividend, divisor).map(|n| n.to_le_bytes().to_vec())
            }
            (1..=4, _) => Err(Fault::BadArguments),
            _ => Err(Fault::UnknownProcedure),
        }
    }
}

/// Inputs to begin with.
pub fn seeds() -> Vec<Seed> {
    use Semantics::{AtLeastOnce, AtMostOnce};
    let request = |call, procedure, semantics: Semantics, attempt, arguments: &dyn Fn(&mut Marshal)| {
        let header = RequestHeader { stream: 7, call, procedure, semantics: semantics.number(), attempt };
        let mut bytes = Marshal::default();
        header.marshal(&mut bytes);
        arguments(&mut bytes);
        bytes.bytes().to_vec()
    };
    let put = |call, semantics, attempt| {
        request(call, 1, semantics, attempt, &|to| {
            to.raw(&item::sealed(0, b"item"));
        })
    };
    let sum = |numbers: &[i64]| {
        request(1, 2, AtLeastOnce, 1, &|to| {
            to.i64s(numbers);
        })
    };
    let divide = |a, b| {
        request(1, 4, AtLeastOnce, 1, &|to| {
            to.i64(a).i64(b);
        })
    };
    let stats = request(9, 3, AtMostOnce, 1, &|_| ());
    let mut claims = sum(&[1]);
    claims[28..32].fill(0xFF);
    let mut no_semantics = put(1, AtMostOnce, 1);
    no_semantics[20] = 3;
    let unknown = request(1, 5, AtMostOnce, 1, &|_| ());
    let seeds: [(_, Vec<Vec<u8>>); 17] = [
        ("put", vec![put(1, AtMostOnce, 1)]),
        ("put-again-at-most-once", vec![put(1, AtMostOnce, 1), put(1, AtMostOnce, 2)]),
        ("put-again-at-least-once", vec![put(1, AtLeastOnce, 1), put(1, AtLeastOnce, 2)]),
        (
            "put-older",
            vec![put(2, AtMostOnce, 1), put(1, AtMostOnce, 2), put(1, AtLeastOnce, 2), stats.clone()],
        ),
        ("put-too-old", vec![put(100, AtMostOnce, 1), put(36, AtMostOnce, 1), put(37, AtMostOnce, 1)]),
        (
            "put-the-last-numbers-of-all",
            vec![
                put(u64::MAX, AtMostOnce, 1),
                put(u64::MAX - 63, AtMostOnce, 1),
                put(u64::MAX, AtMostOnce, 2),
            ],
        ),
        ("put-of-a-stranger-again", vec![put(1, AtMostOnce, 2)]),
        ("put-to-the-heir", vec![put(5, AtMostOnce, 1), put(6, AtMostOnce, 1)]),
        ("sum", vec![sum(&[1, -2, i64::MAX]), sum(&[])]),
        ("sum-overflows", vec![sum(&[i64::MAX, 1]), stats.clone()]),
        ("sum-claims-4-gib", vec![claims]),
        ("divide", vec![divide(7, -2), divide(i64::MIN, -1), divide(1, 0)]),
        ("stats", vec![stats.clone()]),
        ("stats-with-arguments", vec![[&stats[..], b"more"].concat()]),
        ("unknown-procedure", vec![unknown]),
        ("no-semantics", vec![no_semantics]),
        ("header-cut", vec![stats[..27].to_vec()]),
    ];
    let seeds = seeds.into_iter();
    seeds
        .map(|(name, parts)| (name, of_parts(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>())))
        .collect()
}
