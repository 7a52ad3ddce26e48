//! Sends three messages through a FIFO to a second process: `cargo run -p pipe-demo --example fifo`.

use std::io;
use std::process::Command;

use common::place::Place;
use pipe_demo::fifo::{FifoReader, FifoWriter};

fn main() -> io::Result<()> {
    let Some(name) = std::env::args().nth(1) else { return writer() };
    let fifo = FifoReader::create(Place::open()?.channel(&name, "fifo"))?;
    let mut pipe = fifo.open()?;
    while pipe.read()? {
        println!("process {} read {:?}", std::process::id(), String::from_utf8_lossy(pipe.message()));
    }
    Ok(())
}

fn writer() -> io::Result<()> {
    let name = format!("example-{}", std::process::id());
    let mut reader = Command::new(std::env::current_exe()?).arg(&name).spawn()?;
    let mut fifo = FifoWriter::create(Place::open()?.channel(&name, "fifo"), 100, false)?;
    let mut pipe = fifo.open()?;
    for message in ["one", "two", "three"] {
        pipe.write(message.as_bytes())?;
    }
    pipe.goodbye()?;
    drop(pipe);
    let status = reader.wait()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("the reader ended with {status}"))) }
}
