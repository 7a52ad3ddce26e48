//! Limits: the kernel keeps messages in its own memory, and gives only so much of it.
//!
//! | family | what is limited | who may go beyond |
//! |---|---|---|
//! | System V | bytes of a message, bytes of a queue, queues | of a queue's bytes: `CAP_SYS_RESOURCE` |
//! | POSIX | messages of a queue, bytes of a message, queues | `CAP_SYS_RESOURCE`, up to the kernel's own ceilings |
//! | POSIX | bytes of all queues of a user | nobody; `CAP_SYS_RESOURCE` can raise it |
//!
//! Root has `CAP_SYS_RESOURCE` as a rule, but not in every container; capabilities(7).
//! The first six belong to an IPC namespace (ipc_namespaces(7)): a container may have others than its host. The
//! last belongs to the process, and what it counts to the user.
//!
//! See also: sysvipc(7), msgget(2), msgop(2), mq_overview(7), getrlimit(2).

use std::fmt;
use std::fs;

/// One limit of this machine, as this process finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// `kernel.msgmax`, `RLIMIT_MSGQUEUE`, …
    pub name: &'static str,
    /// Its value, or `unknown` where `/proc` does not tell.
    pub value: String,
    /// What it counts.
    pub counts: &'static str,
    /// Where it is set.
    pub set: String,
    /// What happens beyond it.
    pub beyond: &'static str,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limit { name, value, counts, set, beyond } = self;
        write!(f, "{name} = {value}  {counts}\n    set:    {set}\n    beyond: {beyond}")
    }
}

/// The limits of System V queues.
pub fn sysv() -> [Limit; 3] {
    [
        sysctl(
            "kernel.msgmax",
            "bytes of a message",
            "msgsnd fails with EINVAL, for root too; no queue is made for longer ones (exit 2)",
        ),
        sysctl(
            "kernel.msgmnb",
            "bytes that a new queue holds",
            "msgsnd waits until there is room (\"blocked: queue full\"); msgctl(IPC_SET) for a larger queue \
             fails with EPERM, unless with CAP_SYS_RESOURCE (exit 1)",
        ),
        sysctl("kernel.msgmni", "queues", "msgget fails with ENOSPC, for root too (exit 1)"),
    ]
}

/// The limits of POSIX queues.
pub fn posix() -> [Limit; 4] {
    [
        sysctl(
            "fs.mqueue.msg_max",
            "messages of a queue",
            "mq_open fails with EINVAL, unless with CAP_SYS_RESOURCE (exit 1)",
        ),
        sysctl(
            "fs.mqueue.msgsize_max",
            "bytes of a message",
            "mq_open fails with EINVAL; with CAP_SYS_RESOURCE only over 16 MiB (exit 2)",
        ),
        sysctl("fs.mqueue.queues_max", "queues", "mq_open fails with ENOSPC, unless with CAP_SYS_RESOURCE (exit 1)"),
        Limit {
            name: "RLIMIT_MSGQUEUE",
            value: rlimit().unwrap_or("unknown".into()),
            counts: "bytes of all queues of this user, counted when they are made, as if they were full",
            set: "by ulimit -q and prlimit --msgqueue, for a process and its children; raised with CAP_SYS_RESOURCE".into(),
            beyond: "mq_open fails with EMFILE, for root too (exit 1)",
        },
    ]
}

fn sysctl(name: &'static str, counts: &'static str, beyond: &'static str) -> Limit {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    let value = fs::read_to_string(&path).map_or("unknown".into(), |text| text.trim().to_owned());
    Limit { name, value, counts, set: format!("in {path}, by sysctl -w {name}=N"), beyond }
}

/// The soft limit, which is the one that counts: the line has two columns, the second is the hard one.
fn rlimit() -> Option<String> {
    let all = fs::read_to_string("/proc/self/limits").ok()?;
    let columns = all.lines().find_map(|line| line.strip_prefix("Max msgqueue size"))?;
    columns.split_whitespace().next().map(str::to_owned)
}
