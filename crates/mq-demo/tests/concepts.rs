//! Each statement of the study notes about message queues, made to happen with the real binaries.

mod queues;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use common::testkit::{Outcome, Pair, Process, SOON, Sandbox};
use mq_demo::sysv::{Select, SysvQueue};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::queues::{BOTH, POSIX, Queues, SYSV, numbers, received};

/// A moment in which a signal ends a process, on a loaded machine.
const AT_ONCE: Duration = Duration::from_secs(2);

/// All consumers' items, of which none may have come twice.
fn together(ended: &[Outcome]) -> BTreeSet<(u32, u64)> {
    let mut all = BTreeSet::new();
    for item in ended.iter().flat_map(received) {
        assert!(all.insert(item), "{item:?} came twice");
    }
    all
}

/// A producer's arguments: so many items at full speed.
fn burst(count: &str) -> [&str; 4] {
    ["--count", count, "--interval", "0"]
}

fn args<'a>(first: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [first, more].concat()
}

mod direct_communication {
    use super::*;

    #[test]
    fn a_message_to_a_process_reaches_that_process_alone() {
        let queues = Queues::new();
        let [named, other] = [0; 2].map(|_| queues.consumer(&SYSV, &["--direct"]));
        let typed = queues.consumer(&SYSV, &["--type", "5"]);
        for consumer in [&named, &other, &typed] {
            consumer.wait_for_stderr("waiting for a producer");
        }
        let to = named.pid().to_string();
        // The consumer says how it can be reached, and it is so.
        named.wait_for_stderr(&format!("mq-producer -- --name {} --to {to}", queues.0.name()));
        queues.producer(&SYSV, &args(&burst("50"), &["--to", &to])).end().expect(0);
        assert_eq!(numbers(&named.end().expect(0)), (0..50).collect::<Vec<_>>());
        for bystander in [other, typed] {
            assert!(numbers(&bystander.end().expect(0)).is_empty());
        }
    }

    #[test]
    fn two_links_share_a_queue_and_never_mix() {
        let queues = Queues::new();
        let consumers = [0; 2].map(|_| queues.consumer(&SYSV, &["--direct"]));
        for consumer in &consumers {
            consumer.wait_for_stderr("waiting for a producer");
        }
        let host = queues.host(&SYSV, &["--size", "64"]);
        let producers = [0, 1].map(|i| {
            queues
                .producer(&SYSV, &args(&burst("2000"), &["--quiet", "--to", &consumers[i].pid().to_string()]))
        });
        let pids = producers.map(|producer| (producer.pid(), producer.end().expect(0)).0);
        host.end();
        for (consumer, pid) in consumers.into_iter().zip(pids) {
            let expected: Vec<_> = (0..2000).map(|seq| (pid, seq)).collect();
            assert!(received(&consumer.end().expect(0)) == expected, "only from {pid}, and all of it");
        }
    }

    #[test]
    fn a_receiver_of_type_0_takes_what_is_for_another_and_both_sides_say_so() {
        let queues = Queues::new();
        let host = queues.host(&SYSV, &["--size", "64"]);
        let named = queues.consumer(&SYSV, &["--direct", "--delay", "1h"]);
        named.wait_for_stderr("blocked");
        let to = named.pid().to_string();
        let to_one = |count| args(&burst(count), &["--to", &to, "--size", "10"]);
        let ended = queues.producer(&SYSV, &to_one("1")).end().expect(0);
        assert!(!ended.stderr.contains("any type"), "{}", ended.stderr);
        named.wait_for_stdout("received #0");
        // It is busy now, so that the other is the first to receive.
        let any = queues.consumer(&SYSV, &[]);
        any.wait_for_stderr("blocked");
        let sent = queues.producer(&SYSV, &to_one("5")).end().expect(0);
        sent.says(&format!("consumer {} receives any type: it may take what is for {to}", any.pid()));
        host.end();
        let any = any.end().expect(0).says(&format!("sent to {to}; a receiver of type 0 takes anything"));
        assert_eq!(numbers(&any), [0, 1, 2, 3, 4]);
        named.signal(Signal::SIGINT);
        assert_eq!(numbers(&named.end().expect(130)), [0]);
    }

    #[test]
    fn receive_from_a_process_takes_only_what_it_sends() {
        let queues = Queues::new();
        let [one, other] =
            [0; 2].map(|_| queues.producer(&SYSV, &["--count", "5", "--interval", "0", "--capacity", "20"]));
        let (pid, others) = (one.pid(), other.pid());
        one.end().expect(0);
        other.end().expect(0);
        let from = pid.to_string();
        let ended = queues.consumer(&SYSV, &["--from", &from, "--json"]).end().expect(0);
        assert_eq!(received(&ended), (0..5).map(|seq| (pid, seq)).collect::<Vec<_>>());
        ended.says("keeps 5 messages").all_well(5);
        // What it did not select has stayed.
        let rest = queues.consumer(&SYSV, &[]).end().expect(0);
        assert_eq!(received(&rest), (0..5).map(|seq| (others, seq)).collect::<Vec<_>>());
    }

    #[test]
    fn receive_from_a_process_waits_for_it_and_ends_with_the_last_goodbye() {
        let queues = Queues::new();
        let [one, other] = [0; 2].map(|_| queues.producer(&SYSV, &["--count", "0", "--interval", "50ms"]));
        one.wait_for_stdout("sent #0");
        let consumer = queues.consumer(&SYSV, &["--from", &one.pid().to_string()]);
        consumer.wait_for_stdout("received #3");
        let (pid, others) = (one.pid(), other.pid());
        for producer in [one, other] {
            producer.signal(Signal::SIGINT);
            producer.end_within(AT_ONCE).expect(130);
        }
        let ended = consumer.end().expect(0);
        assert!(received(&ended).iter().all(|item| item.0 == pid), "{}", ended.stdout);
        let rest = queues.consumer(&SYSV, &[]).end().expect(0);
        assert!(received(&rest).iter().all(|item| item.0 == others), "{}", rest.stdout);
        assert!(!received(&rest).is_empty());
    }

    #[test]
    fn receive_from_a_process_ends_when_it_dies_although_others_live() {
        let queues = Queues::new();
        let [one, other] = [0; 2].map(|_| queues.producer(&SYSV, &["--interval", "1h"]));
        other.wait_for_stdout("sent #0");
        let consumer = queues.consumer(&SYSV, &["--from", &one.pid().to_string()]);
        consumer.wait_for_stdout("received #0").wait_for_stderr("blocked");
        one.signal(Signal::SIGKILL);
        let died = format!("producer {} died without a goodbye", one.pid());
        one.end().expect(137);
        consumer.end().expect(3).says(&died);
        other.signal(Signal::SIGINT);
        other.end().expect(130);
        queues.consumer(&SYSV, &["--quiet"]).end().expect(0);
    }

    #[test]
    fn nobody_has_that_pid() {
        let queues = Queues::new();
        // Ours: no consumer's, and not reused while we live.
        let pid = std::process::id().to_string();
        let nobody = format!("no consumer has pid {pid}");
        queues.producer(&SYSV, &["--to", &pid, "--timeout", "300ms"]).end().expect(3).says(&nobody);
        for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
            let producer = queues.producer(&SYSV, &["--to", &pid]);
            producer.wait_for_stderr(&nobody).signal(signal);
            let ended = producer.end_within(AT_ONCE).expect(code).says("-- --name");
            assert!(ended.stdout.is_empty(), "{}", ended.stdout);
            assert!(queues.0.left().is_empty(), "{:?}", queues.0.left());
        }
    }

    #[test]
    fn one_that_does_not_listen_to_its_address_is_told_what_it_needs() {
        let queues = Queues::new();
        let deaf = queues.consumer(&SYSV, &["--type", "5"]);
        deaf.wait_for_stderr("waiting for a producer");
        let producer = queues.producer(&SYSV, &["--to", &deaf.pid().to_string(), "--timeout", "300ms"]);
        producer.end().expect(3).says("it needs --direct");
        deaf.end().expect(3);
    }

    #[test]
    fn the_producer_waits_for_one_that_comes_later() {
        let queues = Queues::new();
        // A process that becomes the consumer: its pid is known before.
        let mut command = queues.0.command("sh");
        command.args(["-c", "read go; exec \"$@\"", "sh", SYSV.consumer, "--direct"]);
        command.args(["--name", queues.0.name()]).stdin(std::process::Stdio::piped());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().expect("start a shell");
        let pid = child.id().to_string();
        let producer = queues.producer(&SYSV, &args(&burst("3"), &["--to", &pid]));
        producer.wait_for_stderr("no consumer has pid");
        drop(child.stdin.take());
        producer.end().expect(0);
        let ended = child.wait_with_output().expect("wait for the consumer");
        assert!(ended.status.success());
        assert_eq!(String::from_utf8_lossy(&ended.stdout).lines().count(), 3);
    }

    #[test]
    fn a_receiver_that_goes_ends_the_link() {
        for (signal, how) in [(Signal::SIGKILL, "died"), (Signal::SIGINT, "has left")] {
            let queues = Queues::new();
            let consumer = queues.consumer(&SYSV, &["--direct", "--delay", "1h"]);
            consumer.wait_for_stderr("waiting for a producer");
            let pid = consumer.pid().to_string();
            let more = ["--to", &pid, "--capacity", "3"];
            let producer = queues.producer(&SYSV, &args(&burst("0"), &more));
            consumer.wait_for_stdout("received #0");
            producer.wait_for_stderr("blocked: queue full 3/3");
            consumer.signal(signal);
            consumer.end().expect(if signal == Signal::SIGKILL { 137 } else { 130 });
            let ended = producer.end_within(SOON).expect(3).says(&format!("consumer {pid} {how}"));
            // One was taken, three are left for anybody who takes any type.
            ended.says("sent 4 items").says("keeps 3 messages");
            let rest = queues.consumer(&SYSV, &["--timeout", "300ms"]).end();
            assert_eq!(numbers(&rest.says("takes anything")), [1, 2, 3]);
            // No goodbye was said: the producer did not send what it wanted to.
            queues.producer(&SYSV, &["--count", "1"]).end().expect(0);
            queues.consumer(&SYSV, &[]).end().expect(0);
        }
    }

    #[test]
    fn wrong_usage() {
        let queues = Queues::new();
        let producer: &[(&Pair, &[&str])] = &[
            (&SYSV, &["--to", "0"]),
            (&SYSV, &["--to", "-1"]),
            (&SYSV, &["--to", "5000000"]),
            (&SYSV, &["--to", "7", "--type", "1"]),
            (&SYSV, &["--type", "4294967296"]),
            (&POSIX, &["--to", "7"]),
        ];
        let consumer: &[(&Pair, &[&str])] = &[
            (&SYSV, &["--from", "0"]),
            (&SYSV, &["--from", "me"]),
            (&SYSV, &["--from", "7", "--direct"]),
            (&SYSV, &["--from", "7", "--type", "1"]),
            (&SYSV, &["--direct", "--except", "1"]),
            (&SYSV, &["--type", "-4294967296"]),
            (&SYSV, &["--except", "4294967296"]),
            (&POSIX, &["--direct"]),
            (&POSIX, &["--from", "7"]),
        ];
        let both = producer.iter().map(|(pair, args)| queues.producer(pair, args));
        for process in both.chain(consumer.iter().map(|(pair, args)| queues.consumer(pair, args))) {
            process.end().expect(2).says("error");
        }
        assert!(queues.0.left().is_empty(), "{:?}", queues.0.left());
    }
}

mod mailbox {
    use super::*;

    #[test]
    fn three_consumers_share_one_and_each_item_goes_to_one_of_them() {
        for pair in BOTH {
            let queues = Queues::new();
            // Whoever has one is busy, so that the others get the next.
            let consumers = [0; 3].map(|_| queues.consumer(&pair, &["--delay", "5ms", "--json"]));
            for consumer in &consumers {
                consumer.wait_for_stderr("waiting for a producer");
            }
            let producer = queues.producer(&pair, &burst("90"));
            let pid = producer.pid();
            producer.end().expect(0);
            let ended = consumers.map(|consumer| consumer.end().expect(0));
            assert!(together(&ended) == (0..90).map(|seq| (pid, seq)).collect(), "together they have all");
            for consumer in &ended {
                assert!(!received(consumer).is_empty(), "each has got some: {}", consumer.stdout);
                assert_eq!(consumer.number("lost"), 0);
            }
        }
    }

    #[test]
    fn several_producers_and_consumers_use_it_at_once() {
        for pair in BOTH {
            let queues = Queues::new();
            let consumers = [0; 3].map(|_| queues.consumer(&pair, &[]));
            for consumer in &consumers {
                consumer.wait_for_stderr("waiting for a producer");
            }
            let host = queues.host(&pair, &["--size", "64"]);
            let producers = [0; 3].map(|_| queues.producer(&pair, &args(&burst("1000"), &["--quiet"])));
            let pids = producers.map(|producer| (producer.pid(), producer.end().expect(0)).0);
            host.end();
            let ended = consumers.map(|consumer| consumer.end().expect(0));
            let expected = pids.iter().flat_map(|pid| (0..1000).map(|seq| (*pid, seq))).collect();
            assert!(together(&ended) == expected, "every item of every producer, once");
        }
    }
}

mod rendezvous {
    use super::*;

    /// How many items a producer says it was held for.
    fn held(outcome: &Outcome) -> usize {
        outcome
            .stdout
            .lines()
            .filter(|l| l.starts_with("held ") && l.ends_with("until it was received"))
            .count()
    }

    #[test]
    fn the_sender_is_held_until_the_receiver_has_the_message() {
        for pair in BOTH {
            let queues = Queues::new();
            let consumer = queues.consumer(&pair, &["--delay", "200ms", "--json"]);
            consumer.wait_for_stderr("waiting for a producer");
            let producer = queues.producer(&pair, &args(&burst("4"), &["--rendezvous", "--json"]));
            consumer.wait_for_stdout("received #0");
            let own = queues.own_queue(producer.pid());
            let ended = producer.end().expect(0);
            assert!(!own.is_there(), "its own queue has gone with it");
            // The receiver was busy with each for so long, and the sender did not go on before.
            for quantile in ["p50", "p99"] {
                let held = ended.json()["held_ns"][quantile].as_u64().expect("held_ns");
                assert!((200_000_000..20_000_000_000).contains(&held), "{quantile}: {held} ns");
            }
            let lines: Vec<_> = ended.stdout.lines().filter_map(|l| l.split_whitespace().next()).collect();
            assert_eq!(&lines[..8], ["sent", "held"].repeat(4), "{}", ended.stdout);
            consumer.end().expect(0).all_well(4);
        }
    }

    #[test]
    fn without_it_the_sender_goes_on_at_once() {
        let queues = Queues::new();
        let ended = queues.producer(&SYSV, &args(&burst("4"), &["--json"])).end().expect(0);
        assert!(held(&ended) == 0 && ended.json()["held_ns"].is_null());
        queues.consumer(&SYSV, &[]).end().expect(0);
    }

    #[test]
    fn nobody_is_there_to_receive() {
        for pair in BOTH {
            for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
                let queues = Queues::new();
                let producer = queues.producer(&pair, &["--rendezvous", "--interval", "0"]);
                producer.wait_for_stderr("nobody has taken it yet and no consumer attached");
                let own = queues.own_queue(producer.pid());
                producer.signal(signal);
                let ended = producer.end_within(AT_ONCE).expect(code).says("keeps 1 message");
                assert!(held(&ended) == 0 && ended.stdout.contains("sent #0"), "{}", ended.stdout);
                assert!(!own.is_there());
                assert_eq!(numbers(&queues.consumer(&pair, &[]).end().expect(0)), [0]);
            }
            let queues = Queues::new();
            let producer = queues.producer(&pair, &["--rendezvous", "--timeout", "300ms"]);
            producer.end().expect(3).says("--timeout");
            // It gave up, so its stream is not whole: no goodbye.
            queues.consumer(&pair, &["--timeout", "300ms"]).end().expect(3).says("no producer attached");
        }
    }

    #[test]
    fn ended_while_a_consumer_has_the_message_in_hand() {
        for pair in BOTH {
            let queues = Queues::new();
            let consumer = queues.consumer(&pair, &["--delay", "1h"]);
            consumer.wait_for_stderr("waiting for a producer");
            let producer = queues.producer(&pair, &["--rendezvous"]);
            producer.wait_for_stderr(&format!("consumer {} has taken it", consumer.pid()));
            let own = queues.own_queue(producer.pid());
            producer.signal(Signal::SIGINT);
            producer.end_within(AT_ONCE).expect(130);
            assert!(!own.is_there());
            consumer.signal(Signal::SIGINT);
            consumer.end_within(AT_ONCE).expect(130);
        }
    }

    #[test]
    fn a_consumer_killed_with_the_message_is_named() {
        for pair in BOTH {
            let queues = Queues::new();
            // Another one lives, and has nothing to do with it.
            let [one, other] = [0; 2].map(|_| queues.consumer(&pair, &["--delay", "1h"]));
            for consumer in [&one, &other] {
                consumer.wait_for_stderr("waiting for a producer");
            }
            let producer = queues.producer(&pair, &["--rendezvous"]);
            producer.wait_for_stderr("has taken it, and is not done with it");
            let own = queues.own_queue(producer.pid());
            let first_has_it = producer.stderr().contains(&format!("consumer {} has taken it", one.pid()));
            let (killed, alive) = if first_has_it { (one, other) } else { (other, one) };
            killed.signal(Signal::SIGKILL);
            let died = format!("consumer {} died with the message, before the receipt", killed.pid());
            killed.end().expect(137);
            producer.end_within(SOON).expect(3).says(&died);
            assert!(!own.is_there());
            // The one that is left learns that the stream was not whole.
            alive.end_within(SOON).expect(3);
        }
    }

    #[test]
    fn a_consumer_killed_before_it_could_say_that_it_has_the_message() {
        if Command::new("strace").arg("-V").output().is_err() {
            println!("skipped: needs strace");
            return;
        }
        // Killed instead of its first call that sends, which is that of the receipt; alone, then beside another.
        for (pair, call) in [(SYSV, "msgsnd"), (POSIX, "mq_timedsend")] {
            for beside in [false, true] {
                let queues = Queues::new();
                let host = queues.host(&pair, &["--size", "64"]);
                // This one has something else in hand, so it is not the one that dies.
                let other = beside.then(|| queues.consumer(&pair, &["--delay", "1h"]));
                if let Some(other) = &other {
                    queues.producer(&pair, &burst("1")).end().expect(0);
                    other.wait_for_stdout("received #0");
                }
                let mut strace = queues.0.command("strace");
                strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
                strace.args(["-e", &format!("inject={call}:signal=SIGKILL:when=1"), pair.consumer]);
                strace.args(pair.both).args(["--name", queues.0.name()]);
                let killed = Process::spawn(strace);
                killed.wait_for_stderr("blocked: queue empty");
                let producer = queues.producer(&pair, &["--rendezvous", "--timeout", "60s"]);
                let ended = producer.end_within(SOON).expect(3);
                ended.says("a consumer died with the message, before the receipt");
                if let Some(other) = other {
                    other.signal(Signal::SIGINT);
                    other.end().expect(130);
                }
                host.end();
                killed.end();
                // Both start again at once.
                let consumer = queues.consumer(&pair, &["--json"]);
                queues.producer(&pair, &args(&burst("2"), &["--rendezvous"])).end().expect(0);
                consumer.end().expect(0).all_well(2);
            }
        }
    }

    #[test]
    fn a_consumer_that_dies_idle_or_leaves_is_followed_by_the_next() {
        for pair in BOTH {
            let queues = Queues::new();
            let producer = queues.producer(&pair, &args(&burst("4"), &["--rendezvous"]));
            producer.wait_for_stderr("nobody has taken it yet");
            // Takes one, is told to go while it is busy with it, and says that it has it all the same.
            let first = queues.consumer(&pair, &["--delay", "1h"]);
            first.wait_for_stdout("received #0").signal(Signal::SIGINT);
            first.end_within(AT_ONCE).expect(130);
            // Takes one, and is done.
            queues.consumer(&pair, &["--count", "1"]).end().expect(0);
            producer.wait_for_stdout("sent #2");
            let last = queues.consumer(&pair, &[]);
            let ended = producer.end().expect(0);
            assert_eq!(held(&ended), 4, "{}", ended.stdout);
            assert_eq!(numbers(&last.end().expect(0)), [2, 3]);

            // Killed while it waits: nothing of ours is lost.
            let queues = Queues::new();
            let idle = queues.consumer(&pair, &[]);
            idle.wait_for_stderr("waiting for a producer");
            let producer = queues.producer(&pair, &["--rendezvous", "--interval", "1s", "--count", "2"]);
            idle.wait_for_stdout("received #0").wait_for_stderr("blocked");
            idle.signal(Signal::SIGKILL);
            idle.end().expect(137);
            let next = queues.consumer(&pair, &[]);
            producer.end().expect(0);
            assert_eq!(numbers(&next.end().expect(0)), [1]);
        }
    }

    #[test]
    fn several_producers_are_held_by_several_consumers() {
        for pair in BOTH {
            let queues = Queues::new();
            let consumers = [0; 3].map(|_| queues.consumer(&pair, &["--delay", "1ms"]));
            for consumer in &consumers {
                consumer.wait_for_stderr("waiting for a producer");
            }
            let host = queues.host(&pair, &["--size", "64"]);
            // One of them does not wait for receipts: it is not in the others' way.
            let plain = queues.producer(&pair, &burst("200"));
            let producers =
                [0; 3].map(|_| queues.producer(&pair, &args(&burst("100"), &["--rendezvous", "--json"])));
            let mut expected: BTreeSet<_> = (0..200).map(|seq| (plain.pid(), seq)).collect();
            plain.end().expect(0);
            for producer in producers {
                expected.extend((0..100).map(|seq| (producer.pid(), seq)));
                let ended = producer.end().expect(0);
                assert_eq!((held(&ended), ended.number("items")), (100, 100));
            }
            host.end();
            let ended = consumers.map(|consumer| consumer.end().expect(0));
            assert!(together(&ended) == expected, "every item once");
        }
    }

    #[test]
    fn the_own_queue_of_a_killed_producer_goes_with_the_next_start() {
        for pair in BOTH {
            for producer_first in [true, false] {
                let queues = Queues::new();
                let producer = queues.producer(&pair, &["--rendezvous"]);
                producer.wait_for_stderr("nobody has taken it yet");
                let own = queues.own_queue(producer.pid());
                producer.signal(Signal::SIGKILL);
                producer.end().expect(137);
                assert!(own.is_there(), "nobody could remove it");
                let (next, consumer);
                if producer_first {
                    next = queues.producer(&pair, &args(&burst("1"), &["--rendezvous"]));
                    next.wait_for_stdout("sent #0");
                    assert!(!own.is_there());
                    consumer = queues.consumer(&pair, &[]);
                } else {
                    consumer = queues.consumer(&pair, &[]);
                    consumer.wait_for_stdout("received #0").wait_for_stderr("no producer attached");
                    assert!(!own.is_there());
                    next = queues.producer(&pair, &args(&burst("1"), &["--rendezvous"]));
                }
                next.end().expect(0);
                assert_eq!(numbers(&consumer.end().expect(0)), [0, 0]);
            }
        }
    }

    #[test]
    fn direct_and_rendezvous_together_are_the_textbooks_send() {
        let queues = Queues::new();
        let named = queues.consumer(&SYSV, &["--direct", "--delay", "50ms"]);
        let other = queues.consumer(&SYSV, &["--direct"]);
        for consumer in [&named, &other] {
            consumer.wait_for_stderr("waiting for a producer");
        }
        let to = named.pid().to_string();
        let producer = queues.producer(&SYSV, &args(&burst("3"), &["--to", &to, "--rendezvous"]));
        assert_eq!(held(&producer.end().expect(0)), 3);
        assert_eq!(numbers(&named.end().expect(0)), [0, 1, 2]);
        assert!(numbers(&other.end().expect(0)).is_empty());
    }

    #[test]
    fn the_queue_is_removed_while_a_sender_is_held() {
        let queues = Queues::new();
        let producer = queues.producer(&SYSV, &["--rendezvous"]);
        producer.wait_for_stderr("nobody has taken it yet");
        let key = queues.key().to_string();
        assert!(Command::new("ipcrm").args(["-Q", &key]).status().expect("run ipcrm").success());
        // Nothing tells a sender that waits elsewhere, but a newcomer does.
        let consumer = queues.consumer(&SYSV, &[]);
        producer.end_within(SOON).expect(3).says("was removed");
        consumer.signal(Signal::SIGINT);
        consumer.end_within(AT_ONCE);
    }

    #[test]
    fn a_stranger_takes_the_message_and_sends_no_receipt() {
        let queues = Queues::new();
        let producer = queues.producer(&SYSV, &["--rendezvous"]);
        producer.wait_for_stderr("nobody has taken it yet");
        let mut queue = SysvQueue::open(queues.key(), 96).expect("open the queue");
        queue.try_receive(Select::Any).expect("take the message");
        // A consumer that comes and goes makes the producer look: the message is gone, and nobody is left.
        queues.consumer(&SYSV, &["--timeout", "100ms"]).end().expect(3);
        producer.end_within(SOON).expect(3).says("before the receipt");
    }

    #[test]
    fn blocking_and_nonblocking_at_once_is_wrong_usage() {
        let queues = Queues::new();
        queues.producer(&SYSV, &["--rendezvous", "--nonblocking"]).end().expect(2).says("--nonblocking");
        assert!(queues.0.left().is_empty(), "{:?}", queues.0.left());
    }
}

mod nonblocking {
    use super::*;

    #[test]
    fn a_full_queue_would_block_and_the_producer_goes_on() {
        for pair in BOTH {
            let queues = Queues::new();
            let more = ["--capacity", "3", "--nonblocking", "--json"];
            let producer = queues.producer(&pair, &args(&burst("6"), &more));
            producer.wait_for_stderr("would block: queue full 3/3").wait_for_stdout("sent #2");
            let consumer = queues.consumer(&pair, &["--json"]);
            let ended = producer.end().expect(0);
            assert!(ended.number("would_block") > 0);
            consumer.end().expect(0).all_well(6);
        }
    }

    #[test]
    fn an_empty_queue_gives_null_messages() {
        for pair in BOTH {
            let queues = Queues::new();
            let producer = queues.producer(&pair, &["--count", "2", "--interval", "500ms"]);
            producer.wait_for_stdout("sent #0");
            let consumer = queues.consumer(&pair, &["--nonblocking", "--json"]);
            consumer.wait_for_stderr("null message: queue empty");
            producer.end().expect(0);
            let ended = consumer.end().expect(0);
            assert!(ended.number("would_block") > 1, "again and again");
            ended.all_well(2);
        }
    }
}

mod structs_not_a_stream {
    use super::*;

    /// The payloads' lengths, as a consumer has printed them.
    fn lengths(outcome: &Outcome) -> Vec<usize> {
        let length = |line: &str| line.strip_prefix("received #")?.split_whitespace().nth(1)?.parse().ok();
        outcome.stdout.lines().filter_map(length).collect()
    }

    #[test]
    fn one_receive_takes_exactly_one_message_whatever_the_sizes() {
        for pair in BOTH {
            let mut queues = Queues::new();
            let input = queues.0.file("input");
            let sizes = [1, 700, 2, 64, 1, 1, 1000, 3, 999, 5];
            let lines: String = sizes.iter().map(|n| format!("{}\n", "x".repeat(n - 1))).collect();
            std::fs::write(&input, lines.repeat(20)).expect("write the input");
            let input = input.to_str().expect("UTF-8");
            // All that the queue holds is there before anybody receives: a stream would run together.
            let producer =
                queues.producer(&pair, &["--input", input, "--lines", "--size", "1000", "--capacity", "10"]);
            producer.wait_for_stdout("sent #5");
            let ended = queues.consumer(&pair, &["--json"]).end().expect(0);
            producer.end().expect(0);
            assert_eq!(lengths(&ended), sizes.repeat(20));
            ended.all_well(200);
        }
    }

    #[test]
    fn several_at_once_do_not_cut_or_join_messages() {
        for pair in BOTH {
            let mut queues = Queues::new();
            let input = queues.0.file("input");
            let lines: String = (1..=200usize).map(|n| format!("{}\n", "x".repeat(n * 37 % 500))).collect();
            std::fs::write(&input, &lines).expect("write the input");
            let input = input.to_str().expect("UTF-8");
            let consumers = [0; 3].map(|_| queues.consumer(&pair, &[]));
            for consumer in &consumers {
                consumer.wait_for_stderr("waiting for a producer");
            }
            let host = queues.host(&pair, &["--size", "501"]);
            let producers =
                [0; 2].map(|_| queues.producer(&pair, &["--input", input, "--lines", "--size", "501"]));
            for producer in producers {
                producer.end().expect(0);
            }
            host.end();
            let ended = consumers.map(|consumer| consumer.end().expect(0));
            assert_eq!(together(&ended).len(), 400);
            let mut got: Vec<_> = ended.iter().flat_map(lengths).collect();
            let mut sent: Vec<_> = lines.lines().flat_map(|line| [line.len() + 1; 2]).collect();
            got.sort_unstable();
            sent.sort_unstable();
            assert_eq!(got, sent);
        }
    }

    #[test]
    fn the_type_says_which_struct_it_is_and_selects_it() {
        let queues = Queues::new();
        let sent =
            queues.producer(&SYSV, &args(&burst("9"), &["--structs", "--type", "1,2,3"])).end().expect(0);
        let kinds = |outcome: &Outcome| -> Vec<String> {
            let line = |line: &str| Some(line.split_once("  a ")?.1.split_once(':')?.0.to_owned());
            outcome.stdout.lines().filter_map(line).collect()
        };
        assert_eq!(kinds(&sent), ["reading", "text", "command"].repeat(3), "{}", sent.stdout);
        let texts = queues.consumer(&SYSV, &["--type", "2", "--json"]).end().expect(0);
        assert_eq!((numbers(&texts), kinds(&texts)), (vec![1, 4, 7], vec!["text".into(); 3]));
        assert!(texts.stdout.contains("received #1  14 B  from"), "{}", texts.stdout);
        assert!(texts.stdout.contains("a text: \"good morning\""), "{}", texts.stdout);
        let rest = queues.consumer(&SYSV, &["--except", "1"]).end().expect(0);
        assert_eq!((numbers(&rest), kinds(&rest)), (vec![2, 5, 8], vec!["command".into(); 3]));
        assert!(rest.stdout.contains("a command: set to 5"), "{}", rest.stdout);
        let rest = queues.consumer(&SYSV, &[]).end().expect(0);
        assert_eq!((numbers(&rest), kinds(&rest)), (vec![0, 3, 6], vec!["reading".into(); 3]));
        assert!(rest.stdout.contains("a reading: sensor 1, 20.375 °C"), "{}", rest.stdout);
    }

    #[test]
    fn structs_and_other_items_do_not_share_a_queue() {
        let queues = Queues::new();
        let structs = queues.producer(&SYSV, &["--structs", "--interval", "1h"]);
        structs.wait_for_stdout("sent #0");
        queues.producer(&SYSV, &["--size", "8"]).end().expect(1).says("its messages are structs (--structs)");
        structs.signal(Signal::SIGINT);
        structs.end().expect(130);
        queues.consumer(&SYSV, &["--json"]).end().expect(0).all_well(1);
        let plain = queues.producer(&SYSV, &["--interval", "1h", "--type", "2"]);
        plain.wait_for_stdout("sent #0");
        queues.producer(&SYSV, &["--structs"]).end().expect(1).says("its messages are no structs");
        plain.signal(Signal::SIGINT);
        plain.end().expect(130);
        let ended = queues.consumer(&SYSV, &[]).end().expect(0);
        assert!(!ended.stdout.contains("struct") && !ended.stdout.contains("a text"), "{}", ended.stdout);
        for wrong in
            [&["--structs", "--type", "4"][..], &["--structs", "--size", "9"], &["--structs", "--input", "-"]]
        {
            queues.producer(&SYSV, wrong).end().expect(2);
        }
        queues.producer(&POSIX, &["--structs"]).end().expect(2).says("--api sysv");
    }

    #[test]
    fn the_lowest_type_comes_first_up_to_a_bound() {
        let queues = Queues::new();
        queues.producer(&SYSV, &args(&burst("8"), &["--type", "3,1,2,9"])).end().expect(0);
        let ended = queues.consumer(&SYSV, &["--type", "-2", "--json"]).end().expect(0);
        assert_eq!(numbers(&ended), [1, 5, 2, 6], "type 1 before type 2, each in order; 3 and 9 never");
        assert_eq!(ended.number("reordered"), 0);
        let ended = queues.consumer(&SYSV, &["--except", "9"]).end().expect(0);
        assert_eq!(numbers(&ended), [0, 4]);
        assert_eq!(numbers(&queues.consumer(&SYSV, &["--type", "9"]).end().expect(0)), [3, 7]);
    }

    #[test]
    fn posix_has_priorities_instead() {
        let queues = Queues::new();
        queues.producer(&POSIX, &args(&burst("9"), &["--priority", "1,32767,0"])).end().expect(0);
        let ended = queues.consumer(&POSIX, &["--json"]).end().expect(0);
        assert_eq!(numbers(&ended), [1, 4, 7, 0, 3, 6, 2, 5, 8], "the highest first, each in order");
        ended.all_well(9);
    }
}

mod memory_is_limited {
    use super::*;

    #[test]
    fn a_full_queue_blocks_until_somebody_takes_a_message() {
        for pair in BOTH {
            let queues = Queues::new();
            let producer = queues.producer(&pair, &args(&burst("7"), &["--capacity", "4", "--json"]));
            producer.wait_for_stderr("blocked: queue full 4/4").wait_for_stdout("sent #3");
            assert!(!producer.stdout().contains("sent #4"), "{}", producer.stdout());
            let consumer = queues.consumer(&pair, &["--json"]);
            let ended = producer.end().expect(0).says("unblocked after");
            assert!(ended.number("blocked") > 0);
            consumer.end().expect(0).all_well(7);
        }
    }

    /// What `--limits` says of one limit: its value, and what is beyond it.
    fn said(listed: &Outcome, name: &str) -> (String, String) {
        let mut lines = listed.stdout.lines().skip_while(|l| !l.trim_start().starts_with(name));
        let first = lines.next().unwrap_or_else(|| panic!("{name} in {}", listed.stdout));
        let value = first.split_once(" = ").expect("a value").1.split_whitespace().next().expect("a value");
        assert!(lines.next().is_some_and(|l| l.trim_start().starts_with("set:")), "{}", listed.stdout);
        let beyond = lines.next().and_then(|l| l.trim_start().strip_prefix("beyond: ")).expect("beyond");
        (value.into(), beyond.into())
    }

    #[test]
    fn the_limits_of_this_machine_are_listed_and_nothing_is_created() {
        let queues = Queues::new();
        for pair in BOTH {
            let listed = queues.producer(&pair, &["--limits"]).end().expect(0);
            for name in ["msgmax", "msgmnb", "msgmni"] {
                let value = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).expect("a limit");
                assert_eq!(said(&listed, &format!("kernel.{name}")).0, value.trim());
                assert!(listed.stdout.contains(&format!("in /proc/sys/kernel/{name}")));
            }
            for name in ["msg_max", "msgsize_max", "queues_max"] {
                let value = std::fs::read_to_string(format!("/proc/sys/fs/mqueue/{name}")).expect("a limit");
                assert_eq!(said(&listed, &format!("fs.mqueue.{name}")).0, value.trim());
                assert!(listed.stdout.contains(&format!("in /proc/sys/fs/mqueue/{name}")));
            }
            assert!(listed.stderr.is_empty() && queues.0.left().is_empty(), "{listed:?}");
        }
        // The resource limit is the process's own.
        let mut command = queues.0.command("prlimit");
        command.args(["--msgqueue=4321", SYSV.producer, "--limits"]);
        assert_eq!(said(&Process::spawn(command).end().expect(0), "RLIMIT_MSGQUEUE").0, "4321");
    }

    /// In an IPC namespace of its own, with one limit changed; as nobody, unless root is the point.
    struct Limited {
        sandbox: Sandbox,
        setup: String,
        root: bool,
    }

    impl Limited {
        fn run(&self, args: &[&str]) -> Process {
            let (uid, gid) = ("--reuid=65534", "--regid=65534");
            let user = if self.root { String::new() } else { format!("setpriv {uid} {gid} --clear-groups") };
            let script = format!("{} && exec {user} \"$@\"", self.setup);
            // The sandbox's copy of the binary, which nobody may run too.
            let producer = self.sandbox.command(SYSV.producer).get_program().to_owned();
            let mut command = Command::new("unshare");
            command.args(["-i", "sh", "-c", &script, "sh"]).arg(producer).args(args);
            command.args(["--name", self.sandbox.name()]).env("XDG_RUNTIME_DIR", self.sandbox.dir());
            Process::spawn(command)
        }
    }

    fn limited(limit: &str, value: &str, root: bool) -> Limited {
        let sandbox = if root { Sandbox::new() } else { Sandbox::as_nobody() };
        Limited { sandbox, setup: format!("echo {value} > /proc/sys/{limit}"), root }
    }

    /// Root may go beyond, if it has CAP_SYS_RESOURCE; many a container's root has not, and may not.
    fn exempt(limit: &str, value: &str, args: &[&str], otherwise: i32) {
        let status = std::fs::read_to_string("/proc/self/status").expect("our status");
        let mask = status.lines().find_map(|l| l.strip_prefix("CapEff:")).expect("a line with capabilities");
        let capable = u64::from_str_radix(mask.trim(), 16).expect("hexadecimal") >> 24 & 1 == 1;
        limited(limit, value, true).left_registry().run(args).end().expect(if capable {
            0
        } else {
            otherwise
        });
    }

    #[test]
    fn beyond_each_of_them_happens_what_the_list_says() {
        if !geteuid().is_root() {
            println!("skipped: only root can change the limits, in a namespace of its own");
            return;
        }
        let queues = Queues::new();
        let listed = queues.producer(&SYSV, &["--limits"]).end().expect(0);
        let beyond = |name: &str, words: &[&str]| {
            let said = said(&listed, name).1;
            assert!(words.iter().all(|word| said.contains(word)), "{name}: {said}");
        };
        let posix = ["--api", "posix"];

        beyond("kernel.msgmax", &["EINVAL", "for root too", "exit 2"]);
        for root in [true, false] {
            let long = limited("kernel/msgmax", "100", root).run(&["--size", "69"]).end();
            long.expect(2).says("a message of 101 bytes is over the limit kernel.msgmax = 100");
        }

        beyond("kernel.msgmnb", &["waits", "EPERM", "CAP_SYS_RESOURCE", "exit 1"]);
        let large = ["--size", "68", "--capacity", "11", "--interval", "0", "--count", "11"];
        let over = limited("kernel/msgmnb", "1000", false).run(&large).end();
        over.expect(1).says("a queue of 1100 bytes is over the limit kernel.msgmnb = 1000");
        let small = limited("kernel/msgmnb", "1000", false).left_registry();
        let full = small.run(&["--size", "68", "--interval", "0", "--count", "0"]);
        full.wait_for_stderr("blocked: queue full 10/10").signal(Signal::SIGINT);
        full.end().expect(130);
        exempt("kernel/msgmnb", "1000", &large, 1);

        beyond("kernel.msgmni", &["ENOSPC", "for root too", "exit 1"]);
        for root in [true, false] {
            limited("kernel/msgmni", "0", root).run(&[]).end().expect(1).says("all kernel.msgmni = 0 queues");
        }

        beyond("fs.mqueue.msg_max", &["EINVAL", "CAP_SYS_RESOURCE", "exit 1"]);
        let many = args(&posix, &["--capacity", "4", "--count", "4", "--interval", "0"]);
        let over = limited("fs/mqueue/msg_max", "3", false).run(&many).end();
        over.expect(1).says("a queue of 4 messages is over the limit fs.mqueue.msg_max = 3");
        exempt("fs/mqueue/msg_max", "3", &many, 1);

        beyond("fs.mqueue.msgsize_max", &["EINVAL", "only over 16 MiB", "exit 2"]);
        let long = args(&posix, &["--size", "200", "--count", "1"]);
        let over = limited("fs/mqueue/msgsize_max", "200", false).run(&long).end();
        over.expect(2).says("a message of 232 bytes is over the limit fs.mqueue.msgsize_max = 200");
        exempt("fs/mqueue/msgsize_max", "200", &long, 2);
        let ended =
            limited("fs/mqueue/msgsize_max", "200", true).run(&args(&posix, &["--size", "17MiB"])).end();
        ended.expect(2).says("fs.mqueue.msgsize_max");

        beyond("fs.mqueue.queues_max", &["ENOSPC", "CAP_SYS_RESOURCE", "exit 1"]);
        let one = args(&posix, &["--count", "1"]);
        let over = limited("fs/mqueue/queues_max", "0", false).run(&one).end();
        over.expect(1).says("all fs.mqueue.queues_max = 0 are in use");
        exempt("fs/mqueue/queues_max", "0", &one, 1);

        beyond("RLIMIT_MSGQUEUE", &["EMFILE", "for root too", "exit 1"]);
        for root in [true, false] {
            let mut limited = limited("fs/mqueue/queues_max", "9", root);
            limited.setup = "ulimit -q 100 2>/dev/null || prlimit --pid $$ --msgqueue=100".into();
            limited.run(&posix).end().expect(1).says("RLIMIT_MSGQUEUE");
        }
    }

    impl Limited {
        /// The queue goes with its namespace, and the registry that led to it stays.
        fn left_registry(mut self) -> Limited {
            let registry = format!("{}.mq", self.sandbox.name());
            self.sandbox.may_stay(&registry);
            self
        }
    }

    #[test]
    fn a_limit_that_is_lowered_under_a_running_producer_is_named() {
        if !geteuid().is_root() {
            println!("skipped: only root can change the limits, in a namespace of its own");
            return;
        }
        let queues = Queues::new();
        // The shell and its child share the namespace; the limit changes once the first item is in the queue.
        let script = "\"$@\" & read go; echo 50 > /proc/sys/kernel/msgmax; wait $!";
        let mut command = Command::new("unshare");
        command.args(["-i", "sh", "-c", script, "sh", SYSV.producer, "--interval", "300ms"]);
        command.args(["--count", "0", "--name", queues.0.name()]).env("XDG_RUNTIME_DIR", queues.0.dir());
        let (go, ours) = std::io::pipe().expect("pipe");
        command.stdin(go).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let shell = Process::follow(command);
        shell.wait_for_stdout("sent #0");
        drop(ours);
        let ended = shell.end_within(SOON).expect(1);
        ended.says("a message of 96 bytes is over the limit kernel.msgmax = 50");
        // The queue has gone with its namespace, and the registry leads nowhere.
        queues.producer(&SYSV, &args(&burst("1"), &["--quiet"])).end().expect(0);
        queues.consumer(&SYSV, &["--json"]).end().expect(0).all_well(1);
    }
}
