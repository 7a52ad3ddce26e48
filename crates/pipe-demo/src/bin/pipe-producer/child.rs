//! `--anonymous`: the consumer is a child of this process, which shares an unnamed pipe with it.

use std::os::fd::AsFd;
use std::process::Command;

use anyhow::{Context, Result};
use common::{exit, session::Session, source::Items};
use pipe_demo::independent::Seen;
use pipe_demo::{anonymous, leak};

use crate::end::End;
use crate::flags::Args;
use crate::send_all;

/// `--independent`: what two processes found at one address.
pub fn tell_independent(seen: [Seen; 2], session: &mut Session) {
    for (who, seen) in ["parent", "child"].into_iter().zip(seen) {
        let Seen { pid, address, wrote, found } = seen;
        session.say(&format!("{who} {pid} wrote {wrote} at {address:#x}, and finds {found} there"));
    }
    session.say("one address, two values: processes share no memory, so they need the kernel");
}

/// Starts the consumer, sends it all items, and ends with the worse of the two exit statuses.
pub fn send(args: &Args, items: &mut Items, session: &mut Session) -> Result<()> {
    let spawn = if args.leak_write_end { leak::spawn } else { anonymous::spawn };
    let (mut child, pipe) = spawn(consumer(args)?).context("start pipe-consumer")?;
    session.say(&ends(&pipe)?);
    // It closes the pipe at its end: the child's end-of-file comes when every write end is closed.
    let sent = send_all(args, items, session, End { pipe, fifo: None, replies: None });
    let status = match session.transfer(|| anonymous::wait(&mut child).map(usize::from)) {
        Ok(status) => status as u8,
        Err(_) => anonymous::end(&mut child, session.stopped().map(|s| s.0))?,
    };
    match sent {
        Ok(()) if status == 0 => Ok(()),
        Err(e) if exit::worse(status, exit::status(&e)) == exit::status(&e) => Err(e),
        _ => Err(exit::Exit { status, message: format!("the child ended with {status}") }.into()),
    }
}

/// What this process holds of the pipe; the child tells its own half.
fn ends(pipe: &impl AsFd) -> Result<String> {
    let parent = std::process::id();
    let ends = leak::ends(parent, pipe)?;
    let closed = if ends.read.is_empty() { "has closed" } else { "has forgotten to close" };
    Ok(format!(
        "parent {parent} keeps the write end (descriptor {}), and {closed} the read end",
        list(&ends.write)
    ))
}

fn list(descriptors: &[i32]) -> String {
    descriptors.iter().map(i32::to_string).collect::<Vec<_>>().join(", ")
}

/// The command that makes the child: the consumer beside this binary, told what it needs to know.
fn consumer(args: &Args) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?.with_file_name("pipe-consumer"));
    command.arg("--anonymous");
    let both = &args.producer.both;
    for (flag, given) in [("--json", both.json), ("--quiet", both.quiet), ("--nonblocking", both.nonblocking)]
    {
        command.args(given.then_some(flag));
    }
    for (flag, time) in [("--timeout", both.timeout), ("--delay", args.delay)] {
        command.args(time.map(|t| format!("{flag}={}ns", t.as_nanos())));
    }
    if let Some(output) = &args.output {
        command.arg("--output").arg(output);
    }
    Ok(command)
}
