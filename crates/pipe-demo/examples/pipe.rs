//! Sends three messages to a child over an unnamed pipe: `cargo run -p pipe-demo --example pipe`.

use std::io;
use std::process::Command;

use pipe_demo::anonymous;

fn main() -> io::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("child") {
        let mut pipe = anonymous::inherited()?;
        while pipe.read()? {
            println!("child {} read {:?}", std::process::id(), String::from_utf8_lossy(pipe.message()));
        }
        return Ok(());
    }
    let mut itself = Command::new(std::env::current_exe()?);
    itself.arg("child");
    let (mut child, mut pipe) = anonymous::spawn(itself)?;
    for message in ["one", "two", "three"] {
        pipe.write(message.as_bytes())?;
    }
    pipe.goodbye()?;
    // The child's end-of-file.
    drop(pipe);
    match anonymous::wait(&mut child)? {
        0 => Ok(()),
        status => Err(io::Error::other(format!("the child ended with {status}"))),
    }
}
