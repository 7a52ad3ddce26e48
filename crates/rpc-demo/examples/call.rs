//! Two processes and a call: the parent serves, starts itself as its child, which calls.
//!
//! `cargo run --example call`

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::process::Command;

use common::place::Place;
use rpc_demo::client::Client;
use rpc_demo::error::RpcError;
use rpc_demo::pipeline::Pipeline;
use rpc_demo::retry::Terms;
use rpc_demo::service::{Counters, Fault, Receipt, SUM, Service};
use rpc_demo::skeleton::ServerStub;
use socket_demo::consumer::Received;
use socket_demo::endpoint::Address;

/// The procedures, as this process runs them.
#[derive(Default)]
struct Abacus(Counters);

impl Service for Abacus {
    fn put(&mut self, item: &[u8]) -> Receipt {
        self.0.items += 1;
        Receipt { number: self.0.items, bytes: item.len() as u64 }
    }

    fn sum(&mut self, numbers: &[i64]) -> Result<i64, Fault> {
        numbers.iter().try_fold(0i64, |sum, n| sum.checked_add(*n)).ok_or(Fault::Overflow)
    }

    fn stats(&mut self) -> Counters {
        self.0
    }

    fn divide(&mut self, dividend: i64, divisor: i64) -> Result<i64, Fault> {
        dividend.checked_div(divisor).ok_or(Fault::DivisionByZero)
    }
}

fn main() -> io::Result<()> {
    match std::env::args().nth(1) {
        None => parent(),
        Some(name) => child(&name),
    }
}

fn parent() -> io::Result<()> {
    let name = format!("call-{}", std::process::id());
    let address = Address::Unix(Place::open()?.channel(&name, "rpc.sock"));
    let mut stub = ServerStub::listen(&address, 1024)?;
    let mut child = Command::new(std::env::current_exe()?).arg(name).spawn()?;
    let mut abacus = Abacus::default();
    loop {
        match stub.receive(true)? {
            Received::Item => {
                stub.run(&mut abacus);
                stub.answer();
            }
            // A call's acknowledgement is its reply.
            Received::Acknowledging => {}
            Received::Notice(notice) => println!("{notice}"),
            Received::End(lost) => break lost?,
        }
    }
    assert!(child.wait()?.success());
    Ok(())
}

fn child(name: &str) -> io::Result<()> {
    let mut dial = Client::dial(Address::Unix(Place::open()?.channel(name, "rpc.sock")));
    dial.connect(true)?;
    let link = dial.greet(true)?.ok_or(io::ErrorKind::ConnectionReset)?;
    // The standard library has no random numbers, but it has random hashes.
    let mut client = Client::new(link, RandomState::new().hash_one(()), Terms::default());
    let sum = client.sum(&[1, 2, 3])?;
    println!("sum(1, 2, 3) = {sum}, ran in {}, called from {}", client.ran_in(), std::process::id());
    assert_eq!(sum, 6);
    assert_ne!(client.ran_in(), std::process::id());
    assert_eq!(client.put(b"hello")?, Receipt { number: 1, bytes: 5 });
    assert!(matches!(client.divide(1, 0), Err(RpcError::Remote(Fault::DivisionByZero))));

    // Several at once, over a connection of their own.
    dial.connect(true)?;
    let link = dial.greet(true)?.ok_or(io::ErrorKind::ConnectionReset)?;
    let mut pipeline = Pipeline::new(link, RandomState::new().hash_one(()), Terms::default(), 3);
    for n in 1..=3 {
        pipeline.begin(SUM, |args| args.i64s(&[n, n]))?;
    }
    for n in 1..=3 {
        assert_eq!(pipeline.receive(true, |result| result.i64())?.result, n + n);
    }
    pipeline.leave();
    client.exchange.leave();
    Ok(())
}
