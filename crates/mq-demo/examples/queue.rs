//! Two processes and one queue: this program starts itself again as the consumer.
//!
//! ```text
//! cargo run --example queue            System V
//! cargo run --example queue posix      POSIX
//! ```

use std::io;
use std::process::{Command, ExitCode};

use common::place::Place;
use mq_demo::receiver::{Receiver, Select};
use mq_demo::registry::Api;
use mq_demo::sender::{Sender, Shape};

fn main() -> io::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let api = if args.first().is_some_and(|a| a == "posix") { Api::Posix } else { Api::Sysv };
    match args.get(1) {
        None => produce(api),
        Some(name) => consume(api, name),
    }
}

fn produce(api: Api) -> io::Result<ExitCode> {
    let name = format!("example-{}", std::process::id());
    let shape = Shape { api, capacity: None, size: 64 };
    let mut queue = Sender::create(Place::open()?.channel(&name, "mq"), &shape)?;
    for kind in [1, 2, 3] {
        queue.send(kind, format!("message of type {kind}").as_bytes())?;
    }
    // The goodbye. The messages are the kernel's now: nobody need be attached.
    if let Some(left) = queue.leave()? {
        println!("process {} leaves {} messages in {}", std::process::id(), left.messages, left.queue);
    }
    let consumer = Command::new(std::env::current_exe()?).args([api.name(), &name]).status()?;
    Ok(if consumer.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn consume(api: Api, name: &str) -> io::Result<ExitCode> {
    let mut queue = Receiver::attach(Place::open()?.channel(name, "mq"), api, Select::Any)?;
    // Fails with WouldBlock if there is no queue yet. A program that is started first waits for one: it
    // polls `Receiver::watch`, which becomes readable when a producer has come.
    queue.open()?;
    while let Some(kind) = queue.receive()? {
        println!("process {} received {kind}: {}", std::process::id(), queue.message().escape_ascii());
    }
    // The last to leave removes the queue.
    queue.leave()?;
    Ok(ExitCode::SUCCESS)
}
