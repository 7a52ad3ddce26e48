//! Two processes, one queue, three layouts of struct: `cargo run -p mq-demo --example structs`.

use std::io;
use std::process::Command;

use mq_demo::structs::{LONGEST, Struct, Verb};
use mq_demo::sysv::{Select, SysvQueue};

fn main() -> io::Result<()> {
    let Some(key) = std::env::args().nth(1) else { return sender() };
    let mut queue = SysvQueue::open(key.parse().map_err(io::Error::other)?, LONGEST)?;
    // A command first, though it was sent last; then whatever is there.
    for select in [Select::Only(3), Select::Any, Select::Any] {
        let kind = queue.receive(select)?;
        match Struct::unmarshal(kind, queue.message()) {
            Some(one) => println!("process {} received {one}", std::process::id()),
            None => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    Ok(())
}

fn sender() -> io::Result<()> {
    let key = std::process::id() as i32;
    let mut queue = SysvQueue::create(key, 10 * LONGEST, LONGEST)?;
    let all = [
        Struct::Reading { sensor: 7, millidegrees: 21_437 },
        Struct::Text("all is well".into()),
        Struct::Command { verb: Verb::Set, argument: 22 },
    ];
    let sent = all.iter().try_for_each(|one| {
        let mut bytes = Vec::new();
        one.marshal(&mut bytes);
        queue.send(one.kind(), &bytes)
    });
    let ended = std::env::current_exe().and_then(|exe| Command::new(exe).arg(key.to_string()).status());
    // Nobody else would: a queue outlives its processes.
    queue.remove()?;
    sent?;
    if ended?.success() { Ok(()) } else { Err(io::Error::other("the receiver failed")) }
}
