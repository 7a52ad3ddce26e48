//! What message queues add to the contract: selection, many at once, ends and deaths, limits.

mod queues;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use common::testkit::{Pair, Process, Sandbox};
use mq_demo::sysv::SysvQueue;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::queues::{BOTH, POSIX, Queues, SYSV, numbers, received};

#[test]
fn three_producers_and_three_consumers_have_every_item_once() {
    for pair in BOTH {
        let queues = Queues::new();
        let consumers = [0; 3].map(|_| queues.consumer(&pair, &["--json"]));
        for consumer in &consumers {
            consumer.wait_for_stderr("waiting for a producer");
        }
        let host = queues.host(&pair, &["--size", "64"]);
        let producers = [0; 3]
            .map(|_| queues.producer(&pair, &["--count", "5000", "--interval", "0", "--quiet", "--json"]));
        for producer in producers {
            assert_eq!(producer.end().expect(0).number("items"), 5000);
        }
        host.end();
        let mut all = BTreeSet::new();
        for consumer in consumers {
            let ended = consumer.end().expect(0);
            for key in ["lost", "duplicated", "reordered", "corrupted"] {
                assert_eq!(ended.number(key), 0, "{key}");
            }
            for item in received(&ended) {
                assert!(all.insert(item), "{item:?} came twice");
            }
        }
        assert_eq!(all.len(), 15_000);
    }
}

#[test]
fn a_consumer_selects_by_type_also_after_all_producers_have_gone() {
    let queues = Queues::new();
    let sent = queues.producer(&SYSV, &["--count", "9", "--interval", "0", "--type", "1,2,3"]).end();
    sent.expect(0).says("keeps 9 messages").says("ipcrm -q");
    let key = queues.key();
    let lowest_first = queues.consumer(&SYSV, &["--type", "-2", "--json"]).end().expect(0);
    assert_eq!(numbers(&lowest_first), [0, 3, 6, 1, 4, 7]);
    assert_eq!((lowest_first.number("gaps"), lowest_first.number("lost")), (2, 0));
    assert_eq!(lowest_first.number("reordered"), 0, "types overtake each other");
    let none = queues.consumer(&SYSV, &["--except", "3"]).end().expect(0).says("keeps 3 messages");
    assert!(received(&none).is_empty());
    assert_eq!(numbers(&queues.consumer(&SYSV, &["--type", "3"]).end().expect(0)), [2, 5, 8]);
    assert!(SysvQueue::open(key, 96).is_err(), "the last consumer removes the queue");
}

#[test]
fn what_stays_says_how_it_is_removed() {
    for pair in BOTH {
        let queues = Queues::new();
        let sent = queues.producer(&pair, &["--count", "2", "--interval", "0"]).end().expect(0);
        let remove = sent.stderr.lines().find_map(|l| l.split_once("remove it with: ")).expect("a command").1;
        if remove.starts_with("mount ") {
            // Not for a test to do.
            queues.consumer(&pair, &[]).end().expect(0);
            continue;
        }
        let removed = Command::new("sh").args(["-c", remove]).status().expect("run sh");
        assert!(removed.success(), "{remove}");
        assert_eq!(queues.0.left(), [""; 0], "{remove} removes all");
        queues.consumer(&pair, &["--timeout", "300ms"]).end().expect(3);
    }
}

#[test]
fn priorities_overtake_each_other() {
    let queues = Queues::new();
    queues.producer(&POSIX, &["--count", "6", "--interval", "0", "--priority", "0,9"]).end().expect(0);
    let ended = queues.consumer(&POSIX, &["--json"]).end().expect(0);
    assert_eq!(numbers(&ended), [1, 3, 5, 0, 2, 4]);
    ended.all_well(6);
}

#[test]
fn a_consumer_that_waits_for_another_type_ends_with_the_stream() {
    let queues = Queues::new();
    let other = queues.consumer(&SYSV, &["--type", "5"]);
    other.wait_for_stderr("waiting for a producer");
    let producer = queues.producer(&SYSV, &["--count", "4", "--interval", "0", "--capacity", "3"]);
    // The queue is full when the goodbye is said.
    producer.wait_for_stderr("blocked: queue full 3/3");
    other.wait_for_stderr("none of the 3 messages");
    producer.signal(Signal::SIGINT).wait_for_stderr("sent 3 items");
    producer.end().expect(130);
    let other = other.end_within(Duration::from_secs(5)).expect(0).says("keeps 3 messages");
    assert!(received(&other).is_empty());
    assert_eq!(numbers(&queues.consumer(&SYSV, &[]).end().expect(0)), [0, 1, 2]);
}

#[test]
fn a_new_producer_takes_the_goodbye_back() {
    for pair in BOTH {
        let queues = Queues::new();
        queues.producer(&pair, &["--count", "2", "--interval", "0"]).end().expect(0);
        let second = queues.producer(&pair, &["--count", "2", "--interval", "1h"]);
        second.wait_for_stdout("sent #0");
        let consumer = queues.consumer(&pair, &[]);
        consumer.wait_for_stderr("blocked: queue empty");
        second.signal(Signal::SIGTERM);
        second.end().expect(143);
        assert_eq!(numbers(&consumer.end().expect(0)), [0, 1, 0]);
    }
}

#[test]
fn a_consumer_for_ever_takes_the_next_producers_queue() {
    for pair in BOTH {
        let queues = Queues::new();
        let consumer = queues.consumer(&pair, &["--forever", "--json"]);
        for size in ["64", "500", "8"] {
            // Of another shape each time.
            let args = ["--count", "3", "--interval", "0", "--size", size, "--capacity", "2"];
            consumer.wait_for_stderr("waiting for a producer");
            queues.producer(&pair, &args).end().expect(0);
            consumer.wait_for_stdout(&format!("received #2  {size} B"));
        }
        consumer.signal(Signal::SIGTERM);
        consumer.end().expect(143).all_well(9);
    }
}

#[test]
fn a_killed_consumer_leaves_the_queue_to_the_next() {
    for pair in BOTH {
        let queues = Queues::new();
        let producer = queues.producer(&pair, &["--count", "50", "--interval", "0", "--quiet"]);
        let first = queues.consumer(&pair, &["--delay", "1h"]);
        first.wait_for_stdout("received #0").signal(Signal::SIGKILL);
        first.end().expect(137);
        let second = queues.consumer(&pair, &["--json"]).end().expect(0);
        producer.end().expect(0);
        assert_eq!(numbers(&second), (1..50).collect::<Vec<_>>(), "at most the item in hand is lost");
        assert_eq!((second.number("lost"), second.number("gaps")), (0, 1));
    }
}

#[test]
fn the_consumer_of_a_killed_producer_takes_what_is_left_and_fails() {
    for pair in BOTH {
        let queues = Queues::new();
        let consumer = queues.consumer(&pair, &["--delay", "100ms"]);
        consumer.wait_for_stderr("waiting for a producer");
        let producer = queues.producer(&pair, &["--count", "0", "--interval", "0", "--capacity", "5"]);
        producer.wait_for_stderr("blocked: queue full 5/5");
        producer.signal(Signal::SIGKILL);
        let pid = producer.pid();
        producer.end().expect(137);
        let ended = consumer.end().expect(3).says(&format!("producer {pid} died without a goodbye"));
        let seen = numbers(&ended);
        assert!(seen.len() > 5 && seen == (0..seen.len() as u64).collect::<Vec<_>>(), "{seen:?}");
    }
}

#[test]
fn a_death_beside_a_goodbye_is_not_forgotten() {
    for pair in BOTH {
        let queues = Queues::new();
        let consumer = queues.consumer(&pair, &[]);
        consumer.wait_for_stderr("waiting for a producer");
        let producers = [0; 2].map(|_| queues.producer(&pair, &["--count", "2", "--interval", "1h"]));
        for producer in &producers {
            producer.wait_for_stdout("sent #0");
        }
        let [killed, alive] = producers;
        killed.signal(Signal::SIGKILL);
        killed.end().expect(137);
        // A third one comes, finds the dead one's name, and leaves in good order.
        queues.producer(&pair, &["--count", "1"]).end().expect(0);
        alive.signal(Signal::SIGINT);
        alive.end().expect(130);
        assert_eq!(received(&consumer.end().expect(3).says("died without a goodbye")).len(), 3);
    }
}

#[test]
fn a_producer_that_fails_is_no_goodbye() {
    for pair in BOTH {
        let mut queues = Queues::new();
        let input = queues.0.file("input");
        std::fs::write(&input, format!("short\n{}\n", "x".repeat(100))).expect("write the input");
        let consumer = queues.consumer(&pair, &[]);
        consumer.wait_for_stderr("waiting for a producer");
        let args = ["--input", input.to_str().expect("UTF-8"), "--lines", "--size", "64"];
        queues.producer(&pair, &args).end().expect(1).says("longer than --size 64");
        let ended = consumer.end().expect(3).says("died without a goodbye");
        assert_eq!(numbers(&ended), [0], "what was sent has come");

        // Beside one that ends well it is not forgotten.
        let consumer = queues.consumer(&pair, &[]);
        consumer.wait_for_stderr("waiting for a producer");
        let alive = queues.producer(&pair, &["--count", "2", "--interval", "1h"]);
        alive.wait_for_stdout("sent #0");
        queues.producer(&pair, &args).end().expect(1);
        alive.signal(Signal::SIGINT);
        alive.end().expect(130);
        consumer.end().expect(3).says("died without a goodbye");
    }
}

#[test]
fn a_producer_whose_words_cannot_be_written_is_no_goodbye() {
    for pair in BOTH {
        let queues = Queues::new();
        let consumer = queues.consumer(&pair, &[]);
        consumer.wait_for_stderr("waiting for a producer");
        let mut command = queues.0.command(pair.producer);
        command.args(pair.both).args(["--name", queues.0.name(), "--interval", "10ms"]);
        command.stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").expect("open /dev/full"));
        command.stderr(std::process::Stdio::piped());
        Process::follow(command).end().expect(1).says("standard output");
        consumer.end().expect(3).says("died without a goodbye");
    }
}

#[test]
fn a_stream_without_an_item_ends_too_whoever_comes_first() {
    for pair in BOTH {
        let queues = Queues::new();
        let empty = ["--input", "/dev/null"];
        let gone = queues.producer(&pair, &empty).end().expect(0);
        gone.says("keeps the end of a stream without messages");
        queues.consumer(&pair, &["--json"]).end().expect(0).all_well(0);
        let consumer = queues.consumer(&pair, &["--json"]);
        consumer.wait_for_stderr("waiting for a producer");
        queues.producer(&pair, &empty).end().expect(0);
        consumer.end().expect(0).all_well(0);
        assert!(queues.0.left().is_empty(), "{:?}", queues.0.left());

        // It is in nobody's way.
        queues.producer(&pair, &empty).end().expect(0);
        queues.producer(&pair, &["--count", "2", "--interval", "0", "--size", "999"]).end().expect(0);
        queues.consumer(&pair, &["--json"]).end().expect(0).all_well(2);
    }
}

#[test]
fn after_both_were_killed_the_next_take_what_is_left() {
    for pair in BOTH {
        let queues = Queues::new();
        queues.producer(&pair, &["--count", "1", "--capacity", "4"]).end().expect(0);
        // This one takes the goodbye back, and cannot say it again.
        let producer = queues.producer(&pair, &["--count", "0", "--interval", "0"]);
        producer.wait_for_stderr("blocked: queue full 4/4");
        producer.signal(Signal::SIGKILL);
        producer.end().expect(137);
        let consumer = queues.consumer(&pair, &["--delay", "1h"]);
        consumer.wait_for_stdout("received #0").signal(Signal::SIGKILL);
        consumer.end().expect(137);
        // So the next consumer waits for more when it has taken what is left.
        let consumer = queues.consumer(&pair, &["--json"]);
        consumer.wait_for_stdout("received #2").wait_for_stderr("no producer attached");
        queues.producer(&pair, &["--count", "2", "--interval", "0", "--size", "999"]).end().expect(0);
        assert_eq!(numbers(&consumer.end().expect(0)), [0, 1, 2, 0, 1]);
    }
}

#[test]
fn a_pair_that_was_killed_with_an_empty_queue_starts_anew() {
    for pair in BOTH {
        let queues = Queues::new();
        let producer = queues.producer(&pair, &["--interval", "1h"]);
        let consumer = queues.consumer(&pair, &[]);
        consumer.wait_for_stdout("received #0");
        producer.signal(Signal::SIGKILL);
        consumer.signal(Signal::SIGKILL);
        producer.end().expect(137);
        consumer.end().expect(137);
        let producer = queues.producer(&pair, &["--count", "3", "--interval", "0", "--size", "5000"]);
        producer.end().expect(0);
        queues.consumer(&pair, &["--json"]).end().expect(0).all_well(3);
    }
}

#[test]
fn a_queue_that_is_removed_ends_both_sides() {
    let queues = Queues::new();
    let producer = queues.producer(&SYSV, &["--count", "0", "--interval", "0", "--capacity", "2"]);
    producer.wait_for_stderr("blocked: queue full 2/2");
    let ipcrm = |key: i32| {
        let ended = Command::new("ipcrm").arg("-Q").arg(key.to_string()).status().expect("run ipcrm");
        assert!(ended.success());
    };
    ipcrm(queues.key());
    producer.end().expect(3).says("was removed");

    let producer = queues.producer(&SYSV, &["--count", "0", "--interval", "1h"]);
    let consumer = queues.consumer(&SYSV, &[]);
    consumer.wait_for_stdout("received #0").wait_for_stderr("blocked");
    ipcrm(queues.key());
    consumer.end().expect(3).says("was removed");
    producer.signal(Signal::SIGINT);
    producer.end().expect(130);

    // Both may start again at once, with whatever is left of the registry.
    queues.producer(&SYSV, &["--count", "2", "--interval", "0"]).end().expect(0);
    ipcrm(queues.key());
    let consumer = queues.consumer(&SYSV, &["--json"]);
    consumer.wait_for_stderr("waiting for a producer");
    queues.producer(&SYSV, &["--count", "2", "--interval", "0"]).end().expect(0);
    consumer.end().expect(0).all_well(2);
}

#[test]
fn wrong_usage_creates_nothing() {
    let queues = Queues::new();
    let producer: &[(&Pair, &[&str])] = &[
        (&SYSV, &["--type", "0"]),
        (&SYSV, &["--type", "-1"]),
        (&SYSV, &["--type", "1,,2"]),
        (&SYSV, &["--type", "99999999999999999999"]),
        (&SYSV, &["--priority", "1"]),
        (&SYSV, &["--capacity", "0"]),
        (&SYSV, &["--capacity", "-1"]),
        (&SYSV, &["--api", "other"]),
        (&SYSV, &["--size", "16MiB"]),
        (&POSIX, &["--type", "1"]),
        (&POSIX, &["--priority", "32768"]),
        (&POSIX, &["--size", "17MiB"]),
    ];
    let consumer: &[(&Pair, &[&str])] = &[
        (&SYSV, &["--type", "x"]),
        (&SYSV, &["--type", "-9223372036854775808"]),
        (&SYSV, &["--except", "0"]),
        (&SYSV, &["--except", "1", "--type", "2"]),
        (&SYSV, &["--capacity", "3"]),
        (&POSIX, &["--type", "1"]),
        (&POSIX, &["--except", "1"]),
    ];
    let ended = producer.iter().map(|(pair, args)| queues.producer(pair, args));
    for process in ended.chain(consumer.iter().map(|(pair, args)| queues.consumer(pair, args))) {
        let ended = process.end().expect(2).says("error");
        assert!(queues.0.left().is_empty(), "{} created {:?}", ended.what, queues.0.left());
    }
}

#[test]
fn a_limit_that_is_reached_is_named() {
    let queues = Queues::new();
    if geteuid().is_root() {
        // Whoever is root goes over most limits; nobody else does.
        let nobody = Sandbox::as_nobody();
        nobody.producer(&SYSV, &["--capacity", "100000"]).end().expect(1).says("kernel.msgmnb");
        nobody.producer(&POSIX, &["--capacity", "100000"]).end().expect(1).says("fs.mqueue.msg_max");
        nobody.producer(&POSIX, &["--size", "10MiB"]).end().expect(2).says("fs.mqueue.msgsize_max");
        // An IPC namespace of its own may have limits of its own.
        let limited = |limit: &str, pair: &Pair| {
            let script = format!("echo 0 > /proc/sys/{limit} && exec \"$@\"");
            let mut command = Command::new("unshare");
            command.args(["-i", "sh", "-c", &script, "sh", pair.producer]).args(pair.both);
            command.args(["--name", queues.0.name()]).env("XDG_RUNTIME_DIR", queues.0.dir());
            Process::spawn(command).end().expect(1)
        };
        limited("kernel/msgmni", &SYSV).says("kernel.msgmni");
        // CAP_SYS_RESOURCE goes over queues_max too.
    }
    let mut command = Command::new("prlimit");
    command.args(["--msgqueue=100", POSIX.producer, "--api", "posix", "--name", queues.0.name()]);
    command.env("XDG_RUNTIME_DIR", queues.0.dir());
    Process::spawn(command).end().expect(1).says("RLIMIT_MSGQUEUE");
    assert!(queues.0.left().is_empty());
}

#[test]
fn the_default_capacity_fits_an_ordinary_user() {
    let sandbox = Sandbox::as_nobody();
    for pair in BOTH {
        let consumer = sandbox.consumer(&pair, &["--json", "--quiet"]);
        consumer.wait_for_stderr("waiting for a producer");
        let size = ["--count", "40", "--interval", "0", "--size", "8000"];
        sandbox.producer(&pair, &size).end().expect(0);
        consumer.end().expect(0).all_well(40);
    }
}

#[test]
fn what_both_must_agree_on_is_checked() {
    let queues = Queues::new();
    let producer = queues.producer(&SYSV, &["--interval", "1h", "--count", "2", "--capacity", "4"]);
    producer.wait_for_stdout("sent #0");
    queues.consumer(&POSIX, &[]).end().expect(1).says("it is a sysv queue (--api sysv)");
    queues.producer(&POSIX, &[]).end().expect(1).says("it is a sysv queue (--api sysv)");
    queues.producer(&SYSV, &["--capacity", "5"]).end().expect(1).says("its capacity is 4");
    queues.producer(&SYSV, &["--size", "65"]).end().expect(1).says("messages have up to 96 bytes");
    queues.producer(&SYSV, &["--size", "3", "--count", "1"]).end().expect(0);
    producer.signal(Signal::SIGINT);
    producer.end().expect(130);
    queues.consumer(&SYSV, &["--json"]).end().expect(0).all_well(2);
}

#[test]
fn a_posix_queue_of_another_run_time_directory_is_not_taken() {
    let (queues, mut elsewhere) = (Queues::new(), Sandbox::new());
    let producer = queues.producer(&POSIX, &["--interval", "1h", "--count", "2"]);
    producer.wait_for_stdout("sent #0");
    let name = ["--name", queues.0.name()];
    elsewhere.producer(&POSIX, &name).end().expect(1).says("in use");
    // Also if the registry there seems to lead to it.
    let planted = elsewhere.file(&format!("{}.mq", queues.0.name()));
    std::fs::copy(queues.registry(), &planted).expect("copy the registry");
    elsewhere.producer(&POSIX, &name).end().expect(1).says("in use");
    producer.signal(Signal::SIGINT);
    producer.end().expect(130);
    queues.consumer(&POSIX, &["--json"]).end().expect(0).all_well(1);
}

#[test]
fn what_is_not_ours_alone_is_refused_and_left_as_it_is() {
    let queues = Queues::new();
    let refused = |why: &str| {
        for process in [queues.producer(&SYSV, &[]), queues.consumer(&SYSV, &[])] {
            process.end().expect(1).says(why);
        }
    };
    let (path, target) = (queues.registry(), queues.0.dir().join("target"));
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
    std::fs::write(&path, "mine").expect("plant a file");
    mode(0o600);
    refused("is no queue's file");
    mode(0o644);
    refused("not a private object");
    assert_eq!(std::fs::read(&path).expect("read it"), b"mine");
    std::fs::remove_file(&path).expect("remove it");
    std::fs::write(&target, "").expect("make a target");
    std::os::unix::fs::symlink(&target, &path).expect("plant a link");
    refused("open");
    assert_eq!(std::fs::read(&target).expect("read it"), b"");
    std::fs::remove_file(&path).expect("remove it");
    std::fs::remove_file(&target).expect("remove it");

    // A registry that is damaged, and one that leads to a queue which others may use.
    queues.producer(&SYSV, &["--count", "1"]).end().expect(0);
    let (key, text) = (queues.key(), std::fs::read_to_string(&path).expect("read the registry"));
    std::fs::write(&path, text.replace("goodbye 1", "goodbye 7")).expect("damage it");
    queues.consumer(&SYSV, &[]).end().expect(4).says("damaged at \"goodbye\"");
    std::fs::write(&path, &text).expect("repair it");
    let leads_to = |other: i32| {
        let text = text.replace(&format!("key {key}"), &format!("key {other}"));
        // As long as before, whatever the key's digits.
        std::fs::write(&path, format!("{:<255}\n", text.trim_end())).expect("change it");
    };
    let (id, others_key) = loop {
        let made = Command::new("ipcmk").args(["-Q", "-p", "0666"]).output().expect("run ipcmk");
        let id = String::from_utf8_lossy(&made.stdout).trim().rsplit(' ').next().expect("an id").to_owned();
        let all = std::fs::read_to_string("/proc/sysvipc/msg").expect("list the queues");
        let row = all.lines().map(|l| l.split_whitespace().collect::<Vec<_>>()).find(|row| row[1] == id);
        match row.expect("the queue")[0].parse() {
            Ok(key @ 1..) => break (id, key),
            // A registry's keys are positive.
            _ => drop(Command::new("ipcrm").args(["-q", &id]).status()),
        }
    };
    leads_to(others_key);
    refused("not this user's alone");
    assert!(Command::new("ipcrm").args(["-q", &id]).status().expect("run ipcrm").success(), "it is gone");
    if geteuid().is_root() {
        let nobody = Sandbox::as_nobody();
        let theirs = nobody.producer(&SYSV, &["--interval", "1h"]);
        theirs.wait_for_stdout("sent #0");
        let registry = nobody.dir().join(format!("{}.mq", nobody.name()));
        let registry = std::fs::read_to_string(registry).expect("read their registry");
        leads_to(registry.lines().find_map(|l| l.strip_prefix("key ")?.parse().ok()).expect("a key"));
        refused("not this user's alone");
        theirs.signal(Signal::SIGINT);
        theirs.end().expect(130);
        nobody.consumer(&SYSV, &["--json"]).end().expect(0).all_well(1);
    }
    std::fs::write(&path, &text).expect("repair it");
    queues.consumer(&SYSV, &["--json"]).end().expect(0).all_well(1);
}
