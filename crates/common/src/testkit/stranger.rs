//! Another user of this machine, who was there first, or would like to have a look. `stranger_tests!` makes tests of
//! that for a [`Pair`], both ways: root's pair and what `nobody` left for it, and the other way round.
//!
//! Only root can be two users; for others these tests say that they were skipped. Each runs in name spaces of its
//! own: /tmp, /dev/shm and the queues are empty at its beginning, and not this machine's.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, geteuid, mkfifo, setfsgid, setfsuid};

use super::{Outcome, Pair, SOON, Sandbox};

/// The tests that every pair passes in every variant: `stranger_tests!(module, PAIR, &[where its objects are])`.
#[macro_export]
macro_rules! stranger_tests {
    ($module:ident, $pair:expr, $spots:expr) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;
            use $crate::testkit::stranger;

            #[test]
            fn what_a_stranger_planted_is_refused_and_left_as_it_is() {
                stranger::planted(&$pair, $spots);
            }
            #[test]
            fn a_directory_that_a_stranger_made_is_not_used() {
                stranger::directory(&$pair);
            }
            #[test]
            fn two_users_have_a_channel_each_and_neither_gets_at_the_others() {
                stranger::neighbours(&$pair, $spots);
            }
        }
    };
}

const NOBODY: u32 = 65534;
/// Who is attacked, and who attacks.
const BOTH_WAYS: [(u32, u32); 2] = [(NOBODY, 0), (0, NOBODY)];
/// Queues have no names in the file system but those that are mounted.
const QUEUES: &str = "/tmp/queues";
/// Everybody may write there.
const PUBLIC: &str = "/tmp/public";

/// A place where an object of a pair's will be, and something else could have been put before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    /// `NAME.ENDING` in the run-time directory.
    Name(&'static str),
    /// The shared-memory object.
    Shm,
    /// The POSIX message queue.
    Queue,
    /// What `--file` names, in a directory to which everybody may write.
    File,
}

/// What can be put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plant {
    /// A file that is open to all, or to its owner alone.
    Open,
    Closed,
    /// A link to such a file of the stranger's, or to a private one of the victim's.
    LinkToTheirs,
    LinkToOurs,
    /// A second name of the same.
    NameOfTheirs,
    NameOfOurs,
    Fifo,
    Socket,
    Directory,
}

impl Plant {
    const ALL: [Plant; 9] = [
        Plant::Open,
        Plant::Closed,
        Plant::LinkToTheirs,
        Plant::LinkToOurs,
        Plant::NameOfTheirs,
        Plant::NameOfOurs,
        Plant::Fifo,
        Plant::Socket,
        Plant::Directory,
    ];

    /// Puts it there: all the paths that are to stay as they are.
    fn put(self, path: &Path, ours: u32, theirs: u32) -> Vec<PathBuf> {
        let [our_file, their_file] = ["ours", "theirs"].map(|name| path.with_file_name(name));
        let mut all = vec![path.to_owned()];
        match self {
            Plant::Open => file(path, theirs, 0o666),
            Plant::Closed => file(path, theirs, 0o600),
            Plant::LinkToTheirs | Plant::NameOfTheirs => {
                file(&their_file, theirs, 0o666);
                all.push(their_file);
            }
            Plant::LinkToOurs | Plant::NameOfOurs => {
                file(&our_file, ours, 0o600);
                all.push(our_file);
            }
            Plant::Fifo => mkfifo(path, Mode::from_bits_truncate(0o666)).expect("mkfifo"),
            // Nobody listens to it any more; who does is asked by the kernel's word, see `SO_PEERCRED`.
            Plant::Socket => drop(UnixListener::bind(path).expect("bind")),
            Plant::Directory => fs::create_dir(path).expect("mkdir"),
        }
        match self {
            Plant::LinkToTheirs | Plant::LinkToOurs => {
                symlink(&all[1], path).expect("symlink");
                lchown(path, Some(theirs), Some(theirs)).expect("chown");
            }
            Plant::NameOfTheirs | Plant::NameOfOurs => fs::hard_link(&all[1], path).expect("link"),
            Plant::Fifo | Plant::Socket | Plant::Directory => own(path, theirs, 0o777),
            Plant::Open | Plant::Closed => {}
        }
        all
    }
}

fn file(path: &Path, owner: u32, mode: u32) {
    // To make a file among the queues is to make a queue; what is in it are messages.
    let bytes = if path.starts_with(QUEUES) { "" } else { "precious" };
    fs::write(path, bytes).expect("write");
    own(path, owner, mode);
}

fn own(path: &Path, owner: u32, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
    chown(path, Some(owner), Some(owner)).expect("chown");
}

fn remove(path: &Path) {
    let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
}

/// All that can be seen of an object without following or opening it; and of a file what is in it.
fn look(path: &Path) -> String {
    let meta = fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{} is gone: {e}", path.display()));
    let words = match (meta.is_symlink(), meta.is_file() && !path.starts_with(QUEUES), meta.is_dir()) {
        (true, ..) => format!("{:?}", fs::read_link(path)),
        (_, true, _) => format!("{:?}", fs::read(path)),
        (.., true) => format!("{:?}", names(path)),
        _ => String::new(),
    };
    let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
    let who = (meta.uid(), meta.gid(), meta.mode());
    format!("{} {who:?} {:?} {times:?} {words}", path.display(), (meta.ino(), meta.nlink(), meta.len()))
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Runs a test with a /tmp, a /dev/shm and queues of its own, and a copy of the pair that every user can start.
fn apart(pair: &Pair, test: impl Fn(&Pair) + Sync) {
    if !geteuid().is_root() {
        println!("skipped: only root can be two users");
        return;
    }
    // Here, because the build may be in the /tmp that is about to vanish.
    let binaries = [pair.producer, pair.consumer].map(|path| (path, fs::read(path).expect("the binary")));
    let run = || {
        // Of this thread and of the processes that it starts, and of no other test.
        if let Err(e) = unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC) {
            println!("skipped: no name spaces of our own: {e}");
            return;
        }
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
            .expect("what is mounted here stays here");
        for dir in ["/tmp", "/dev/shm"] {
            mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=1777")).expect(dir);
        }
        fs::create_dir(QUEUES).expect("mkdir");
        mount(Some("mqueue"), QUEUES, Some("mqueue"), MsFlags::empty(), none).expect("the queues");
        fs::create_dir(PUBLIC).expect("mkdir");
        fs::set_permissions(PUBLIC, Permissions::from_mode(0o1777)).expect("chmod");
        fs::create_dir("/tmp/bin").expect("mkdir");
        let [producer, consumer] = binaries.each_ref().map(|(path, bytes)| {
            let copy = Path::new("/tmp/bin").join(Path::new(path).file_name().expect("a name"));
            fs::write(&copy, bytes).expect("copy the binary");
            fs::set_permissions(&copy, Permissions::from_mode(0o755)).expect("chmod");
            &*copy.into_os_string().into_string().expect("UTF-8").leak()
        });
        test(&Pair { producer, consumer, ..*pair });
    };
    let ended = thread::scope(|scope| scope.spawn(run).join());
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn sandbox_of(user: u32) -> Sandbox {
    if user == NOBODY { Sandbox::as_nobody() } else { Sandbox::new() }
}

/// How a consumer and a producer end that are alone.
fn alone(sandbox: &Sandbox, pair: &Pair, args: &[&str]) -> [Outcome; 2] {
    let args = [args, &["--timeout", "50ms"]].concat();
    let consumer = sandbox.consumer(pair, &args).end_within(SOON);
    [consumer, sandbox.producer(pair, &args).end_within(SOON)]
}

/// Three items arrive.
fn works(sandbox: &Sandbox, pair: &Pair, args: &[&str]) {
    let consumer = sandbox.consumer(pair, &[args, &["--json"]].concat());
    let producer = sandbox.producer(pair, &[args, &["--count", "3", "--interval", "0"]].concat());
    producer.end_within(SOON).expect(0);
    consumer.end_within(SOON).expect(0).all_well(3);
}

/// Whatever is where an object should be: who comes to it refuses it, says what it is about, and leaves it as it was.
pub fn planted(pair: &Pair, spots: &[Spot]) {
    apart(pair, |pair| {
        for (victim, stranger) in BOTH_WAYS {
            let sandbox = sandbox_of(victim);
            let name = sandbox.name();
            let in_dir = |name: String| sandbox.dir().join(name);
            let object = format!("ipc-lab-{victim}-{name}");
            for spot in spots {
                let paths = match spot {
                    // The object or what leads to it, the lock around coming and leaving, and one who was there before.
                    Spot::Name(ending) => ["", ".lock", ".producer.1", ".consumer.1"]
                        .map(|more| in_dir(format!("{name}.{ending}{more}")))
                        .to_vec(),
                    Spot::Shm => vec![Path::new("/dev/shm").join(&object)],
                    Spot::Queue => vec![Path::new(QUEUES).join(&object)],
                    Spot::File => vec![Path::new(PUBLIC).join(format!("{name}.ring"))],
                };
                for path in paths {
                    let args: &[&str] =
                        if *spot == Spot::File { &["--file", path.to_str().expect("UTF-8")] } else { &[] };
                    // A queue can have nothing else beside it.
                    let plants = if *spot == Spot::Queue { &Plant::ALL[..2] } else { &Plant::ALL };
                    for plant in plants {
                        let what = format!("{plant:?} of user {stranger} at {}", path.display());
                        let planted = plant.put(&path, victim, stranger);
                        let before: Vec<String> = planted.iter().map(|p| look(p)).collect();
                        let ended = alone(&sandbox, pair, args);
                        for side in &ended {
                            // Who has not come to it yet waits, until the other side's time is up.
                            assert!([1, 3].contains(&side.code), "{what}: {side:?}");
                            let named =
                                side.stderr.lines().any(|l| l.starts_with("error: ") && l.contains(name));
                            assert!(side.code == 3 || named, "{what}: {side:?}");
                        }
                        assert!(ended.iter().any(|side| side.code == 1), "{what}: {ended:?}");
                        let after: Vec<String> = planted.iter().map(|p| look(p)).collect();
                        assert_eq!(before, after, "{what}: {ended:?}");
                        planted.iter().for_each(|p| remove(p));
                        // Where a name seems to be somebody's, the lock stays for who comes next.
                        if let Spot::Name(ending) = spot
                            && path.extension().is_some_and(|e| e == "1")
                        {
                            remove(&in_dir(format!("{name}.{ending}.lock")));
                        }
                        let left = [sandbox.left(), names(Path::new(QUEUES))].concat();
                        assert_eq!(left, [""; 0], "{what}: {ended:?}");
                    }
                    works(&sandbox, pair, args);
                    remove(&in_dir(format!("{name}.map")));
                    remove(&Path::new(PUBLIC).join(format!("{name}.ring")));
                }
            }
        }
    });
}

/// A run-time directory that is not the user's alone is not used, whoever made it, and whatever it is.
pub fn directory(pair: &Pair) {
    apart(pair, |pair| {
        for (victim, stranger) in BOTH_WAYS {
            let private = PathBuf::from(format!("/tmp/ipc-lab-{victim}"));
            for case in 0..8 {
                for path in [&private, Path::new("/tmp/given")] {
                    let target = Path::new("/tmp/target");
                    let dir = |path: &Path, owner, mode| {
                        DirBuilder::new().create(path).expect("mkdir");
                        own(path, owner, mode);
                    };
                    let what = match case {
                        0 => (dir(path, stranger, 0o700), "a stranger's directory").1,
                        1 => (dir(path, stranger, 0o777), "a stranger's directory, open to all").1,
                        2 => (dir(path, victim, 0o755), "one that others may read").1,
                        3 => (dir(path, victim, 0o770), "one that a group may use").1,
                        4 => (dir(target, victim, 0o700), "a link to one of the user's own").1,
                        5 => (dir(target, stranger, 0o777), "a link to a stranger's").1,
                        6 => (file(path, stranger, 0o666), "a file").1,
                        _ => (mkfifo(path, Mode::from_bits_truncate(0o666)).expect("mkfifo"), "a FIFO").1,
                    };
                    if [4, 5].contains(&case) {
                        symlink(target, path).expect("symlink");
                        lchown(path, Some(stranger), Some(stranger)).expect("chown");
                    }
                    let look =
                        || [path, target].iter().filter(|p| p.exists()).map(|p| look(p)).collect::<Vec<_>>();
                    let before = look();
                    let sandbox = sandbox_of(victim);
                    if path == private {
                        let sandbox = sandbox.without_runtime_dir();
                        for side in alone(&sandbox, pair, &[]) {
                            let said = side.stderr.contains(&path.display().to_string());
                            assert!(side.code == 1 && said, "{what}: {side:?}");
                        }
                    } else {
                        // There is another place to fall back upon.
                        let sandbox = sandbox.env("XDG_RUNTIME_DIR", "/tmp/given");
                        works(&sandbox, pair, &[]);
                    }
                    assert_eq!(before, look(), "{what}");
                    [path, target, private.as_path()].iter().for_each(|p| drop(fs::remove_dir_all(p)));
                    remove(path);
                }
            }
        }
    });
}

/// Root's pair and nobody's have the same name, and each its own channel. With all that it is allowed to do, nobody
/// cannot open, take or change anything of root's. (Root could; but its pair has no eye for what is not its own.)
pub fn neighbours(pair: &Pair, spots: &[Spot]) {
    apart(pair, |pair| {
        for (owner, neighbour) in BOTH_WAYS {
            let sandbox = sandbox_of(owner);
            let consumer = sandbox.consumer(pair, &["--json"]);
            consumer.wait_for_stderr("waiting for a producer");
            let producer = sandbox.producer(pair, &["--count", "0", "--interval", "10ms"]);
            producer.wait_for_stdout("sent #1\u{20}");
            let objects = objects(&sandbox);
            if neighbour == NOBODY {
                assert!(objects.len() > spots.len(), "only {objects:?}");
                as_nobody(|| objects.iter().for_each(|path| closed(path)));
            }
            // It even says that this is its directory.
            let dir = sandbox.dir().to_str().expect("UTF-8");
            let beside = sandbox_of(neighbour).env("XDG_RUNTIME_DIR", dir);
            works(&beside, pair, &["--name", sandbox.name()]);
            let place = PathBuf::from(format!("/tmp/ipc-lab-{neighbour}"));
            remove(&place.join(format!("{}.map", sandbox.name())));
            assert_eq!(names(&place), [""; 0]);
            producer.signal(Signal::SIGINT);
            let sent = producer.end_within(SOON).expect(130);
            let sent = sent.stdout.lines().filter(|line| line.starts_with("sent #")).count() as u64;
            consumer.end_within(SOON).expect(0).all_well_when_cut(sent);
        }
    });
}

/// All of a pair's objects that have a path.
fn objects(sandbox: &Sandbox) -> Vec<PathBuf> {
    let mut objects = vec![sandbox.dir().to_owned()];
    for dir in [sandbox.dir(), Path::new("/dev/shm"), Path::new(QUEUES)] {
        let ours = names(dir).into_iter().filter(|name| name.contains(sandbox.name()));
        objects.extend(ours.map(|name| dir.join(name)));
    }
    objects
}

/// Does something with the rights of nobody to files, which is what only this thread has then.
fn as_nobody(act: impl FnOnce() + Send) {
    let become_nobody = || {
        setfsgid(Gid::from_raw(NOBODY));
        setfsuid(Uid::from_raw(NOBODY));
        act();
    };
    let ended = thread::scope(|scope| scope.spawn(become_nobody).join());
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// There is no way in.
fn closed(path: &Path) {
    let dir = path.is_dir();
    let nonblocking = OFlag::O_NONBLOCK.bits();
    let open = |options: &mut OpenOptions| options.custom_flags(nonblocking).open(path).map(drop);
    let ways: [(&str, io::Result<()>); 6] = [
        ("open it for reading", open(OpenOptions::new().read(true))),
        (
            "write to it",
            if dir { fs::write(path.join("x"), "") } else { open(OpenOptions::new().write(true)) },
        ),
        ("connect to it", UnixStream::connect(path).map(drop)),
        ("change its mode", fs::set_permissions(path, Permissions::from_mode(0o777))),
        ("rename it", fs::rename(path, path.with_extension("away"))),
        ("remove it", if dir { fs::remove_dir(path) } else { fs::remove_file(path) }),
    ];
    for (way, tried) in ways {
        let refused = tried.as_ref().is_err_and(|e| e.kind() == ErrorKind::PermissionDenied);
        assert!(refused, "nobody can {way}: {}: {tried:?}", path.display());
    }
}
