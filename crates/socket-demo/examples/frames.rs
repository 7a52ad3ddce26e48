//! Two processes and a socket: the parent listens, starts itself as its child, and receives three messages.
//!
//! `cargo run --example frames`

use std::io;
use std::process::Command;

use common::place::Place;
use socket_demo::consumer::{Consumer, Received};
use socket_demo::endpoint::Address;
use socket_demo::producer::Producer;

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    match args.next() {
        None => parent(),
        Some(name) => child(&name),
    }
}

fn parent() -> io::Result<()> {
    let name = format!("frames-{}", std::process::id());
    let address = Address::Unix(Place::open()?.channel(&name, "sock"));
    // Listens before the child exists, so the child need not wait for us.
    let mut consumer = Consumer::listen(&address, 1024)?;
    let mut child = Command::new(std::env::current_exe()?).arg(name).spawn()?;
    let mut messages = Vec::new();
    loop {
        match consumer.receive()? {
            Received::Item => {
                println!("{} bytes: {}", consumer.item().len(), String::from_utf8_lossy(consumer.item()));
                messages.push(consumer.item().to_vec());
            }
            // Only if the producer wants acknowledgements; and here nothing is in a buffer.
            Received::Acknowledging => {}
            Received::Notice(notice) => println!("{notice}"),
            Received::End(lost) => break lost?,
        }
    }
    assert!(child.wait()?.success());
    assert_eq!(messages, [&b"one"[..], b"two, longer", b"three"]);
    Ok(())
}

fn child(name: &str) -> io::Result<()> {
    let mut dial = Producer::dial(Address::Unix(Place::open()?.channel(name, "sock")));
    dial.connect(true)?;
    let link = dial.greet(true)?.ok_or(io::ErrorKind::ConnectionReset)?;
    let mut producer = Producer::new(link);
    for message in [&b"one"[..], b"two, longer", b"three"] {
        producer.send(message)?;
    }
    producer.finish()
}
