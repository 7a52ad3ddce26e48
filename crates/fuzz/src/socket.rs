//! The socket: what a real server makes of all that a client sent, as a stream or as packets, at once or in pieces; and
//! datagrams.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::UdpSocket;
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, OwnedFd};

use common::place::Place;
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, UnixAddr, connect, send, shutdown, socket,
};
use socket_demo::consumer::{Consumer, Received};
use socket_demo::datagram;
use socket_demo::dial::Hello;
use socket_demo::endpoint::Address;
use socket_demo::frame::{ACK, DATA, GOODBYE, HELLO};
use socket_demo::udp_consumer::{Arrival, UdpConsumer};

use crate::memory::at_most;
use crate::script::{Script, of_parts};
use crate::wire::{Frame, check, encode, frame, number, pieces, window};
use crate::{LONGEST, Seed, item, unique_name};

/// The longest item that the server takes, in bytes.
const LONGEST_ITEM: usize = 128;
/// What a connection may cost the server: a buffer, its answers, what it says of it.
const MEMORY: usize = (64 << 10) + 4 * LONGEST + 4096;
/// How many packets there can be.
const PACKETS: usize = 64;

/// The first byte says how the others are sent.
pub fn run(bytes: &[u8]) {
    if bytes.len() > LONGEST {
        return;
    }
    let mut script = Script(bytes);
    match script.u8() {
        0 => stream(script.0),
        1 => packets(&script.parts(PACKETS)),
        _ => datagrams(script.0),
    }
}

/// What a conversation was for the server, and what it answered.
#[derive(Debug, Default, PartialEq, Eq)]
struct Talk {
    items: Vec<Vec<u8>>,
    /// It ended: well; with this error of a client that had said HELLO; before that.
    end: Option<End>,
    /// Without acknowledgements, of which there may be more or fewer.
    answers: Vec<(u32, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Well,
    Lost(ErrorKind),
    Refused,
}

/// The rules before and after HELLO.
fn rules(greeted: bool) -> Vec<(u32, RangeInclusive<usize>)> {
    match greeted {
        false => vec![(HELLO, 16..=256)],
        true => vec![(DATA, 1..=LONGEST_ITEM), (GOODBYE, 8..=8)],
    }
}

fn hello() -> Hello {
    Hello::new(*b"item", 1, LONGEST_ITEM)
}

impl Talk {
    /// As the wire format has it. `next` is asked for one frame after the other.
    fn plainly<'a>(mut next: impl FnMut(bool) -> Result<Option<Frame<'a>>, ErrorKind>) -> Talk {
        let (mut talk, mut greeted) = (Talk::default(), false);
        while talk.end.is_none() {
            let found = next(greeted);
            talk.end = match found {
                Ok(Some(Frame { kind: HELLO, body })) => {
                    greeted = body[..8] == *b"item\x01\0\0\0";
                    let window = if greeted { window(body) } else { 0 };
                    talk.answers.push((HELLO, Hello { window, ..hello() }.encode()));
                    (!greeted).then_some(End::Refused)
                }
                Ok(Some(Frame { kind: DATA, body })) => {
                    talk.items.push(body.to_vec());
                    None
                }
                Ok(Some(Frame { body, .. })) if number(body) == talk.items.len() as u64 => {
                    talk.answers.push((GOODBYE, body.to_vec()));
                    Some(End::Well)
                }
                Ok(Some(_)) => Some(End::Lost(ErrorKind::InvalidData)),
                Ok(None) => Some(End::Lost(ErrorKind::ConnectionAborted)),
                Err(kind) => Some(End::Lost(kind)),
            };
            if let (Some(End::Lost(_)), false) = (talk.end, greeted) {
                talk.end = Some(End::Refused);
            }
        }
        talk
    }

    /// As a server has it that is sent these pieces.
    fn really(address: &Address, kernel: &UnixAddr, socket_type: SockType, pieces: &[&[u8]]) -> Talk {
        let mut server = Consumer::listen(address, LONGEST_ITEM).expect("nobody else has this name");
        let client =
            socket(AddressFamily::Unix, socket_type, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
        connect(client.as_raw_fd(), kernel).expect("the server listens");
        let mut talk = Talk::default();
        for piece in pieces {
            // It need not take any more: then that is the end, and known to be.
            let sent = send(client.as_raw_fd(), piece, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT);
            assert!(sent.is_ok() || talk.end.is_some(), "closed without a reason: {sent:?}");
            talk.hear(&mut server);
        }
        if talk.end.is_none() {
            shutdown(client.as_raw_fd(), Shutdown::Write).expect("connected");
            talk.hear(&mut server);
        }
        assert!(talk.end.is_some(), "a connection that has ended ends");
        assert_eq!(server.producers(), 0);
        drop(server);
        talk.answers = answers(client, socket_type, talk.items.len() as u64);
        talk
    }

    /// Takes all that has come.
    fn hear(&mut self, server: &mut Consumer) {
        for _ in 0..LONGEST {
            match at_most(MEMORY, || server.try_receive()) {
                Ok(Received::Acknowledging) => {}
                Ok(Received::Item) => self.items.push(server.item().to_vec()),
                // Of one that had said HELLO the end follows, which says more.
                Ok(Received::Notice(notice)) if notice.starts_with("the producer") => {}
                Ok(Received::Notice(_)) => self.end = Some(End::Refused),
                Ok(Received::End(Ok(()))) => self.end = Some(End::Well),
                Ok(Received::End(Err(e))) => self.end = Some(End::Lost(e.kind())),
                Err(e) => return assert_eq!(e.kind(), ErrorKind::WouldBlock),
            }
        }
        panic!("it goes round and round");
    }
}

/// What the server has answered to so many items, but for acknowledgements. That it closed with something unread is
/// an error, said once.
fn answers(client: OwnedFd, socket_type: SockType, items: u64) -> Vec<(u32, Vec<u8>)> {
    let (mut all, mut client) = (Vec::new(), File::from(client));
    if socket_type == SockType::Stream {
        let mut bytes = Vec::new();
        let _ = client.read_to_end(&mut bytes).or_else(|_| client.read_to_end(&mut bytes));
        let (rules, mut rest) = ([(HELLO, 16..=20), (GOODBYE, 8..=8), (ACK, 8..=8)], &bytes[..]);
        while let Some(Frame { kind, body }) = frame(&mut rest, &rules).expect("it keeps to the rules") {
            all.push((kind, body.to_vec()));
        }
    } else {
        let mut packet = [0; 64];
        while let Ok(len @ 1..) = client.read(&mut packet).or_else(|_| client.read(&mut packet)) {
            let (kind, body) = packet[..len].split_first_chunk().expect("a kind");
            all.push((u32::from_le_bytes(*kind), body.to_vec()));
        }
    }
    let is_wanted = all.first().is_some_and(|(_, hello)| window(hello) > 0);
    let mut acknowledged = 0;
    all.retain(|(kind, body)| {
        if *kind == ACK {
            let n = number(body);
            assert!(is_wanted && acknowledged < n && n <= items, "{n} after {acknowledged}, of {items}");
            acknowledged = n;
        }
        *kind != ACK
    });
    all
}

fn stream(bytes: &[u8]) {
    let mut rest = bytes;
    let plain = Talk::plainly(|greeted| frame(&mut rest, &rules(greeted)));
    let name = unique_name();
    let kernel = UnixAddr::new_abstract(name.as_bytes()).expect("a short name");
    let address = Address::Abstract(name);
    for pieces in [vec![bytes], pieces(bytes)] {
        assert_eq!(
            Talk::really(&address, &kernel, SockType::Stream, &pieces),
            plain,
            "{} pieces",
            pieces.len()
        );
    }
}

fn packets(packets: &[&[u8]]) {
    let mut rest = packets.iter();
    let plain = Talk::plainly(|greeted| match rest.next() {
        // An empty one cannot be told from the end.
        None | Some([]) => Ok(None),
        Some(packet) => {
            let (kind, body) = packet.split_first_chunk().ok_or(ErrorKind::InvalidData)?;
            let kind = u32::from_le_bytes(*kind);
            check(kind, body.len(), &rules(greeted))?;
            Ok(Some(Frame { kind, body }))
        }
    });
    let channel = Place::open().expect("a place").channel(&unique_name(), "sock");
    let kernel = UnixAddr::new(&channel.path()).expect("a short path");
    assert_eq!(Talk::really(&Address::Seqpacket(channel), &kernel, SockType::SeqPacket, packets), plain);
}

/// One datagram after the other, to a real consumer, all from one address.
fn datagrams(bytes: &[u8]) {
    let mut consumer = UdpConsumer::bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let producer = UdpSocket::bind("127.0.0.1:0").expect("a port");
    producer.connect(consumer.local_addr().expect("bound")).expect("an address");
    // By stream: whether it has ended.
    let mut streams = BTreeMap::new();
    for datagram in Script(bytes).parts(PACKETS) {
        producer.send(datagram).expect("loopback takes all");
        let expected = match plain_datagram(datagram) {
            None => "notice",
            Some((HELLO, stream)) => {
                streams.entry(stream).or_insert(false);
                "nothing"
            }
            Some((kind, stream)) => match (kind, streams.get_mut(&stream)) {
                (_, None) => "notice",
                (DATA, _) => "item",
                (_, Some(true)) => "nothing",
                (kind, Some(ended)) => {
                    *ended = true;
                    if kind == GOODBYE { "goodbye" } else { "notice" }
                }
            },
        };
        let found = match at_most(2 * LONGEST, || consumer.receive(false)) {
            Ok(Arrival::Item) => {
                assert_eq!(consumer.item(), &datagram[datagram::HEADER..]);
                "item"
            }
            Ok(Arrival::Goodbye { stream, sent }) => {
                assert_eq!((stream, sent), (number(&datagram[8..16]), number(&datagram[16..])));
                "goodbye"
            }
            Ok(Arrival::Notice(_)) => "notice",
            // All that were there have ended, and it was not one of them that spoke.
            Ok(Arrival::End(_)) => "nothing",
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::WouldBlock);
                "nothing"
            }
        };
        assert_eq!(found, expected, "{datagram:02x?}");
        assert_eq!(consumer.producers(), streams.values().filter(|ended| !**ended).count());
    }
}

/// Kind and stream, as the wire format has it; and what it is encodes to the same bytes.
fn plain_datagram(datagram: &[u8]) -> Option<(u32, u64)> {
    let plain = datagram.split_at_checked(16).and_then(|(head, body)| {
        let (kind, stream) = (u32::from_le_bytes(head[4..8].try_into().ok()?), number(&head[8..]));
        let fits = match (kind, body.len()) {
            (1, len) => len > 0,
            (2 | 6, len) => len == 8,
            (3, len) => len == 0,
            _ => false,
        };
        (head[..4] == *b"udp1" && fits).then_some((kind, stream))
    });
    assert_eq!(datagram::parse(datagram), plain);
    if let Some((kind, stream)) = plain {
        assert_eq!(datagram::header(kind, stream), datagram[..16]);
    }
    plain
}

/// Inputs to begin with.
pub fn seeds() -> Vec<Seed> {
    let other = |protocol, version| Hello { pid: 4711, ..Hello::new(protocol, version, 128) }.encode();
    let hello = encode(HELLO, &other(*b"item", 1));
    let windowed = |window: u32| encode(HELLO, &[&other(*b"item", 1)[..], &window.to_le_bytes()].concat());
    let one = encode(DATA, &item::sealed(0, b"one"));
    let goodbye = |n: u64| encode(GOODBYE, &n.to_le_bytes());
    let claims =
        |len: u32, kind: u32| [&hello[..], &len.to_le_bytes(), &kind.to_le_bytes(), b"rest"].concat();
    let streams = [
        ("stream-silent", vec![]),
        ("stream-item", [&hello[..], &one, &goodbye(1)].concat()),
        ("stream-three-items", [&hello[..], &one, &one, &one, &goodbye(3)].concat()),
        ("stream-goodbye-miscounts", [&hello[..], &one, &goodbye(2)].concat()),
        ("stream-no-goodbye", [&hello[..], &one].concat()),
        ("stream-cut", [&hello[..], &one[..30]].concat()),
        ("stream-hello-twice", [&hello[..], &hello].concat()),
        (
            "stream-hello-longer",
            [&encode(HELLO, &[&other(*b"item", 1)[..], b"more"].concat())[..], &one].concat(),
        ),
        ("stream-window", [&windowed(3)[..], &one, &one, &one, &one, &goodbye(4)].concat()),
        ("stream-window-of-one", [&windowed(1)[..], &one, &one].concat()),
        ("stream-item-first", one.clone()),
        ("stream-other-version", encode(HELLO, &other(*b"item", 2))),
        ("stream-unframed", encode(HELLO, &other(*b"bare", 1))),
        ("stream-http", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("stream-claims-4-gib", claims(u32::MAX, DATA)),
        ("stream-claims-2-gib", claims(1 << 31, DATA)),
        ("stream-claims-nothing", claims(0, DATA)),
        ("stream-unknown-kind", claims(4, 77)),
    ];
    let packet = |kind: u32, body: &[u8]| [&kind.to_le_bytes()[..], body].concat();
    let (hello, item) = (packet(HELLO, &other(*b"item", 1)), packet(DATA, &item::sealed(0, b"one")));
    let goodbye = packet(GOODBYE, &1u64.to_le_bytes());
    let packets: [(_, Vec<&[u8]>); 6] = [
        ("packets-item", vec![&hello, &item, &goodbye]),
        ("packets-short", vec![&hello, b"abc"]),
        ("packets-empty", vec![&hello, &item, b"", &goodbye]),
        ("packets-no-body", vec![&hello, &item[..4]]),
        ("packets-unknown-kind", vec![&hello, b"KIND and more"]),
        ("packets-no-hello", vec![&item]),
    ];
    let datagram = |kind, body: &[u8]| [&datagram::header(kind, 7)[..], body].concat();
    let (hello, item) = (datagram(HELLO, b""), datagram(DATA, &item[4..]));
    let (goodbye, gone) = (datagram(GOODBYE, &1u64.to_le_bytes()), datagram(datagram::GONE, &[0; 8]));
    let datagrams: [(_, Vec<&[u8]>); 5] = [
        ("datagrams-item", vec![&hello, &item, &goodbye, &goodbye]),
        ("datagrams-gone", vec![&hello, &hello, &gone, &gone, &item]),
        ("datagrams-no-hello", vec![&item, &goodbye]),
        ("datagrams-foreign", vec![b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example", b""]),
        ("datagrams-wrong-lengths", vec![&hello, &goodbye[..20], &hello[..15], &item[..16]]),
    ];
    let seed = |mode: u8, bytes: &[u8]| [&[mode][..], bytes].concat();
    let streams = streams.into_iter().map(|(name, bytes)| (name, seed(0, &bytes)));
    let packets = packets.into_iter().map(|(name, parts)| (name, seed(1, &of_parts(&parts))));
    let datagrams = datagrams.into_iter().map(|(name, parts)| (name, seed(2, &of_parts(&parts))));
    streams.chain(packets).chain(datagrams).collect()
}
