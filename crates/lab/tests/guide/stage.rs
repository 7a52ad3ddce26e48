//! Where a scene is played: terminals with real shells, in a world of their own.
//!
//! A terminal is an interactive bash on a pseudo-terminal: jobs, Ctrl-C and "Killed" are the real ones. Only standard
//! output and error go into a pipe, one for both so that their order is kept; so programs see that nobody watches,
//! and print plain lines.
//!
//! Where the system allows it (root, or user namespaces), a stage has namespaces of its own for processes, System V
//! and POSIX IPC, mounts and the network, and the shells belong to an ordinary user with id 1000. The names that the
//! scene uses clash with nobody's then, no `kill` can hit a stranger, and what is left behind is seen exactly. Elsewhere
//! the scene is played on the machine as it is, alone, and only what has a name that the scene gave is looked for.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::{Pid, geteuid};

use crate::matcher::{Bindings, substitute};
use crate::page::top;

/// Stands around the exit status in the shell's prompt.
const PROMPT: (char, char) = ('\x1e', '\x1f');

/// The command `cargo` on a stage: it runs what was built, in the place of itself as the real one does.
const CARGO: &str = r#"#!/bin/sh
dir=@BIN@
[ "$1" = run ] || { echo "the guide's stage only has cargo run" >&2; exit 101; }
shift
while :; do
  case $1 in
    --release|--quiet|-q) shift;;
    --bin) name=$2; shift 2;;
    --example) name=examples/$2; shift 2;;
    -p|--package) shift 2;;
    --) shift; break;;
    "") break;;
    *) echo "error: unexpected argument '$1' found" >&2; exit 1;;
  esac
done
[ -x "$dir/$name" ] || { echo "error: no bin target named \`$name\`" >&2; exit 101; }
exec "$dir/$name" "$@"
"#;

/// Prepares the namespaces from within, says so, and stays until its standard input ends.
const SETUP: &str = r#"
set -e
mount -t tmpfs -o mode=1777,size=256m shm /dev/shm
[ ! -d /dev/mqueue ] || mount -t mqueue mqueue /dev/mqueue || true
[ -z "$LOOPBACK" ] || ip link set lo up
mount --bind "$BIN" "$STAGE/bin"
if [ -n "$NEST" ]; then
  # Who is not root is root here. The shells must not be: they are in a second user namespace, all in the same.
  unshare --user --map-user=1000 --map-group=1000 sleep infinity &
  until grep -q . /proc/$!/uid_map; do sleep 0.01; done
fi
echo 4700 > /proc/sys/kernel/ns_last_pid || true
echo ready $!
exec cat
"#;

/// The directory of the binaries, built if they were not.
pub fn binaries() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = Path::new(env!("CARGO_BIN_EXE_ipc-lab")).parent().expect("a directory").to_owned();
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(top()).args(["build", "--quiet", "--offline", "--workspace", "--bins"]);
        if dir.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("run cargo").success(), "the binaries could not be built");
        dir
    })
}

pub struct Stage {
    dir: tempfile::TempDir,
    /// The process that holds the namespaces, and what it waits for.
    world: Option<(Child, Option<ChildStdin>)>,
    /// Its process id: of the child of `unshare`.
    holder: u32,
    /// The process, as seen in the world, whose user namespace the shells enter; empty if they need none.
    nested: String,
    has_net: bool,
    terminals: Vec<Terminal>,
    before: BTreeSet<String>,
    /// Without a world of its own a scene is played alone: others use the same names.
    _alone: Option<MutexGuard<'static, ()>>,
}

static ALONE: Mutex<()> = Mutex::new(());

impl Stage {
    pub fn new() -> Stage {
        let dir = tempfile::Builder::new().prefix("ipc-guide-").tempdir().expect("a directory");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("chmod");
        let at = |name: &str| dir.path().join(name);
        for name in ["run", "work", "tmp", "bin", "path"] {
            fs::create_dir(at(name)).expect("mkdir");
        }
        fs::set_permissions(at("run"), fs::Permissions::from_mode(0o700)).expect("chmod");
        for name in ["README.md", "Cargo.toml", "Cargo.lock", "Makefile", "docs", "crates"] {
            copy(&top().join(name), &at("work").join(name));
        }
        let mut stage = Stage {
            dir,
            world: None,
            holder: 0,
            nested: String::new(),
            has_net: false,
            terminals: Vec::new(),
            before: BTreeSet::new(),
            _alone: None,
        };
        stage.make_world();
        if stage.world.is_none() {
            stage._alone = Some(ALONE.lock().unwrap_or_else(PoisonError::into_inner));
        }
        let bin = if stage.world.is_some() { at_dir(&stage.dir, "bin") } else { binaries().to_owned() };
        let cargo = at_dir(&stage.dir, "path").join("cargo");
        fs::write(&cargo, CARGO.replace("@BIN@", bin.to_str().expect("UTF-8"))).expect("write");
        fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("chmod");
        stage.before = stage.objects();
        stage
    }

    /// The user that the shells belong to.
    pub fn user(&self) -> u32 {
        if self.world.is_some() { 1000 } else { geteuid().as_raw() }
    }

    fn make_world(&mut self) {
        if std::env::var_os("GUIDE_NO_NAMESPACES").is_some() {
            return;
        }
        let has_ip = Command::new("ip").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        let nest = if geteuid().is_root() { "" } else { "yes" };
        let loopback = if has_ip.is_ok_and(|s| s.success()) { "yes" } else { "" };
        let mut unshare = Command::new("unshare");
        unshare.args(["--ipc", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        if !loopback.is_empty() {
            unshare.arg("--net");
        }
        if geteuid().is_root() {
            for name in ["run", "work", "tmp"] {
                chown(&at_dir(&self.dir, name));
            }
        } else {
            unshare.args(["--user", "--map-root-user"]);
        }
        unshare.args(["bash", "--noprofile", "--norc", "-c", SETUP]);
        unshare
            .env("STAGE", self.dir.path())
            .env("BIN", binaries())
            .env("LOOPBACK", loopback)
            .env("NEST", nest);
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut child) = unshare.spawn() else { return };
        let mut line = String::new();
        let _ = BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line);
        let stdin = child.stdin.take();
        let Some(nested) = line.strip_prefix("ready") else {
            drop(stdin);
            let _ = child.wait();
            return;
        };
        self.nested = nested.trim().to_owned();
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let children = fs::read_to_string(children).expect("it runs");
        self.holder = children.trim().parse().expect("one child");
        self.has_net = !loopback.is_empty();
        self.world = Some((child, stdin));
    }

    /// A command that runs another in the stage's world, as its user.
    fn command(&self, wrapped: &[&str]) -> Command {
        let mut words: Vec<String> = Vec::new();
        if self.world.is_some() {
            let target = self.holder.to_string();
            words.extend(["nsenter", "--target", &target, "--ipc", "--mount", "--pid"].map(String::from));
            if self.has_net {
                words.push("--net".into());
            }
            if !geteuid().is_root() {
                words.extend(["--user", "--preserve-credentials"].map(String::from));
            }
            words.push("--".into());
        }
        // Entering a world begins at its root.
        words.extend(["env".into(), format!("--chdir={}", at_dir(&self.dir, "work").display())]);
        words.extend(wrapped.iter().map(|w| w.to_string()));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear();
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", at_dir(&self.dir, "path").display()));
        for (key, value) in [("LC_ALL", "C.UTF-8"), ("TERM", "dumb"), ("HISTFILE", ""), ("PS2", "")] {
            command.env(key, value);
        }
        command.env("PS1", format!("{}$?{}", PROMPT.0, PROMPT.1));
        command.env("XDG_RUNTIME_DIR", at_dir(&self.dir, "run")).env("TMPDIR", at_dir(&self.dir, "tmp"));
        command
    }

    /// Words that become the stage's user before what they stand before.
    fn user_words(&self) -> Vec<&str> {
        match (self.world.is_some(), self.nested.as_str()) {
            (false, _) => vec![],
            (true, "") => vec!["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"],
            (true, nested) => vec!["nsenter", "--target", nested, "--user", "--preserve-credentials", "--"],
        }
    }

    /// The terminal of that name, opened if there is none.
    pub fn terminal(&mut self, name: &str) -> &mut Terminal {
        let at = match self.terminals.iter().position(|t| t.name == name) {
            Some(at) => at,
            None => {
                let shell = [
                    vec!["setsid", "--ctty"],
                    self.user_words(),
                    vec!["bash", "--noprofile", "--norc", "--noediting", "-i"],
                ];
                let command = self.command(&shell.concat());
                let hidden = [
                    (at_dir(&self.dir, "run").display().to_string(), "/run/user/1000".to_owned()),
                    (format!("ipc-lab-{}-", self.user()), "ipc-lab-1000-".to_owned()),
                ];
                self.terminals.push(Terminal::open(name, command, hidden));
                self.terminals.len() - 1
            }
        };
        &mut self.terminals[at]
    }

    pub fn terminals(&self) -> &[Terminal] {
        &self.terminals
    }

    /// What the scene's processes made and have not removed.
    pub fn left(&self) -> Vec<String> {
        let mut left: Vec<String> = self.objects().difference(&self.before).cloned().collect();
        if self.world.is_none() {
            // Others make objects too: only those are the scene's for certain that have a name that it gave.
            let typed = self.terminals.iter().flat_map(|t| &t.typed).map(|(line, _)| line.as_str());
            let words: Vec<&str> = typed.flat_map(str::split_whitespace).collect();
            let names = words.windows(2).filter(|two| two[0] == "--name").map(|two| two[1]);
            let names: Vec<String> = names.chain(["demo"]).map(|name| format!("-{name}")).collect();
            let named = |path: &String| names.iter().any(|name| path.ends_with(name.as_str()));
            left.retain(|path| path.starts_with("/run/user/1000/") || named(path));
        }
        left
    }

    /// Removes what is meant to stay, as the process that left it said.
    pub fn remove_what_stays(&self) {
        let said: String = self.terminals.iter().map(Terminal::transcript).collect();
        let commands = |words| said.lines().filter_map(move |line| Some(line.split_once(words)?.1));
        let run = |command| {
            let Ok(command) = substitute(command, &HashSet::new(), &Bindings::default(), self.user()) else {
                return;
            };
            // It fails, or waits in vain, if the scene has removed it.
            let shell = [self.user_words(), vec!["timeout", "10", "bash", "-c", &command]].concat();
            let _ = self.command(&shell).output();
        };
        for command in commands("remove it with: ") {
            if self.left().is_empty() {
                return;
            }
            if command.starts_with("mount ") && self.world.is_some() {
                // No /dev/mqueue here: then the other way out that was named.
                commands("take what is there with: ").for_each(run);
            }
            run(command);
        }
    }

    /// The names of all objects that IPC leaves on a machine.
    fn objects(&self) -> BTreeSet<String> {
        let mut objects = BTreeSet::new();
        let script = r#"cd "$XDG_RUNTIME_DIR" && for f in * .[!.]*; do [ -e "$f" ] && echo "/run/user/1000/$f"; done
            for f in /dev/shm/* /dev/mqueue/*; do [ -e "$f" ] && echo "$f"; done
            for kind in msg sem shm; do
              while read -r key id rest; do [ "$key" = key ] || echo "System V $kind $id"; done < /proc/sysvipc/$kind
            done"#;
        let output = self.command(&["bash", "-c", script]).output().expect("run bash");
        objects.extend(String::from_utf8_lossy(&output.stdout).lines().map(String::from));
        objects
    }

    /// The processes that still run in the scene's terminals, besides the shells.
    pub fn running(&self) -> Vec<String> {
        let mut running = Vec::new();
        for terminal in &self.terminals {
            running.extend(terminal.processes().into_iter().filter(|p| !p.is_shell).map(|p| p.command));
        }
        running
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for terminal in &mut self.terminals {
            for process in terminal.processes() {
                let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
            }
        }
        if let Some((mut child, stdin)) = self.world.take() {
            // The first process of its namespace: all others there go with it.
            let _ = kill(Pid::from_raw(self.holder as i32), Signal::SIGKILL);
            drop(stdin);
            let _ = child.wait();
        }
        for terminal in &mut self.terminals {
            let _ = terminal.child.kill();
            let _ = terminal.child.wait();
        }
    }
}

fn at_dir(dir: &tempfile::TempDir, name: &str) -> PathBuf {
    dir.path().join(name)
}

/// Whether a process ignores a signal.
fn ignores(pid: i32, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal as i32 - 1) & 1 == 1
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir(to).expect("mkdir");
        for entry in fs::read_dir(from).expect("a directory").flatten() {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).expect("copy");
    }
}

fn chown(path: &Path) {
    std::os::unix::fs::chown(path, Some(1000), Some(1000)).expect("chown");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory").flatten() {
            chown(&entry.path());
        }
    }
}

/// What a terminal has printed.
#[derive(Default)]
struct Screen {
    bytes: Mutex<Vec<u8>>,
    news: Condvar,
}

pub struct Terminal {
    pub name: String,
    child: Child,
    /// Our side of the pseudo-terminal: what is typed.
    master: File,
    /// The terminal's device number, by which its processes are found.
    device: u64,
    screen: Arc<Screen>,
    hidden: [(String, String); 2],
    /// What was typed, and where in `screen` its output begins.
    typed: Vec<(String, usize)>,
}

struct Process {
    pid: i32,
    is_shell: bool,
    command: String,
}

/// What a terminal has printed since the last command was typed.
#[derive(Debug, Default)]
pub struct Output {
    /// The whole lines; with the prompt, also what stands before it.
    pub lines: Vec<String>,
    /// The exit status in the prompt, if it has come back.
    pub prompt: Option<i32>,
}

impl Terminal {
    fn open(name: &str, mut command: Command, hidden: [(String, String); 2]) -> Terminal {
        let size = Winsize { ws_row: 50, ws_col: 110, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).expect("a pseudo-terminal");
        let mut mode = tcgetattr(&pty.slave).expect("a terminal");
        // Nobody reads what it would echo.
        mode.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&pty.slave, SetArg::TCSANOW, &mode).expect("a terminal");
        let slave = File::from(pty.slave);
        let device = slave.metadata().expect("fstat").rdev();
        let (mut from, to) = std::io::pipe().expect("a pipe");
        command.stdin(slave).stdout(to.try_clone().expect("dup")).stderr(to);
        let child = command.spawn().expect("start a shell");
        drop(command); // and with it our copies of the pipe's write end
        let screen = Arc::new(Screen::default());
        let writer = screen.clone();
        std::thread::spawn(move || {
            let mut piece = [0; 65536];
            while let Ok(n @ 1..) = from.read(&mut piece) {
                writer.bytes.lock().expect("the screen").extend_from_slice(&piece[..n]);
                writer.news.notify_all();
            }
        });
        let master = File::from(pty.master);
        let terminal =
            Terminal { name: name.to_owned(), child, master, device, screen, hidden, typed: Vec::new() };
        let deadline = Instant::now() + Duration::from_secs(60);
        while terminal.output().prompt.is_none() {
            assert!(Instant::now() < deadline, "no shell came: {:?}", terminal.output());
            terminal.wait(Duration::from_millis(50));
        }
        terminal
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) {
        let since = self.screen.bytes.lock().expect("the screen").len();
        self.typed.push((line.to_owned(), since));
        self.master.write_all(format!("{line}\n").as_bytes()).expect("the shell reads");
    }

    /// Types Ctrl and a key, once a command is in the foreground.
    pub fn control(&mut self, key: char, deadline: Instant) {
        let shell = || self.processes().iter().find(|p| p.is_shell).map(|p| p.pid);
        let foreground = || nix::unistd::tcgetpgrp(self.master.as_fd()).ok().map(Pid::as_raw);
        // A child is in the foreground a moment before it stops ignoring what its shell ignores.
        let ready =
            || foreground() != shell() && foreground().is_some_and(|pid| !ignores(pid, Signal::SIGTSTP));
        while !ready() && Instant::now() < deadline {
            self.wait(Duration::from_millis(5));
        }
        self.master.write_all(&[key as u8 & 0x1f]).expect("the shell reads");
    }

    /// Waits until something may have changed.
    pub fn wait(&self, at_most: Duration) {
        let bytes = self.screen.bytes.lock().expect("the screen");
        drop(self.screen.news.wait_timeout(bytes, at_most).expect("the screen"));
    }

    /// What has come since the last command was typed.
    pub fn output(&self) -> Output {
        let since = self.typed.last().map_or(0, |typed| typed.1);
        self.read(&self.screen.bytes.lock().expect("the screen")[since..])
    }

    /// All that was typed here, and what came: as the guide would show it.
    pub fn transcript(&self) -> String {
        let bytes = self.screen.bytes.lock().expect("the screen");
        let mut text =
            if self.name.starts_with("Terminal") { format!("# {}\n", self.name) } else { String::new() };
        let ends = self.typed.iter().skip(1).map(|typed| typed.1).chain([bytes.len()]);
        for ((line, since), end) in self.typed.iter().zip(ends) {
            let _ = writeln!(text, "$ {}", line.replace('\n', "\n> "));
            for line in self.read(&bytes[*since..end]).lines {
                let _ = writeln!(text, "{line}");
            }
        }
        text
    }

    fn read(&self, bytes: &[u8]) -> Output {
        let mut text = String::new();
        let mut prompt = None;
        for (i, part) in String::from_utf8_lossy(bytes).split(PROMPT.0).enumerate() {
            match part.split_once(PROMPT.1) {
                Some((status, rest)) if i > 0 => {
                    prompt = Some(status.parse().unwrap_or(-1));
                    // What a command leaves without a newline is a line all the same.
                    if !text.is_empty() && !text.ends_with('\n') {
                        text.push('\n');
                    }
                    text.push_str(rest);
                }
                _ => text.push_str(part),
            }
        }
        for (from, to) in &self.hidden {
            text = text.replace(from, to);
        }
        let whole = text.rfind('\n').map_or("", |at| &text[..=at]);
        Output { lines: whole.lines().map(String::from).collect(), prompt }
    }

    /// Whether the shell has its prompt back and nothing runs in the background.
    pub fn is_idle(&self) -> bool {
        self.output().prompt.is_some() && self.processes().iter().all(|p| p.is_shell)
    }

    fn processes(&self) -> Vec<Process> {
        let mut processes = Vec::new();
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            let Some((_, fields)) = stat.rsplit_once(") ") else { continue };
            let fields: Vec<&str> = fields.split(' ').collect();
            // state, parent, group, session, terminal; a zombie has ended.
            if fields[0] == "Z" || fields[4].parse() != Ok(self.device) {
                continue;
            }
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let mut command = String::new();
            let _ = write!(command, "{} in {}", line.trim(), self.label());
            processes.push(Process { pid, is_shell: fields[3].parse() == Ok(pid), command });
        }
        processes
    }

    /// `Terminal 1`, or `the terminal` of a scene that has only one.
    pub fn label(&self) -> &str {
        if self.name.is_empty() { "the terminal" } else { &self.name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(terminal: &mut Terminal, line: &str) -> (Vec<String>, i32) {
        terminal.type_line(line);
        prompt(terminal)
    }

    fn prompt(terminal: &Terminal) -> (Vec<String>, i32) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let output = terminal.output();
            if let Some(status) = output.prompt {
                return (output.lines, status);
            }
            assert!(Instant::now() < deadline, "{output:?}");
            terminal.wait(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_terminal_is_a_real_shell() {
        let mut stage = Stage::new();
        let user = stage.user().to_string();
        let terminal = stage.terminal("Terminal 1");
        assert_eq!(run(terminal, "id -u; false"), (vec![user], 1));
        assert_eq!(run(terminal, "echo $?; printf x"), (vec!["1".into(), "x".into()], 0));
        assert_eq!(run(terminal, "bash -c 'echo a; kill -9 $$'"), (vec!["a".into(), "Killed".into()], 137));
        assert_eq!(run(terminal, "echo $XDG_RUNTIME_DIR").0, ["/run/user/1000"]);
        assert_eq!(run(terminal, "cargo run --bin no-such; cargo test").1, 101);
        assert_eq!(run(terminal, "cargo run --bin pipe-producer -- --version").1, 0);
        terminal.type_line("sleep 1000");
        terminal.control('C', Instant::now() + Duration::from_secs(30));
        assert_eq!(prompt(terminal).1, 130);
        assert!(terminal.is_idle());
        run(terminal, "sleep 1000 &");
        assert!(!terminal.is_idle());
        // The shell has forked, and becomes it in its own time.
        let deadline = Instant::now() + Duration::from_secs(30);
        while stage.running() != ["sleep 1000 in Terminal 1"] {
            assert!(Instant::now() < deadline, "{:?}", stage.running());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn what_is_left_is_seen() {
        let mut stage = Stage::new();
        assert_eq!(stage.left(), [""; 0]);
        let name = format!("guide-{}", std::process::id());
        let user = stage.user();
        let make = format!("touch /dev/shm/ipc-lab-{user}-{name} $XDG_RUNTIME_DIR/x # --name {name}");
        run(stage.terminal(""), &make);
        let object = format!("/dev/shm/ipc-lab-{user}-{name}");
        assert_eq!(stage.left(), [object.clone(), "/run/user/1000/x".into()]);
        run(stage.terminal(""), &format!("rm {object} $XDG_RUNTIME_DIR/x"));
        assert_eq!(stage.left(), [""; 0]);
        if stage.world.is_some() {
            run(stage.terminal(""), "ipcmk -Q; touch /dev/shm/whatever");
            assert_eq!(stage.left(), ["/dev/shm/whatever", "System V msg 0"]);
        }
    }
}
