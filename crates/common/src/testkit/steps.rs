//! A side killed after every single step: after each instruction of its that changed the memory it shares.
//!
//! What others see of a process is what it has written there, so the states in which it can leave them are those
//! between its writes. The test holds the process with ptrace(2), lets it go on instruction by instruction from one
//! sleep to the next, which is a push or a pop, and looks at the memory after each. It is killed before the first
//! change, in another run after it, then after the second, and so on until there is no further one. The binaries
//! know nothing of it.
//!
//! Where ptrace is not allowed these tests say that they were skipped.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{Outcome, Pair, Process, SOON, Sandbox};

/// How long a process must sleep to have come to the end of its steps.
const REST: Duration = Duration::from_millis(30);
/// What it is sent then, which means nothing to it and stops it.
const ASLEEP: Signal = Signal::SIGWINCH;

/// A process that is held.
struct Held(Pid);

impl Held {
    /// Takes hold of a process's main thread, wherever it is; `None` if that is not allowed here.
    fn take(process: &Process) -> Option<Held> {
        let pid = Pid::from_raw(process.pid() as i32);
        match ptrace::seize(pid, ptrace::Options::empty()) {
            Err(Errno::EPERM | Errno::ENOSYS) => {
                println!("skipped: ptrace is not allowed");
                return None;
            }
            seized => seized.expect("hold the process"),
        }
        ptrace::interrupt(pid).expect("interrupt it");
        waitpid(pid, None).expect("wait until it has stopped");
        Some(Held(pid))
    }

    /// Lets it make steps until it sleeps (false), or has changed the file `memory` so many times (true).
    fn run(&self, memory: &Path, changes: u32) -> bool {
        if changes == 0 {
            return true;
        }
        let file = File::open(memory).expect("open the shared memory");
        let mut before = Vec::new();
        (&file).read_to_end(&mut before).expect("read it");
        let (mut after, mut seen) = (before.clone(), 0);
        let mut signal = None;
        let done = AtomicBool::new(false);
        std::thread::scope(|threads| {
            let everywhere = sched_getaffinity(Pid::from_raw(0)).expect("the processors");
            // On one processor each step is a mere switch from one to the other.
            let mut here = CpuSet::new();
            here.set(sched_getcpu().expect("a processor")).expect("one of them");
            for process in [Pid::from_raw(0), self.0] {
                let _ = sched_setaffinity(process, &here);
            }
            threads.spawn(|| wake_when_asleep(self.0, &done));
            let found = loop {
                ptrace::step(self.0, signal.take()).expect("let it make a step");
                match waitpid(self.0, None).expect("wait for it") {
                    WaitStatus::Stopped(_, Signal::SIGTRAP) | WaitStatus::PtraceEvent(..) => {}
                    WaitStatus::Stopped(_, ASLEEP) => break false,
                    // Its own timer, say: it is to get what it was sent.
                    WaitStatus::Stopped(_, sent) => signal = Some(sent),
                    ended => panic!("it ended by itself: {ended:?}"),
                }
                file.read_exact_at(&mut after, 0).expect("read the shared memory");
                if after != before {
                    seen += 1;
                    if seen == changes {
                        break true;
                    }
                    std::mem::swap(&mut before, &mut after);
                }
            };
            done.store(true, Relaxed);
            let _ = sched_setaffinity(Pid::from_raw(0), &everywhere);
            found
        })
    }
}

/// Sends it [`ASLEEP`] when it has slept for a while.
fn wake_when_asleep(pid: Pid, done: &AtomicBool) {
    let mut awake = Instant::now();
    while !done.load(Relaxed) {
        std::thread::sleep(Duration::from_millis(5));
        if !sleeps(pid) {
            awake = Instant::now();
        } else if awake.elapsed() > REST {
            let _ = kill(pid, ASLEEP);
            awake = Instant::now();
        }
    }
}

fn sleeps(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
}

/// A pair that has moved its first item, and waits: the producer for a line to send, the consumer for an item.
struct Idle {
    sandbox: Sandbox,
    producer: Process,
    input: std::io::PipeWriter,
    consumer: Process,
}

impl Idle {
    fn new(pair: &Pair) -> Idle {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(pair, &["--json"]);
        let (from, mut input) = std::io::pipe().expect("pipe");
        let mut command = sandbox.command(pair.producer);
        command.args(sandbox.args_of(pair.both, pair.only_producer)).args(["--name", sandbox.name()]);
        command.args(["--input", "-", "--lines", "--size", "16"]);
        command.stdin(from).stdout(Stdio::piped()).stderr(Stdio::piped());
        let producer = Process::follow(command);
        input.write_all(b"first\n").expect("write");
        consumer.wait_for_stdout("received #0").wait_for_stderr("blocked");
        let idle = Idle { sandbox, producer, input, consumer };
        idle.until_asleep(&idle.producer);
        idle.until_asleep(&idle.consumer);
        idle
    }

    fn until_asleep(&self, process: &Process) {
        let (pid, deadline) = (Pid::from_raw(process.pid() as i32), Instant::now() + SOON);
        let mut since = Instant::now();
        while since.elapsed() < REST {
            assert!(Instant::now() < deadline, "it does not come to rest");
            if !sleeps(pid) {
                since = Instant::now();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What was found after a side had been killed.
#[derive(Debug)]
pub struct Death {
    /// After how many changes.
    pub step: u32,
    /// The other side of that time: the consumer, or the producer.
    pub survivor: Outcome,
    /// The consumer that took what was left: the survivor, or the one started after a consumer's death.
    pub consumer: Outcome,
}

impl Death {
    /// Whether either side said so.
    pub fn says(&self, text: &str) -> bool {
        [&self.survivor, &self.consumer].iter().any(|side| side.stderr.contains(text))
    }
}

/// Kills the producer after each step of pushing a second item, and lets the consumer come to its end.
pub fn producer_killed(pair: &Pair, memory: impl Fn(&Sandbox) -> std::path::PathBuf) -> Vec<Death> {
    let mut deaths = Vec::new();
    for step in 0.. {
        let mut idle = Idle::new(pair);
        // It would write into the memory, too.
        idle.consumer.signal(Signal::SIGSTOP);
        let Some(held) = Held::take(&idle.producer) else { break };
        idle.input.write_all(b"second\n").expect("write");
        let killed = held.run(&memory(&idle.sandbox), step);
        idle.producer.signal(Signal::SIGKILL);
        idle.producer.end().expect(137);
        idle.consumer.signal(Signal::SIGCONT);
        let consumer = idle.consumer.end_within(SOON);
        deaths.push(Death { step, survivor: consumer.clone(), consumer });
        next_pair(&idle.sandbox, pair, step);
        if !killed {
            break;
        }
    }
    println!("killed after each of {} steps", deaths.len());
    deaths
}

/// Kills the consumer after each step of popping a second item; another one comes, for that and a third.
pub fn consumer_killed(pair: &Pair, memory: impl Fn(&Sandbox) -> std::path::PathBuf) -> Vec<Death> {
    let mut deaths = Vec::new();
    for step in 0.. {
        let mut idle = Idle::new(pair);
        let Some(held) = Held::take(&idle.consumer) else { break };
        let memory = memory(&idle.sandbox);
        let (before, deadline) = (fs::read(&memory).expect("read it"), Instant::now() + SOON);
        idle.input.write_all(b"second\n").expect("write");
        while fs::read(&memory).expect("read it") == before {
            assert!(Instant::now() < deadline, "the producer pushes nothing");
        }
        idle.until_asleep(&idle.producer);
        let killed = held.run(&memory, step);
        idle.consumer.signal(Signal::SIGKILL);
        idle.consumer.end().expect(137);
        let consumer = idle.sandbox.consumer(pair, &["--json"]);
        // The producer may have given up.
        let _ = idle.input.write_all(b"third\n");
        drop(idle.input);
        let survivor = idle.producer.end_within(SOON);
        deaths.push(Death { step, survivor, consumer: consumer.end_within(SOON) });
        next_pair(&idle.sandbox, pair, step);
        if !killed {
            break;
        }
    }
    println!("killed after each of {} steps", deaths.len());
    deaths
}

/// Both are started again, and find nothing in their way.
fn next_pair(sandbox: &Sandbox, pair: &Pair, step: u32) {
    let consumer = sandbox.consumer(pair, &["--json", "--quiet", "--timeout", "20s"]);
    consumer.wait_for_stderr("waiting for a producer");
    let args = ["--count", "5", "--interval", "0", "--size", "16", "--timeout", "20s"];
    let producer = sandbox.producer(pair, &args).end();
    let consumer = consumer.end();
    assert_eq!((producer.code, consumer.code), (0, 0), "after step {step}: {producer:?} {consumer:?}");
    consumer.all_well(5);
}
