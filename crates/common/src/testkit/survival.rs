//! The faults that every pair survives, made to happen in its real binaries. `survival_tests!` makes tests of
//! them for a [`Pair`].
//!
//! Two of the faults are injected with strace(1), which can fail a call or kill a process instead of it; where
//! it is not installed these tests say that they were skipped.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Outcome, Pair, Process, Sandbox};

/// The tests that every pair passes in every variant: `survival_tests!(module, PAIR)`.
#[macro_export]
macro_rules! survival_tests {
    ($module:ident, $pair:expr) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;
            use $crate::testkit::survival;

            #[test]
            fn a_peer_that_is_stopped_and_goes_on_loses_nothing() {
                survival::stopped(&$pair);
            }
            #[test]
            fn a_peer_that_stays_stopped_is_lost_at_the_timeout() {
                survival::stopped_for_good(&$pair);
            }
            #[test]
            fn interrupted_calls_change_nothing() {
                survival::interrupted(&$pair);
            }
            #[test]
            fn killed_instead_of_any_call_the_next_start_works() {
                survival::killed_at_every_call(&$pair);
            }
            #[test]
            fn killed_at_random_moments_and_started_again() {
                survival::killed_at_random(&$pair);
            }
            #[test]
            fn few_descriptors_are_an_error_and_no_crash() {
                survival::few_descriptors(&$pair);
            }
            #[test]
            fn nohup_survives_a_hangup() {
                survival::nohup(&$pair);
            }
        }
    };
}

const FULL_SPEED: [&str; 5] = ["--count", "0", "--interval", "0", "--quiet"];
const JSON: [&str; 2] = ["--quiet", "--json"];

/// Both sides are stopped again and again, which interrupts every wait, and every item arrives once.
pub fn stopped(pair: &Pair) {
    let sandbox = Sandbox::new();
    let consumer = sandbox.consumer(pair, &JSON);
    consumer.wait_for_stderr("waiting for a producer");
    let mut producer = sandbox.producer(pair, &["--count", "20000", "--interval", "0", "--quiet"]);
    let mut stops = 0;
    while producer.is_running() && stops < 200 {
        for process in [&consumer, &producer] {
            process.signal(Signal::SIGSTOP);
            // Time is the subject: long enough that the other side runs into it.
            std::thread::sleep(Duration::from_millis(1));
            process.signal(Signal::SIGCONT);
        }
        stops += 1;
    }
    assert!(stops > 0, "it was over before anybody was stopped");
    producer.end().expect(0);
    consumer.end().expect(0).all_well(20_000);
}

/// Who is stopped and never goes on is given up by the other side after `--timeout`, with 3.
pub fn stopped_for_good(pair: &Pair) {
    let patient = ["--timeout", "500ms", "--quiet"];
    for stop_the_consumer in [true, false] {
        let sandbox = Sandbox::new();
        let consumer = sandbox.consumer(pair, &patient);
        consumer.wait_for_stderr("waiting for a producer");
        let endless = ["--count", "0", "--interval", "1ms", "--size", "1000", "--timeout", "500ms"];
        let producer = sandbox.producer(pair, &endless);
        producer.wait_for_stdout("sent #20");
        let (stopped, other) = if stop_the_consumer { (consumer, producer) } else { (producer, consumer) };
        stopped.signal(Signal::SIGSTOP);
        other.end_within(super::SOON).expect(3).says("--timeout");
        stopped.signal(Signal::SIGCONT);
        let ended = stopped.end_within(super::SOON);
        assert!([0, 3].contains(&ended.code) || is_cut(&ended), "{ended:?}");
        clear(&sandbox, pair);
    }
}

/// The calls that can wait, so that a signal can interrupt them. Every flock of ours is a try, which cannot.
const INTERRUPTIBLE: &str = "read,write,readv,writev,vmsplice,recvfrom,recvmsg,sendto,sendmsg,poll,ppoll,accept4,\
                             msgrcv,msgsnd,mq_timedsend,mq_timedreceive,epoll_wait,semtimedop,preadv,pwritev";

/// Every second call that could be interrupted is, on both sides, and the output is the same.
///
/// A futex wait is not among them: a wake-up never fails so, and [`stopped`] interrupts the real waits.
pub fn interrupted(pair: &Pair) {
    if !has_strace() {
        return;
    }
    let mut sandbox = Sandbox::new();
    let (from, to) = (sandbox.file("from"), sandbox.file("to"));
    let bytes: Vec<u8> = (0..200_000u64).map(|i| (i.wrapping_mul(0x9E37_79B9) >> 16) as u8).collect();
    fs::write(&from, &bytes).expect("write the file");
    let (from, to) = (from.to_str().expect("UTF-8"), to.to_str().expect("UTF-8"));
    // The loader's own reads come first, and it takes no interruption.
    let logs = [sandbox.file("strace-consumer"), sandbox.file("strace-producer")];
    let [consumer, producer] = logs.each_ref().map(|log| strace(log, INTERRUPTIBLE, "error=EINTR:when=13+2"));
    let consumer = sandbox.consumer_under(&consumer, pair, &["--quiet", "--output", to]);
    let producer = sandbox.producer_under(&producer, pair, &["--input", from, "--size", "1000"]);
    producer.end().expect(0);
    consumer.end().expect(0);
    assert!(fs::read(to).expect("read the copy") == bytes, "the copy differs");
    for log in logs {
        let interruptions = fs::read_to_string(log).expect("read the log").matches("(INJECTED)").count();
        assert!(interruptions > 10, "only {interruptions} calls were interrupted");
    }
}

/// The calls by which a process leaves traces, or finds those of others. Memory of its own is not among them.
const TRACES: &str = "openat,mknodat,mkdir,mkdirat,unlink,unlinkat,link,linkat,rename,renameat,flock,fcntl,ftruncate,\
                      fallocate,write,pwrite64,msgget,msgctl,msgsnd,msgrcv,mq_open,mq_unlink,mq_timedsend,\
                      mq_timedreceive,socket,bind,listen,connect,accept4,sendto,sendmsg,recvfrom,futex,fsync,msync,\
                      inotify_add_watch,close,ioctl,semctl";

/// A side is killed instead of each of these calls in turn, from its start to its end; both are started again
/// each time, and nothing has to be cleaned by hand.
pub fn killed_at_every_call(pair: &Pair) {
    if !has_strace() {
        return;
    }
    for consumer in [true, false] {
        let mut sandbox = Sandbox::new();
        let log = sandbox.file("strace");
        // Alone, so that its whole life is a start, a wait, and an end.
        let alone = |sandbox: &Sandbox, log: &Path, calls: &str, fault: &str| {
            let strace = strace(log, calls, fault);
            if consumer {
                sandbox.consumer_under(&strace, pair, &["--timeout", "20ms"]).end()
            } else {
                let few = ["--timeout", "20ms", "--count", "2", "--interval", "0"];
                sandbox.producer_under(&strace, pair, &few).end()
            }
        };
        let ended = alone(&sandbox, &log, TRACES, "delay_enter=0");
        assert!([0, 3].contains(&ended.code), "{ended:?}");
        start_again(&sandbox, pair, "a first life");
        let calls = counted(&fs::read_to_string(&log).expect("read the log"));
        assert!(calls.len() > 5, "{calls:?}");
        let mut kills = 0;
        for (call, count) in &calls {
            for n in 1..=*count {
                let ended = alone(&sandbox, &log, call, &format!("signal=SIGKILL:when={n}"));
                kills += u32::from(ended.code == 137);
                start_again(&sandbox, pair, &format!("{ended:?}"));
            }
        }
        println!("killed {kills} times, instead of {calls:?}");
        assert!(kills > 20, "{kills} of {calls:?}");
    }
}

/// How often each call was made, by the thread that made it most often: strace counts for each.
fn counted(log: &str) -> BTreeMap<String, u32> {
    let mut by_thread = BTreeMap::new();
    for line in log.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let Some((name, _)) = call.trim_start().split_once('(') else { continue };
        if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            *by_thread.entry((name.to_owned(), thread.to_owned())).or_insert(0) += 1;
        }
    }
    let mut counts = BTreeMap::new();
    for ((name, _), n) in by_thread {
        let most = counts.entry(name).or_insert(n);
        *most = n.max(*most);
    }
    counts
}

/// Both sides start again: all that is sent now arrives. What outlives its makers is taken first, perhaps by a
/// consumer that ends before the new producer comes; then there is another.
fn start_again(sandbox: &Sandbox, pair: &Pair, after: &str) {
    let consumer = sandbox.consumer(pair, &JSON);
    let producer =
        sandbox.producer(pair, &["--count", "10", "--interval", "0", "--quiet", "--timeout", "20s"]);
    let producer = producer.end();
    assert_eq!(producer.code, 0, "after {after}\n{producer:?}");
    let items_of = |consumer: Process| {
        let ended = consumer.end_within(super::SOON);
        let well = [0, 3].contains(&ended.code) && bad_items(&ended) == 0;
        assert!(well, "after {after}\n{producer:?}\n{ended:?}");
        ended.number("items")
    };
    let mut items = items_of(consumer);
    if items < 10 {
        items += items_of(sandbox.consumer(pair, &["--quiet", "--json", "--timeout", "20s"]));
    }
    assert!(items >= 10, "{items} items after {after}\n{producer:?}");
}

/// Whether a consumer was left with a part of a frame, which is no clean end.
fn is_cut(consumer: &Outcome) -> bool {
    consumer.code == 4 && consumer.stderr.contains("truncated")
}

/// Items that a consumer found damaged, doubled, or out of order.
fn bad_items(consumer: &Outcome) -> u64 {
    ["corrupted", "duplicated", "reordered"].map(|key| consumer.number(key)).iter().sum()
}

/// How often [`killed_at_random`] kills: 200 times, or as `IPC_TEST_KILLS` says.
fn kills() -> u32 {
    std::env::var("IPC_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(200)
}

/// Either side of a pair at full speed is killed at a random moment. The other ends with 3 or goes on with the
/// next one; both are started again at once, and no item is ever damaged.
pub fn killed_at_random(pair: &Pair) {
    killed_so_often(pair, kills());
}

/// See [`killed_at_random`].
pub fn killed_so_often(pair: &Pair, kills: u32) {
    let sandbox = Sandbox::new();
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut rounds, mut codes) = (0, BTreeMap::new());
    for round in 0..kills {
        let at = || format!("round {round} of seed {seed}");
        let consumer = sandbox.consumer(pair, &JSON);
        let producer = sandbox.producer(pair, &FULL_SPEED);
        // Time is the subject: from before the two have met until they are in full swing.
        std::thread::sleep(Duration::from_micros(random.u64(0..25_000)));
        let kill_the_consumer = random.bool();
        let (killed, other) = if kill_the_consumer { (consumer, producer) } else { (producer, consumer) };
        killed.signal(Signal::SIGKILL);
        // It may have ended before: a consumer that found an earlier stream, and took what was left of it.
        let was_killed = killed.end().code == 137;
        rounds += u32::from(was_killed);
        let since = Instant::now();
        // Ctrl-C for who goes on and waits for a next one.
        let mut other = other;
        while other.is_running() && since.elapsed() < Duration::from_millis(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if other.is_running() {
            other.signal(Signal::SIGINT);
        }
        let other = other.end_within(Duration::from_secs(10));
        *codes.entry(other.code).or_insert(0u32) += u32::from(was_killed);
        assert!([0, 3, 130].contains(&other.code) || is_cut(&other), "{}: {other:?}", at());
        if !kill_the_consumer && !other.stdout.is_empty() {
            assert_eq!(bad_items(&other), 0, "{}: {other:?}", at());
        }
        start_again(&sandbox, pair, &at());
    }
    println!("{rounds} kills, seed {seed}; how the other side ended: {codes:?}");
    assert!(rounds * 2 > kills, "most had ended before they were killed");
    clear(&sandbox, pair);
}

/// With hardly any descriptors a side says so and ends with 1, and the next start finds nothing in its way.
pub fn few_descriptors(pair: &Pair) {
    let sandbox = Sandbox::new();
    let (mut refused, mut enough) = (0, false);
    for limit in 3..64 {
        let shell = ["sh", "-c", &format!("ulimit -n {limit}; exec \"$@\""), "sh"].map(str::to_owned);
        let consumer = sandbox.consumer_under(&shell, pair, &["--timeout", "1ms"]).end();
        let few = ["--timeout", "1ms", "--count", "1"];
        let producer = sandbox.producer_under(&shell, pair, &few).end();
        for ended in [&consumer, &producer] {
            // 127 is the shell's: not even the program's libraries could be opened.
            assert!([0, 1, 3, 127].contains(&ended.code), "{limit} descriptors: {ended:?}");
            assert!(ended.code != 1 || ended.stderr.contains("error: "), "{limit} descriptors: {ended:?}");
            refused += u32::from(ended.code == 1);
        }
        enough = [&consumer, &producer].iter().all(|ended| [0, 3].contains(&ended.code));
        clear(&sandbox, pair);
        if enough {
            break;
        }
    }
    assert!(refused > 0 && enough, "{refused} refused");
    start_again(&sandbox, pair, "too few descriptors");
    clear(&sandbox, pair);
}

/// A side that was started by nohup(1) goes on after a hangup.
pub fn nohup(pair: &Pair) {
    let sandbox = Sandbox::new();
    let shell = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"].map(str::to_owned);
    let consumer = sandbox.consumer_under(&shell, pair, &JSON);
    consumer.wait_for_stderr("waiting for a producer");
    let producer = sandbox.producer_under(&shell, pair, &["--count", "20", "--interval", "10ms"]);
    producer.wait_for_stdout("sent #1");
    for process in [&consumer, &producer] {
        process.signal(Signal::SIGHUP);
    }
    producer.end().expect(0);
    consumer.end().expect(0).all_well(20);
}

/// Takes what may be left because it is meant to outlive its makers, and what the dead have left.
fn clear(sandbox: &Sandbox, pair: &Pair) {
    if !sandbox.left().is_empty() {
        let ended = sandbox.consumer(pair, &["--quiet", "--timeout", "1s"]).end();
        assert!([0, 3].contains(&ended.code), "{ended:?}");
    }
}

fn has_strace() -> bool {
    let found = Command::new("strace").arg("-V").output().is_ok();
    if !found {
        println!("skipped: strace is not installed");
    }
    found
}

/// A command that runs what follows it, with a fault injected into some of its calls, which are logged.
fn strace(log: &Path, calls: &str, fault: &str) -> Vec<String> {
    let log = log.to_str().expect("UTF-8");
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:{fault}"));
    ["strace", "-f", "-qq", "-o", log, "-e", &trace, "-e", &inject].map(str::to_owned).to_vec()
}

impl Sandbox {
    /// Starts a consumer as [`Sandbox::consumer`] does, by another program: `wrapper` and the command behind it.
    pub fn consumer_under(&self, wrapper: &[String], pair: &Pair, args: &[&str]) -> Process {
        self.under(wrapper, pair.consumer, self.args_of(pair.both, pair.only_consumer), args)
    }

    /// See [`Sandbox::consumer_under`].
    pub fn producer_under(&self, wrapper: &[String], pair: &Pair, args: &[&str]) -> Process {
        self.under(wrapper, pair.producer, self.args_of(pair.both, pair.only_producer), args)
    }

    fn under(&self, wrapper: &[String], binary: &str, own: Vec<String>, args: &[&str]) -> Process {
        let mut command = self.command(Path::new(&wrapper[0]));
        command.args(&wrapper[1..]).arg(binary).args(own).args(args).args(["--name", self.name()]);
        Process::spawn(command)
    }
}
