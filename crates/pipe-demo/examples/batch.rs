//! Sends a hundred thousand messages to a child, many at once: `cargo run -p pipe-demo --example batch`.

use std::io;
use std::process::Command;

use pipe_demo::anonymous;
use pipe_demo::batch::BatchWriter;
use pipe_demo::frame::PIPE_BUF;

const MESSAGES: u64 = 100_000;

fn main() -> io::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("child") {
        let mut pipe = anonymous::inherited()?;
        let (mut messages, mut sum) = (0u64, 0);
        while pipe.read()? {
            messages += 1;
            sum += pipe.message().first_chunk().copied().map_or(0, u64::from_le_bytes);
        }
        println!("child {} read {messages} messages", std::process::id());
        let all = messages == MESSAGES && sum == MESSAGES * (MESSAGES - 1) / 2;
        return if all { Ok(()) } else { Err(io::Error::other("messages are missing")) };
    }
    let mut itself = Command::new(std::env::current_exe()?);
    itself.arg("child");
    let (mut child, pipe) = anonymous::spawn(itself)?;
    let mut pipe = BatchWriter::new(pipe, PIPE_BUF);
    for message in 0..MESSAGES {
        pipe.write(&message.to_le_bytes(), true)?;
    }
    // Writes what has been gathered, too. Before a pause it is `flush`.
    pipe.goodbye(true)?;
    println!("{MESSAGES} messages in {} writes", pipe.writes());
    drop(pipe);
    match anonymous::wait(&mut child)? {
        0 => Ok(()),
        status => Err(io::Error::other(format!("the child ended with {status}"))),
    }
}
