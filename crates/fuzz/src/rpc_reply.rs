//! Replies: what the client stub believes of a server, and what it knows of a call that got no reply.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::ops::RangeInclusive;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use rpc_demo::client::Client;
use rpc_demo::error::RpcError;
use rpc_demo::marshal::Marshal;
use rpc_demo::message::{MAX_REPLY, PROTOCOL, REPLY_HEADER, REQUEST_HEADER, ReplyHeader, SURPLUS, VERSION};
use rpc_demo::retry::{Outcome, Terms};
use rpc_demo::service::{Counters, Fault, Receipt};
use rpc_demo::trace;
use socket_demo::dial::Hello;
use socket_demo::endpoint::Address;
use socket_demo::frame::{GOODBYE, HELLO, REPLY};

use crate::memory::at_most;
use crate::rpc_request::printable;
use crate::script::Script;
use crate::wire::{encode, frame, number, window};
use crate::{LONGEST, Seed, unique_name};

/// What a server may cost the client: a buffer, a request, what it says of it.
const MEMORY: usize = (64 << 10) + 2 * LONGEST + 4096;
/// How many calls are made.
const CALLS: u64 = 4;

/// The first byte says which procedure is called and whether the server speaks up before the call is sent; the
/// others are all that the server sends.
pub fn run(bytes: &[u8]) {
    if bytes.len() > LONGEST {
        return;
    }
    let mut script = Script(bytes);
    let how = script.u8();
    let (procedure, early, mut rest) = (1 + u32::from(how % 4), how & 4 != 0, script.0);

    let name = unique_name();
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let listener = UnixListener::bind_addr(&address).expect("a free name");
    let mut dial = Client::dial(Address::Abstract(name));
    dial.connect(false).expect("somebody listens");
    let (mut server, _) = listener.accept().expect("it has connected");
    // With the HELLO comes what is early; the rest when the first call has been sent.
    let before = rest.len() - if early { 0 } else { after_hello(rest).len() };
    server.write_all(&rest[..before]).expect("room");
    let all = before == rest.len();
    if all {
        server.shutdown(Shutdown::Write).expect("connected");
    }
    let met = at_most(MEMORY, || dial.greet(false)).map_err(|e| e.kind());
    let link = match hello(&mut rest) {
        Ok(said) => {
            let link = met.expect("it said HELLO").expect("it said HELLO");
            assert!(said.starts_with(&link.server.encode()), "encoded again it is the same");
            assert_eq!(link.server.window, window(said));
            link
        }
        Err(None) => return assert!(matches!(met, Ok(None)), "it left, and another may come: {met:?}"),
        Err(Some(kind)) => return assert_eq!(met.map(drop), Err(kind)),
    };
    let longest = link.server.max_frame;
    let mut client = Client::new(link, 7, Terms::default());
    client.exchange.set_nonblocking(true);
    if !all {
        let fits = request_len(procedure) <= longest as usize;
        let kind = if fits { ErrorKind::WouldBlock } else { ErrorKind::FileTooLarge };
        assert_eq!(at_most(MEMORY, || call(&mut client, procedure)), Err(Failure::Transport(kind)));
        if !fits {
            return;
        }
        server.write_all(rest).expect("room");
        server.shutdown(Shutdown::Write).expect("connected");
    }
    let mut model = Model { rest, gone: false, late: 0, sent: u64::from(!all), came: 0 };
    for number in 1..=CALLS {
        // Where it is read before it is sent, it has no place among the requests.
        let mut place = (number == 1 && !all).then_some(1);
        let mut called = at_most(MEMORY, || call(&mut client, procedure));
        if number > 1 && called == Err(Failure::Transport(ErrorKind::FileTooLarge)) {
            return assert!(request_len(procedure) > longest as usize);
        }
        // Right after a reply it is sent before it is read.
        if number > 1 && called == Err(Failure::Transport(ErrorKind::WouldBlock)) {
            model.sent += 1;
            place = Some(model.sent);
            called = at_most(MEMORY, || call(&mut client, procedure));
        }
        assert_eq!(called, model.call(number, place, procedure));
        assert_eq!(client.exchange.late_replies(), model.late);
        printable(trace::reply(client.exchange.last().1));
    }
}

const RULES: [(u32, RangeInclusive<usize>); 2] = [(REPLY, REPLY_HEADER..=MAX_REPLY), (GOODBYE, 8..=8)];
const HELLO_RULES: [(u32, RangeInclusive<usize>); 1] = [(HELLO, 16..=256)];

fn after_hello(mut bytes: &[u8]) -> &[u8] {
    if let Ok(Some(_)) = frame(&mut bytes, &HELLO_RULES) { bytes } else { &[] }
}

/// A HELLO in which the server speaks our version; `None` if it left instead.
fn hello<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Option<ErrorKind>> {
    match frame(bytes, &HELLO_RULES) {
        Ok(Some(f)) if f.body.starts_with(b"call\x02\0\0\0") => Ok(f.body),
        Ok(Some(f)) if f.body.starts_with(b"bare\x02\0\0\0") => Err(Some(ErrorKind::Unsupported)),
        Ok(Some(_)) => Err(Some(ErrorKind::InvalidData)),
        Ok(None) | Err(ErrorKind::UnexpectedEof) => Err(None),
        Err(kind) => Err(Some(kind)),
    }
}

/// Why there is no result.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    Transport(ErrorKind),
    Unanswered(Outcome),
    Protocol,
    Remote(Fault),
}

impl From<RpcError> for Failure {
    fn from(e: RpcError) -> Failure {
        printable(e.to_string());
        match e {
            RpcError::Transport(e) => Failure::Transport(e.kind()),
            RpcError::Unanswered(_, outcome) => Failure::Unanswered(outcome),
            RpcError::Protocol(_) => Failure::Protocol,
            RpcError::Remote(fault) => Failure::Remote(fault),
        }
    }
}

/// Calls it, always with the same arguments. The numbers of the result.
fn call(client: &mut Client, procedure: u32) -> Result<Vec<u64>, Failure> {
    Ok(match procedure {
        1 => {
            let Receipt { number, bytes } = client.put(b"item")?;
            vec![number, bytes]
        }
        2 => vec![client.sum(&[1, 2])? as u64],
        3 => {
            let Counters { calls, faults, items, bytes } = client.stats()?;
            vec![calls, faults, items, bytes]
        }
        _ => vec![client.divide(7, 2)? as u64],
    })
}

fn request_len(procedure: u32) -> usize {
    REQUEST_HEADER + [4, 4 + 16, 0, 16][procedure as usize - 1]
}

/// A client as the wire format has it.
struct Model<'a> {
    /// What is not read yet.
    rest: &'a [u8],
    gone: bool,
    /// Replies to no call.
    late: u64,
    /// Requests, and replies.
    sent: u64,
    came: u64,
}

impl Model<'_> {
    fn call(&mut self, number_of_call: u64, place: Option<u64>, procedure: u32) -> Result<Vec<u64>, Failure> {
        let mut taken = None;
        while !self.gone {
            match frame(&mut self.rest, &RULES) {
                Ok(Some(f)) if f.kind == REPLY && number(&f.body[..8]) == number_of_call => {
                    self.came += 1;
                    return result(procedure, &f.body[12..]);
                }
                Ok(Some(f)) if f.kind == REPLY => {
                    (self.came, self.late) = (self.came + 1, self.late + 1);
                    if self.came > self.sent + SURPLUS {
                        self.gone = true;
                        return Err(Failure::Protocol);
                    }
                }
                Ok(Some(f)) => (self.gone, taken) = (true, Some(number(f.body))),
                Ok(None) | Err(ErrorKind::UnexpectedEof) => self.gone = true,
                Err(_) => return Err(Failure::Protocol),
            }
        }
        // One that was never sent did not run; of one that was, the goodbye may tell.
        Err(Failure::Unanswered(match (place, taken) {
            (None, _) => Outcome::DidNotRun,
            (Some(place), Some(taken)) if taken < place => Outcome::DidNotRun,
            (Some(_), Some(_)) => Outcome::Ran,
            (Some(_), None) => Outcome::Unknown,
        }))
    }
}

/// What a reply says from its status on.
fn result(procedure: u32, reply: &[u8]) -> Result<Vec<u64>, Failure> {
    let (status, result) = reply.split_first_chunk().expect("by the rules");
    let (numbers, more) = result.as_chunks::<8>();
    match u32::from_le_bytes(*status) {
        0 if more.is_empty() && numbers.len() == [2, 1, 4, 1][procedure as usize - 1] => {
            Ok(numbers.iter().map(|n| u64::from_le_bytes(*n)).collect())
        }
        0 => Err(Failure::Protocol),
        // It does not know whether it ran when it was sent before.
        5 => Err(Failure::Unanswered(Outcome::Unknown)),
        status => Err(Failure::Remote(Fault::from_status(status))),
    }
}

/// Inputs to begin with.
pub fn seeds() -> Vec<Seed> {
    let [put, sum, stats, divide, early] = [0, 1, 2, 3, 4];
    let other =
        |protocol, version| encode(HELLO, &Hello { pid: 1, ..Hello::new(protocol, version, 256) }.encode());
    let hello = other(PROTOCOL, VERSION);
    let reply = |call, status, numbers: &[u64]| {
        let mut body = Marshal::default();
        ReplyHeader { call, pid: 4712, status }.marshal(&mut body);
        for number in numbers {
            body.u64(*number);
        }
        encode(REPLY, body.bytes())
    };
    let goodbye = |taken: u64| encode(GOODBYE, &taken.to_le_bytes());
    let small = encode(HELLO, &Hello { pid: 1, ..Hello::new(PROTOCOL, VERSION, 30) }.encode());
    let with_hello = |how: u8, frames: &[Vec<u8>]| [&[how][..], &hello, &frames.concat()].concat();
    vec![
        ("put", with_hello(put, &[reply(1, 0, &[1, 36]), goodbye(1)])),
        ("sum", with_hello(sum, &[reply(1, 0, &[3]), goodbye(1)])),
        ("stats", with_hello(stats, &[reply(1, 0, &[1, 0, 0, 0]), goodbye(1)])),
        ("divide", with_hello(divide, &[reply(1, 0, &[3]), goodbye(1)])),
        ("overflow", with_hello(sum, &[reply(1, 3, &[]), goodbye(1)])),
        ("division-by-zero", with_hello(divide, &[reply(1, 4, &[])])),
        ("forgotten", with_hello(put, &[reply(1, 5, &[])])),
        ("unknown-fault", with_hello(put, &[reply(1, 77, &[])])),
        (
            "late-and-doubled",
            with_hello(sum, &[reply(0, 0, &[9]), reply(1, 0, &[3]), reply(1, 0, &[3]), goodbye(1)]),
        ),
        ("before-it-is-sent", with_hello(sum | early, &[reply(1, 0, &[3]), reply(2, 0, &[3]), goodbye(2)])),
        ("too-short", with_hello(stats, &[reply(1, 0, &[1, 0, 0])])),
        ("too-long", with_hello(sum, &[reply(1, 0, &[3, 3])])),
        ("goodbye-it-ran", with_hello(put, &[goodbye(1)])),
        ("goodbye-it-did-not-run", with_hello(put, &[goodbye(0)])),
        ("gone", with_hello(put, &[])),
        ("cut", with_hello(sum, &[reply(1, 0, &[3])[..20].to_vec()])),
        ("claims-4-gib", with_hello(sum, &[[&[0xFF; 4][..], &REPLY.to_le_bytes()].concat()])),
        ("request-in-place-of-a-reply", with_hello(sum, &[encode(4, &[0; 28])])),
        ("takes-short-requests-only", [&[put][..], &small, &reply(1, 0, &[1, 36])].concat()),
        ("no-server", vec![put]),
        ("hello-cut", [&[put][..], &hello[..11]].concat()),
        ("other-version", [&[put][..], &other(PROTOCOL, 1)].concat()),
        ("unframed", [&[put][..], &other(*b"bare", VERSION)].concat()),
        ("socket-consumer", [&[put][..], &other(*b"item", VERSION)].concat()),
    ]
}
