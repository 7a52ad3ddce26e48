//! A queue that has an end, and that its last process removes: `cargo run -p mq-demo --example mailbox`.

use std::io;
use std::process::Command;

use common::place::Place;
use mq_demo::receiver::{Receiver, Select};
use mq_demo::registry::Api;
use mq_demo::sender::{Sender, Shape};

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args[..] {
        [] => [Api::Sysv, Api::Posix].into_iter().try_for_each(produce),
        [api, name] => consume(if api == "posix" { Api::Posix } else { Api::Sysv }, name),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn produce(api: Api) -> io::Result<()> {
    let name = format!("example-{}", std::process::id());
    let shape = Shape { api, capacity: None, size: 64, structs: false };
    let mut queue = Sender::create(Place::open()?.channel(&name, "mq"), &shape)?;
    for kind in [1, 2, 3] {
        queue.send(kind, format!("message {kind}").as_bytes())?;
    }
    // The goodbye. The messages are the kernel's now: nobody need be attached.
    if let Some(left) = queue.finish()? {
        println!("process {} leaves {} messages in {}", std::process::id(), left.messages, left.queue);
    }
    let consumer = Command::new(std::env::current_exe()?).args([api.name(), &name]).status()?;
    if consumer.success() { Ok(()) } else { Err(io::Error::other("the consumer failed")) }
}

fn consume(api: Api, name: &str) -> io::Result<()> {
    let mut queue = Receiver::attach(Place::open()?.channel(name, "mq"), api, Select::Any)?;
    // Fails with WouldBlock if there is no queue yet. A program that is started first waits for one: it
    // polls `Receiver::watch`, which becomes readable when a producer has come.
    queue.open()?;
    while queue.receive()?.is_some() {
        println!("process {} received {:?}", std::process::id(), String::from_utf8_lossy(queue.message()));
    }
    // The last to leave removes the queue.
    queue.leave().map(drop)
}
