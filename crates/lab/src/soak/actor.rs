//! A running side: its process, and the pipe by which it is fed, or into which it writes.

use std::fs::{self, File};
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Instant;

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::io::ioctl_fionread;

use crate::pairs::Role;
use crate::soak::plan::Fault;
use crate::soak::record::{RECORD, record};

/// So many records are made at once.
const BLOCK: u64 = 256;

/// One side, from its start to its end.
#[derive(Debug)]
pub struct Actor {
    /// Which.
    pub role: Role,
    /// Its number: of a producer, that of its stream.
    pub run: u64,
    /// What was done to it that ends it.
    pub hits: Vec<Fault>,
    /// When it was started.
    pub since: Instant,
    /// It is stopped until then.
    pub stopped: Option<Instant>,
    child: Child,
    said: PathBuf,
    end: Pipe,
}

#[derive(Debug)]
enum Pipe {
    Input(Input),
    Output(Output),
}

/// What a producer is to send.
#[derive(Debug)]
struct Input {
    /// None once all is in the pipe.
    to: Option<PipeWriter>,
    /// Kept to see how much is left of it.
    from: PipeReader,
    made: u64,
    limit: u64,
    /// Made, but the pipe was full.
    block: Vec<u8>,
    written: u64,
}

/// What a consumer writes.
#[derive(Debug)]
struct Output {
    from: PipeReader,
    part: Vec<u8>,
}

impl Actor {
    /// Starts a side. What it says goes into the file `said`.
    pub fn start(mut command: Command, role: Role, run: u64, said: PathBuf) -> Result<Actor> {
        let file = File::create(&said).with_context(|| format!("create {}", said.display()))?;
        let (from, to) = io::pipe()?;
        let end = match role {
            Role::Producer => {
                command.stdin(from.try_clone()?).stdout(file.try_clone()?);
                nonblocking(&to)?;
                Pipe::Input(Input {
                    to: Some(to),
                    from,
                    made: 0,
                    limit: u64::MAX,
                    block: Vec::new(),
                    written: 0,
                })
            }
            Role::Consumer => {
                command.stdout(to);
                nonblocking(&from)?;
                Pipe::Output(Output { from, part: Vec::new() })
            }
        };
        command.stderr(file);
        let child = command.spawn().with_context(|| format!("start {:?}", command.get_program()))?;
        Ok(Actor { role, run, since: Instant::now(), hits: Vec::new(), stopped: None, child, said, end })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        // It is a child that was not waited for: the id is its own.
        let _ = kill(Pid::from_raw(self.child.id() as i32), signal);
    }

    /// No more than `records` from now on, then the end of its input.
    pub fn finish(&mut self, records: u64) {
        if let Pipe::Input(input) = &mut self.end {
            input.limit = input.made + records;
        }
    }

    /// Puts as much into its input as the pipe takes.
    pub fn feed(&mut self) -> Result<()> {
        let Pipe::Input(input) = &mut self.end else { return Ok(()) };
        while let Some(to) = &mut input.to {
            if input.block.is_empty() {
                let more = BLOCK.min(input.limit - input.made);
                if more == 0 {
                    input.to = None;
                    break;
                }
                let numbers = input.made..input.made + more;
                input.block.extend(numbers.flat_map(|n| record(self.run, n)));
                input.made += more;
            }
            match to.write(&input.block) {
                Ok(n) => {
                    input.block.drain(..n);
                    input.written += n as u64;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e).context("feed a producer"),
            }
        }
        Ok(())
    }

    /// Hands on each record that it has written.
    pub fn drain(&mut self, mut each: impl FnMut(&[u8; RECORD])) -> Result<()> {
        let Pipe::Output(output) = &mut self.end else { return Ok(()) };
        let mut piece = [0; 64 << 10];
        loop {
            match output.from.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => {
                    output.part.extend_from_slice(&piece[..n]);
                    let (records, _) = output.part.as_chunks::<RECORD>();
                    records.iter().for_each(&mut each);
                    let whole = records.len() * RECORD;
                    output.part.drain(..whole);
                    // The other side is to be fed, too.
                    if n < piece.len() {
                        break;
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e).context("read what a consumer writes"),
            }
        }
        Ok(())
    }

    /// Its exit status, 128 + n if signal n killed it, if it has ended.
    pub fn ended(&mut self) -> Result<Option<i32>> {
        let status = self.child.try_wait()?;
        Ok(status.map(|s| s.code().unwrap_or_else(|| 128 + s.signal().unwrap_or(0))))
    }

    /// Of a producer that has ended: how many records it had taken.
    pub fn taken(&self) -> Result<u64> {
        let Pipe::Input(input) = &self.end else { return Ok(0) };
        Ok((input.written - ioctl_fionread(&input.from).map_err(io::Error::from)?) / RECORD as u64)
    }

    /// Of a consumer that has ended: whether it had written a part of a record.
    pub fn is_cut(&self) -> bool {
        matches!(&self.end, Pipe::Output(output) if !output.part.is_empty())
    }

    /// What it has said.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.said).unwrap_or_default()).into_owned()
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn nonblocking(fd: &impl AsFd) -> Result<()> {
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("make a pipe non-blocking")?;
    Ok(())
}
