//! The bare exchanges, which are the floors of the rows: the same number of bytes by the same means between two
//! processes, with nothing around them. No item, no checksum, no clock, no look at who lives.
//!
//! ```text
//! stream:      this process:  send, send, send, … the last one     the other one:  receive, receive, …
//! round trip:                 send, receive, send, receive, …                      receive, send, …
//! paced:                      a pause, send the time, a pause, …                   receive, how long ago is it?
//! ```
//!
//! A message's first byte says whether it is the last. Of a stream the other process measures the time from the
//! first message to the last, as a consumer does; of paced messages the usual time from here to there.

mod line;
mod memory;

use std::fmt;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use common::item::now_ns;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::bench::before;
use crate::bench::floor::quantile;
use crate::bench::subject::Pattern;
use crate::stop;

/// How long an exchange is measured.
const TIME: Duration = Duration::from_millis(100);
/// The first byte of every message but the last.
const MORE: u8 = 0;
const LAST: u8 = 1;

/// Where the time stands in a message of a paced exchange.
const TIME_AT: std::ops::Range<usize> = 8..16;

/// How many messages there are in a paced exchange, and what pause is before each.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How many.
    pub count: u64,
    /// In which the other side falls asleep.
    pub interval: Duration,
}

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
    /// A ring of slots that checks nothing; there and back, a word in a cache line of its own; paced, a futex
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
    /// How long a message takes, or a message and its answer, in nanoseconds; a paced one usually. `pin` is where
    /// this process and the other one stay.
    ///
    /// # Errors
    /// When the means does not carry messages of that size; [`Stopped`](crate::stop::Stopped).
    pub fn measure(self, pattern: Pattern, size: usize, pace: Pace, pin: Option<[usize; 2]>) -> Result<f64> {
        let least = if pattern == Pattern::Paced { TIME_AT.end } else { 1 };
        // A thread of its own, so that pinning ends with it.
        std::thread::scope(|threads| {
            let measuring = threads.spawn(|| {
                pin.map_or(Ok(()), |[cpu, _]| before::pin_this_thread(cpu)).context("pin")?;
                let cpu = pin.map(|[_, cpu]| cpu);
                let measured = self.exchange(pattern, size.max(least), pace, cpu);
                measured.with_context(|| format!("bare {self}"))
            });
            measuring.join().expect("a measurement does not panic")
        })
    }

    fn exchange(self, pattern: Pattern, size: usize, pace: Pace, cpu: Option<usize>) -> Result<f64> {
        let (mut line, there, back) = line::open(self, pattern, size)?;
        let mut other = Other::start(self, pattern, size, line.name(), there, back, cpu)?;
        let mut message = vec![MORE; size];
        // The other one has begun when it has answered.
        other.said()?;
        let (start, mut messages) = (Instant::now(), 0u32);
        if pattern == Pattern::Paced {
            for left in (0..pace.count).rev() {
                pause(pace.interval)?;
                message[0] = if left == 0 { LAST } else { MORE };
                message[TIME_AT].copy_from_slice(&now_ns().to_le_bytes());
                line.send(&message)?;
            }
            return other.said();
        }
        // So few that the clock is looked at every millisecond or so, and seldom enough to cost nothing.
        let few = ((1 << 20) / size).clamp(1, 100);
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
            _ => Ok(other.said()? / f64::from(messages)),
        }
    }
}

/// Sleeps, but not through a signal that asks for the end.
fn pause(interval: Duration) -> Result<()> {
    let end = Instant::now() + interval;
    loop {
        stop::check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(100)));
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

    /// That it has begun; later, how long all messages took after the first, or the usual one, in nanoseconds.
    fn said(&mut self) -> Result<f64> {
        let mut said = [0; 8];
        self.child.stderr.as_mut().context("piped")?.read_exact(&mut said).context("the other end failed")?;
        Ok(u64::from_le_bytes(said) as f64)
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
    let (mut first, mut one_way) = (None, Vec::new());
    while message[0] != LAST {
        line.receive(&mut message)?;
        if pattern == Pattern::Paced {
            let sent = u64::from_le_bytes(message[TIME_AT].try_into()?);
            one_way.push(now_ns().saturating_sub(sent));
        }
        first.get_or_insert_with(Instant::now);
        if pattern == Pattern::RoundTrip && message[0] != LAST {
            line.send(&message)?;
        }
    }
    let first = first.context("no message has come")?;
    ensure!(message.len() == size, "a message of another size");
    one_way.sort_unstable();
    match pattern {
        Pattern::Paced => say(quantile(&one_way, 0.5) as u64)?,
        _ => say(first.elapsed().as_nanos() as u64)?,
    }
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
