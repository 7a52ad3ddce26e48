//! Between two machines: two network namespaces, each with its own addresses, ports and abstract names, and a cable
//! (a pair of virtual Ethernet devices) between them. Only root can lay it.

use std::process::Command;

use common::testkit::{Process, Sandbox};
use nix::unistd::geteuid;

const PRODUCER: &str = env!("CARGO_BIN_EXE_socket-producer");
const CONSUMER: &str = env!("CARGO_BIN_EXE_socket-consumer");

/// Two hosts, 10.77.0.1 and 10.77.0.2 (fd77::1 and fd77::2).
struct Hosts([String; 2]);

impl Hosts {
    /// `None` if they cannot be made here, and why is said.
    fn new(test: &str) -> Option<Hosts> {
        if !geteuid().is_root() {
            eprintln!("skipped: only root can make network namespaces");
            return None;
        }
        // Dropped whatever happens, so that also half of them is removed.
        let hosts = Hosts([1, 2].map(|n| format!("ipc-{}-{test}-{n}", std::process::id())));
        let [a, b] = &hosts.0;
        let mut steps: Vec<String> = [a, b].map(|host| format!("netns add {host}")).into();
        steps.push(format!("link add eth0 netns {a} type veth peer name eth0 netns {b}"));
        for (n, host) in [(1, a), (2, b)] {
            steps.push(format!("-n {host} addr add 10.77.0.{n}/24 dev eth0"));
            // Without looking whether another has the address, which takes a second.
            steps.push(format!("-n {host} addr add fd77::{n}/64 dev eth0 nodad"));
            steps.push(format!("-n {host} link set lo up"));
            steps.push(format!("-n {host} link set eth0 up"));
        }
        for step in steps {
            let done = Command::new("ip").args(step.split(' ')).output();
            let why = match done {
                Ok(done) if done.status.success() => continue,
                Ok(done) => String::from_utf8_lossy(&done.stderr).into_owned(),
                Err(e) => e.to_string(),
            };
            eprintln!("skipped: ip {step}: {}", why.trim());
            return None;
        }
        Some(hosts)
    }

    /// Cuts the cable between them ("down"), or mends it ("up").
    fn cable(&self, state: &str) {
        let args = ["-n", &self.0[0], "link", "set", "eth0", state];
        assert!(Command::new("ip").args(args).status().expect("run ip").success(), "set the link {state}");
    }

    /// Starts a binary on one of the two.
    fn start(&self, host: usize, sandbox: &Sandbox, binary: &str, args: &[&str]) -> Process {
        let mut command = sandbox.command("ip");
        command.args(["netns", "exec", &self.0[host], binary, "--name", sandbox.name()]).args(args);
        command.stdin(std::process::Stdio::null());
        Process::spawn(command)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in &self.0 {
            // With its last process, which is killed by then, goes the namespace, and its devices with it.
            let _ = Command::new("ip").args(["netns", "delete", host]).output();
        }
    }
}

#[test]
fn items_cross_from_one_host_to_the_other() {
    let Some(hosts) = Hosts::new("cross") else { return };
    for (transport, addr) in [
        ("tcp", "10.77.0.2:7411"),
        ("udp", "10.77.0.2:7411"),
        ("tcp", "[fd77::2]:7411"),
        ("udp", "[fd77::2]:7411"),
        ("udp", "0.0.0.0:7411"),
    ] {
        let sandbox = Sandbox::new();
        let both = ["--transport", transport, "--addr", addr];
        let with = |more: &[&'static str]| [&both[..], more].concat();
        hosts.start(1, &sandbox, CONSUMER, &both).end().expect(2).says("--allow-remote");
        let consumer = hosts.start(1, &sandbox, CONSUMER, &with(&["--allow-remote", "--json"]));
        consumer.wait_for_stderr("there is no authentication").wait_for_stderr("waiting for a producer");
        let to = addr.replace("0.0.0.0", "10.77.0.2");
        let send = ["--transport", transport, "--addr", &to, "--count", "100", "--interval", "0", "--json"];
        assert_eq!(hosts.start(0, &sandbox, PRODUCER, &send).end().expect(0).number("items"), 100);
        let ended = consumer.end().expect(0);
        ended.all_well(100);
        assert_eq!(ended.json()["variant"], transport);
    }
}

#[test]
fn either_host_can_be_first() {
    let Some(hosts) = Hosts::new("first") else { return };
    for transport in ["tcp", "udp"] {
        let sandbox = Sandbox::new();
        let both = ["--transport", transport, "--addr", "10.77.0.2:7411"];
        let producer =
            hosts.start(0, &sandbox, PRODUCER, &[&both[..], &["--count", "5", "--interval", "0"]].concat());
        producer.wait_for_stderr("waiting for a consumer");
        let consumer =
            hosts.start(1, &sandbox, CONSUMER, &[&both[..], &["--allow-remote", "--json"]].concat());
        producer.end().expect(0);
        consumer.end().expect(0).all_well(5);
    }
}

#[test]
fn what_belongs_to_one_host_is_not_seen_by_the_other() {
    let Some(hosts) = Hosts::new("apart") else { return };
    // Both have a 127.0.0.1 and an abstract namespace of their own. (A path is the file system's, which they share.)
    for both in [&["--transport", "tcp"][..], &["--transport", "udp"], &["--transport", "abstract"]] {
        let sandbox = Sandbox::new();
        let consumer = hosts.start(1, &sandbox, CONSUMER, &[both, &["--json"]].concat());
        consumer.wait_for_stderr("waiting for a producer");
        let late = [both, &["--timeout", "500ms"]].concat();
        hosts.start(0, &sandbox, PRODUCER, &late).end().expect(3).says("no socket-consumer came");
        hosts.start(1, &sandbox, PRODUCER, &[both, &["--count", "1"]].concat()).end().expect(0);
        consumer.end().expect(0).all_well(1);
    }
}

#[test]
fn a_cable_that_is_cut_is_given_up_at_the_timeout() {
    let Some(hosts) = Hosts::new("cut") else { return };
    for (transport, size) in [("tcp", "64KiB"), ("udp", "64")] {
        let sandbox = Sandbox::new();
        let both = ["--transport", transport, "--addr", "10.77.0.2:7411", "--timeout", "1s"];
        let with = |more: &[&'static str]| [&both[..], more].concat();
        let consumer = hosts.start(1, &sandbox, CONSUMER, &with(&["--allow-remote"]));
        let producer =
            hosts.start(0, &sandbox, PRODUCER, &with(&["--count", "0", "--interval", "1ms", "--size", size]));
        consumer.wait_for_stdout("received #20");
        hosts.cable("down");
        consumer.end().expect(3).says("--timeout");
        // The producer learns nothing: what it writes goes into a buffer. With tcp that is full at last; a datagram
        // that nobody takes is as good as any other.
        match transport {
            "tcp" => drop(producer.end().expect(3).says("--timeout")),
            _ => drop(producer),
        }
        hosts.cable("up");
        let consumer = hosts.start(1, &sandbox, CONSUMER, &with(&["--allow-remote", "--json"]));
        let again = with(&["--count", "5", "--interval", "0"]);
        hosts.start(0, &sandbox, PRODUCER, &again).end().expect(0);
        consumer.end().expect(0).all_well(5);
    }
}
