//! Sends a thousand messages of a MiB to a child, without copying them: `cargo run -p pipe-demo --example zero_copy`.

use std::io;
use std::process::Command;

use pipe_demo::anonymous;
use pipe_demo::zero_copy::PageWriter;

const MESSAGES: u64 = 1000;
const LENGTH: usize = 1 << 20;

fn main() -> io::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("child") {
        let mut pipe = anonymous::inherited()?;
        let mut messages = 0u64;
        while pipe.read()? {
            let whole = pipe.message().len() == LENGTH;
            if !whole || pipe.message().iter().any(|byte| *byte != messages as u8) {
                return Err(io::Error::other(format!("message {messages} is not what it was")));
            }
            messages += 1;
        }
        println!("child {} read {messages} messages", std::process::id());
        return if messages == MESSAGES { Ok(()) } else { Err(io::Error::other("messages are missing")) };
    }
    let mut itself = Command::new(std::env::current_exe()?);
    itself.arg("child");
    let (mut child, pipe) = anonymous::spawn(itself)?;
    let mut pipe = PageWriter::new(pipe);
    for message in 0..MESSAGES {
        pipe.room(LENGTH)?.fill(message as u8);
        pipe.give(LENGTH, true)?;
    }
    // Gives it the rest of the last one, too. Before a pause it is `flush`.
    pipe.goodbye(true)?;
    println!("{MESSAGES} messages, built in {} buffers", pipe.kept());
    drop(pipe);
    match anonymous::wait(&mut child)? {
        0 => Ok(()),
        status => Err(io::Error::other(format!("the child ended with {status}"))),
    }
}
