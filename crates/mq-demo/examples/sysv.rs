//! Two processes, one System V queue, three types: `cargo run -p mq-demo --example sysv`.

use std::io;
use std::process::Command;

use mq_demo::sysv::{Select, SysvQueue};

const LONGEST: usize = 64;
/// The type of the message that says: nothing follows.
const END: i64 = 9;

fn main() -> io::Result<()> {
    let Some(key) = std::env::args().nth(1) else { return sender() };
    let mut queue = SysvQueue::open(key.parse().map_err(io::Error::other)?, LONGEST)?;
    // Type 2 first, though it was sent last; then the rest, the lowest types first.
    queue.receive(Select::Only(2))?;
    loop {
        println!("process {} received {:?}", std::process::id(), String::from_utf8_lossy(queue.message()));
        if queue.receive(Select::UpTo(END))? == END {
            return Ok(());
        }
    }
}

fn sender() -> io::Result<()> {
    // Two processes must know the key. A process id is positive, and no other process uses this one.
    let key = std::process::id() as i32;
    let mut queue = SysvQueue::create(key, 10 * LONGEST, LONGEST)?;
    let receiver = Command::new(std::env::current_exe()?).arg(key.to_string()).spawn();
    let sent = [3, 1, 2]
        .iter()
        .try_for_each(|&kind| queue.send(kind, format!("a message of type {kind}").as_bytes()));
    let sent = sent.and_then(|()| queue.send(END, b""));
    let ended = receiver.and_then(|mut r| r.wait());
    // Nobody else would: a queue outlives its processes.
    queue.remove()?;
    sent?;
    if ended?.success() { Ok(()) } else { Err(io::Error::other("the receiver failed")) }
}
