//! Two processes and UDP: the parent takes a port, starts itself as its child, and receives three messages.
//!
//! `cargo run --example datagrams`

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::process::Command;

use socket_demo::udp_consumer::{Arrival, UdpConsumer};
use socket_demo::udp_producer::UdpProducer;

fn main() -> io::Result<()> {
    match std::env::args().nth(1) {
        None => parent(),
        Some(addr) => child(addr.parse().map_err(io::Error::other)?),
    }
}

fn parent() -> io::Result<()> {
    let mut consumer = UdpConsumer::bind(([127, 0, 0, 1], 0).into())?;
    let addr = consumer.local_addr()?.to_string();
    let mut child = Command::new(std::env::current_exe()?).arg(addr).spawn()?;
    let mut messages = Vec::new();
    loop {
        match consumer.receive(true)? {
            Arrival::Item => {
                println!("{} bytes: {}", consumer.item().len(), String::from_utf8_lossy(consumer.item()));
                messages.push(consumer.item().to_vec());
            }
            Arrival::Goodbye { sent, .. } => println!("{} of {sent} have come", messages.len()),
            Arrival::Notice(notice) => println!("{notice}"),
            Arrival::End(lost) => break lost?,
        }
    }
    assert!(child.wait()?.success());
    assert_eq!(messages, [&b"one"[..], b"two, longer", b"three"]);
    Ok(())
}

fn child(to: SocketAddr) -> io::Result<()> {
    // A real stream's number is random: this one has no other beside it.
    let mut producer = UdpProducer::new(to, std::process::id().into())?;
    again(|| producer.meet(true))?;
    for message in [&b"one"[..], b"two, longer", b"three"] {
        producer.send(message, true)?;
    }
    again(|| producer.finish(true))
}

/// A question is asked again after `Interrupted`.
fn again(mut ask: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match ask() {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
