//! Where the figures come from: machine, kernel and build, and what else ran meanwhile.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::sys::utsname::uname;
use serde_json::{Value, json};

use crate::bench::before;

/// What does not change during a run.
#[derive(Debug)]
pub struct Machine {
    cpu: String,
    cpus: usize,
    virtual_machine: bool,
    kernel: String,
    load: String,
}

impl Machine {
    /// This one, now.
    pub fn look() -> Result<Machine> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let line = |key| cpuinfo.lines().find(|l| l.starts_with(key)).and_then(|l| l.split_once(':'));
        let system = uname()?;
        let text = |s: &std::ffi::OsStr| s.to_string_lossy().into_owned();
        let model = line("model name").or_else(|| line("Model")).map(|(_, name)| name.trim().to_owned());
        Ok(Machine {
            cpu: model.unwrap_or_else(|| text(system.machine())),
            cpus: before::allowed()?.len(),
            virtual_machine: line("flags").is_some_and(|(_, flags)| flags.contains(" hypervisor")),
            kernel: format!(
                "{} {} {}",
                text(system.sysname()),
                text(system.release()),
                text(system.machine())
            ),
            load: fs::read_to_string("/proc/loadavg")?.split(' ').take(3).collect::<Vec<_>>().join(" "),
        })
    }

    /// In one line.
    pub fn text(&self) -> String {
        let kind = if self.virtual_machine { ", a virtual machine" } else { "" };
        let cpus = if self.cpus == 1 { "CPU" } else { "CPUs" };
        format!(
            "{} {cpus}: {}{kind}; {}; load before {}; {}",
            self.cpus,
            self.cpu,
            self.kernel,
            self.load,
            build()
        )
    }

    /// For the file.
    pub fn json(&self) -> Value {
        json!({
            "cpu": self.cpu, "cpus": self.cpus, "virtual_machine": self.virtual_machine,
            "kernel": self.kernel, "load_before": self.load, "build": build(),
        })
    }
}

fn build() -> String {
    format!("release build {} by {}", env!("CARGO_PKG_VERSION"), env!("LAB_RUSTC"))
}

/// A look at the clocks that count what the CPUs do.
#[derive(Debug)]
pub struct Clocks {
    at: Instant,
    cpus: f64,
    /// Ticks of all CPUs: all, and those in which a CPU was idle, or taken away by the hypervisor.
    all: f64,
    idle: f64,
    stolen: f64,
    /// What this process and its children have used.
    ours: Duration,
}

impl Clocks {
    /// Reads them. A child counts once it was waited for.
    pub fn read() -> Result<Clocks> {
        let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
        // cpu user nice system idle iowait irq softirq steal …
        let ticks: Vec<f64> =
            stat.lines().next().unwrap_or_default().split_whitespace().flat_map(str::parse).take(8).collect();
        let at = |i: usize| ticks.get(i).copied().unwrap_or(0.0);
        let mut ours = 0;
        for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
            let usage = getrusage(who)?;
            ours += (usage.user_time() + usage.system_time()).num_microseconds();
        }
        Ok(Clocks {
            at: Instant::now(),
            cpus: stat.lines().skip(1).take_while(|l| l.starts_with("cpu")).count().max(1) as f64,
            all: ticks.iter().sum(),
            idle: at(3) + at(4),
            stolen: at(7),
            ours: Duration::from_micros(ours as u64),
        })
    }

    /// Which part of the time of all CPUs others have used since then, on this machine and beside it.
    pub fn others_since(&self) -> Result<Others> {
        let now = Clocks::read()?;
        let all = (now.all - self.all).max(1.0);
        let stolen = (now.stolen - self.stolen) / all;
        let busy = 1.0 - (now.idle - self.idle) / all - stolen;
        let time = (now.at - self.at).as_secs_f64() * now.cpus;
        let ours = (now.ours - self.ours).as_secs_f64() / time;
        Ok(Others { busy: (busy - ours).max(0.0), stolen })
    }
}

/// What others have used, as parts of 1.
#[derive(Clone, Copy, Debug)]
pub struct Others {
    /// Other programs of this machine.
    pub busy: f64,
    /// Other machines on the same hardware.
    pub stolen: f64,
}

impl Others {
    /// For the file.
    pub fn json(&self) -> Value {
        json!({"busy": self.busy, "stolen": self.stolen})
    }
}
