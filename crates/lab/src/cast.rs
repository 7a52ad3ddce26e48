//! The processes of one run: their lines as they come, their ends, and a limit to the time they have.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;

use crate::stop;

/// What happens on the stage.
#[derive(Debug)]
pub enum Event {
    /// A process printed a line.
    Line {
        /// Which one, in the order of their starts.
        who: usize,
        /// The line, without its end.
        text: String,
    },
    /// A process ended.
    End {
        /// Which one.
        who: usize,
        /// Its exit status, 128 + n if signal n killed it.
        status: i32,
    },
    /// Nothing, for a moment.
    Quiet,
}

/// The running processes; those that still run when it is dropped are ended.
#[derive(Debug)]
pub struct Cast {
    actors: Vec<Actor>,
    lines: Receiver<Line>,
    sender: Sender<Line>,
    limit: Duration,
}

#[derive(Debug)]
struct Actor {
    child: Child,
    what: String,
    deadline: Instant,
    state: State,
    usage: Usage,
}

/// What a process and its own children have used, from their starts to their ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// On a CPU, in user mode and in the kernel.
    pub cpu: Duration,
    /// How often it gave up the CPU because it had to wait.
    pub voluntary: u64,
    /// How often the CPU was taken from it.
    pub involuntary: u64,
}

impl Usage {
    /// What all children of this process have used that were waited for.
    fn of_children() -> Result<Usage> {
        let all = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        let cpu = (all.user_time() + all.system_time()).num_microseconds();
        Ok(Usage {
            cpu: Duration::from_micros(cpu as u64),
            voluntary: all.voluntary_context_switches() as u64,
            involuntary: all.involuntary_context_switches() as u64,
        })
    }

    fn since(self, before: Usage) -> Usage {
        Usage {
            cpu: self.cpu - before.cpu,
            voluntary: self.voluntary - before.voluntary,
            involuntary: self.involuntary - before.involuntary,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It may say something.
    Speaks,
    /// It has closed its output: its end is near.
    Silent,
    Ended,
}

/// Who said what; `None` for the end of its output.
type Line = (usize, Option<String>);

impl Cast {
    /// Nobody yet; each will have `limit` from its start to its end.
    pub fn new(limit: Duration) -> Cast {
        let (sender, lines) = channel();
        Cast { actors: Vec::new(), lines, sender, limit }
    }

    /// Starts a process; its number in [`Event`]s.
    pub fn start(&mut self, mut command: Command) -> Result<usize> {
        let what = command.get_program().to_string_lossy().into_owned();
        // One pipe for both streams, so that the lines keep their order, as they do in a terminal.
        let (ours, theirs) = io::pipe()?;
        command.stdout(theirs.try_clone()?).stderr(theirs);
        let child = command.spawn().with_context(|| format!("start {what}"))?;
        let (who, sender) = (self.actors.len(), self.sender.clone());
        std::thread::spawn(move || follow(ours, |line| sender.send((who, line)).is_ok()));
        let deadline = Instant::now() + self.limit;
        self.actors.push(Actor { child, what, deadline, state: State::Speaks, usage: Usage::default() });
        Ok(who)
    }

    /// The process id of one that was started.
    pub fn pid(&self, who: usize) -> u32 {
        self.actors[who].child.id()
    }

    /// Whether it has yet to end.
    pub fn is_there(&self, who: usize) -> bool {
        self.actors[who].is_there()
    }

    /// What one that has ended has used.
    pub fn usage(&self, who: usize) -> Usage {
        self.actors[who].usage
    }

    /// The next event; `None` when all have ended.
    ///
    /// # Errors
    /// When a signal asks for the end, or a process has outlasted its time.
    pub fn next(&mut self) -> Result<Option<Event>> {
        while self.actors.iter().any(Actor::is_there) {
            stop::check()?;
            if let Some(late) = self.actors.iter().find(|a| a.is_there() && a.deadline < Instant::now()) {
                bail!("{} did not end within {:?}", late.what, self.limit);
            }
            let silent = self.actors.iter().position(|a| a.state == State::Silent);
            let before = Usage::of_children()?;
            if let Some(who) = silent
                && let Some(status) = self.actors[who].child.try_wait()?
            {
                self.actors[who].state = State::Ended;
                // Only this thread waits for children: the difference is this one's.
                self.actors[who].usage = Usage::of_children()?.since(before);
                let status = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
                return Ok(Some(Event::End { who, status }));
            }
            // Between its last word and its end there is hardly a millisecond.
            let moment = Duration::from_millis(if silent.is_some() { 1 } else { 50 });
            match self.lines.recv_timeout(moment) {
                Ok((who, Some(text))) => return Ok(Some(Event::Line { who, text })),
                Ok((who, None)) => self.actors[who].state = State::Silent,
                Err(RecvTimeoutError::Timeout) => return Ok(Some(Event::Quiet)),
                Err(RecvTimeoutError::Disconnected) => unreachable!("we hold a sender"),
            }
        }
        Ok(None)
    }
}

impl Actor {
    fn is_there(&self) -> bool {
        self.state != State::Ended
    }
}

/// Sends a process's lines on, and then that there are no more.
fn follow(output: impl Read, send: impl Fn(Option<String>) -> bool) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while matches!(output.read_until(b'\n', &mut line), Ok(1..)) {
        if !send(Some(String::from_utf8_lossy(&line).trim_end().to_owned())) {
            return;
        }
        line.clear();
    }
    send(None);
}

impl Drop for Cast {
    fn drop(&mut self) {
        for actor in self.actors.iter().filter(|a| a.is_there()) {
            let _ = kill(Pid::from_raw(actor.child.id() as i32), Signal::SIGTERM);
        }
        // They promise to end within a second.
        let deadline = Instant::now() + Duration::from_secs(2);
        for actor in self.actors.iter_mut().filter(|a| a.is_there()) {
            while matches!(actor.child.try_wait(), Ok(None)) {
                if Instant::now() > deadline {
                    let _ = actor.child.kill();
                    let _ = actor.child.wait();
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}
