//! The bare exchanges, which are the floors of the rows: the same number of bytes by the same means between two
//! processes, with nothing around them. No item, no checksum, no clock, no look at who lives.
//!
//! ```text
//! stream:      this process:  send, send, send, … the last one     the other one:  receive, receive, …
//! round trip:                 send, receive, send, receive, …                      receive, send, …
//! ```
//!
//! A message's first byte says whether it is the last. Of a stream the other process measures the time from the
//! first message to the last, as a consumer does.

mod line;
mod memory;

use std::fmt;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::bench::before;
use crate::bench::subject::Pattern;
use crate::stop;

/// How long an exchange is measured.
const TIME: Duration = Duration::from_millis(100);
/// The first byte of every message but the last.
const MORE: u8 = 0;
const LAST: u8 = 1;

/// By what the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Bare {
    /// write(2) and read(2) of a message each
    Pipe,
    /// The same
    Unix,
    /// The same
    Seqpacket,
    /// The same, on the loopback
    Tcp,
    /// msgsnd(2) and msgrcv(2)
    Sysv,
    /// mq_send(3) and mq_receive(3)
    Posix,
    /// A ring of slots that checks nothing; there and back, a word in a cache line of its own
    Memory,
}

impl fmt::Display for Bare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bare::Pipe => "pipe",
            Bare::Unix => "unix",
            Bare::Seqpacket => "seqpacket",
            Bare::Tcp => "tcp",
            Bare::Sysv => "sysv",
            Bare::Posix => "posix",
            Bare::Memory => "memory",
        })
    }
}

impl Bare {
    /// How long a message takes, or a message and its answer, in nanoseconds. `pin` is where this process and the
    /// other one stay.
    ///
    /// # Errors
    /// When the means does not carry messages of that size; [`Stopped`](crate::stop::Stopped).
    pub fn measure(self, pattern: Pattern, size: usize, pin: Option<[usize; 2]>) -> Result<f64> {
        // A thread of its own, so that pinning ends with it.
        std::thread::scope(|threads| {
            let measuring = threads.spawn(|| {
                pin.map_or(Ok(()), |[cpu, _]| before::pin_this_thread(cpu)).context("pin")?;
                let measured = self.exchange(pattern, size.max(1), pin.map(|[_, cpu]| cpu));
                measured.with_context(|| format!("bare {self}"))
            });
            measuring.join().expect("a measurement does not panic")
        })
    }

    fn exchange(self, pattern: Pattern, size: usize, cpu: Option<usize>) -> Result<f64> {
        let (mut line, there, back) = line::open(self, pattern, size)?;
        let mut other = Other::start(self, pattern, size, line.name(), there, back, cpu)?;
        let mut message = vec![MORE; size];
        // The other one has begun when it has answered.
        other.ready()?;
        // So few that the clock is looked at every millisecond or so, and seldom enough to cost nothing.
        let few = ((1 << 20) / size).clamp(1, 100);
        let (start, mut messages) = (Instant::now(), 0u32);
        while start.elapsed() < TIME {
            stop::check()?;
            for _ in 0..few {
                line.send(&message)?;
                if pattern == Pattern::RoundTrip {
                    line.receive(&mut message)?;
                }
            }
            messages += few as u32;
        }
        let took = start.elapsed();
        message[0] = LAST;
        line.send(&message)?;
        match pattern {
            Pattern::RoundTrip => Ok(took.as_nanos() as f64 / f64::from(messages)),
            _ => Ok(other.took()? / f64::from(messages)),
        }
    }
}

/// The other process.
struct Other {
    child: Child,
}

impl Other {
    fn start(
        bare: Bare,
        pattern: Pattern,
        size: usize,
        name: String,
        there: OwnedFd,
        back: OwnedFd,
        cpu: Option<usize>,
    ) -> Result<Other> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench-part", "bare", &bare.to_string(), pattern.name(), &size.to_string(), &name]);
        // What it says goes to standard error: the other two are the line's.
        command.stdin(there).stdout(back).stderr(Stdio::piped());
        cpu.map_or(Ok(()), |cpu| before::pinned(&mut command, cpu)).context("pin")?;
        Ok(Other { child: command.spawn().context("start the other end")? })
    }

    fn ready(&mut self) -> Result<()> {
        self.said().map(drop)
    }

    /// How long all messages took after the first, in nanoseconds.
    fn took(&mut self) -> Result<f64> {
        Ok(u64::from_le_bytes(self.said()?) as f64)
    }

    fn said(&mut self) -> Result<[u8; 8]> {
        let mut said = [0; 8];
        self.child.stderr.as_mut().context("piped")?.read_exact(&mut said).context("the other end failed")?;
        Ok(said)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It has nothing to clean up.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other process's part.
pub fn play(bare: Bare, pattern: Pattern, size: usize, name: &str) -> Result<bool> {
    // Who waits for a word in memory does not learn otherwise that nobody is left.
    set_pdeathsig(Signal::SIGKILL)?;
    let mut line = line::join(bare, pattern, size, name)?;
    let mut message = vec![MORE; size];
    let say = |number: u64| std::io::stderr().write_all(&number.to_le_bytes());
    say(0)?;
    let mut first = None;
    while message[0] != LAST {
        line.receive(&mut message)?;
        first.get_or_insert_with(Instant::now);
        if pattern == Pattern::RoundTrip && message[0] != LAST {
            line.send(&message)?;
        }
    }
    let first = first.context("no message has come")?;
    ensure!(message.len() == size, "a message of another size");
    say(first.elapsed().as_nanos() as u64)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_the_name_that_the_other_end_is_told() {
        for bare in Bare::value_variants() {
            assert_eq!(Bare::from_str(&bare.to_string(), false), Ok(*bare));
        }
    }
}
