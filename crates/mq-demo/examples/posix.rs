//! Two processes, one POSIX queue, three priorities: `cargo run -p mq-demo --example posix`.

use std::io;
use std::process::Command;

use mq_demo::posix::PosixQueue;

/// The priority of the message that says: nothing follows. It comes last because it is the lowest.
const END: u32 = 0;

fn main() -> io::Result<()> {
    let Some(name) = std::env::args().nth(1) else { return sender() };
    let mut queue = PosixQueue::open(&name)?;
    while queue.receive()? != END {
        println!("process {} received {:?}", std::process::id(), String::from_utf8_lossy(queue.message()));
    }
    Ok(())
}

fn sender() -> io::Result<()> {
    let name = format!("/example-{}", std::process::id());
    let mut queue = PosixQueue::create(&name, 4, 64)?;
    // All are in the queue before the receiver comes: it gets them by priority.
    let sent =
        [5, 1, 9].iter().try_for_each(|&p| queue.send(p, format!("a message of priority {p}").as_bytes()));
    let sent = sent.and_then(|()| queue.send(END, b""));
    let ended = std::env::current_exe().and_then(|exe| Command::new(exe).arg(&name).status());
    // Nobody else would: a queue outlives its processes.
    queue.remove()?;
    sent?;
    if ended?.success() { Ok(()) } else { Err(io::Error::other("the receiver failed")) }
}
