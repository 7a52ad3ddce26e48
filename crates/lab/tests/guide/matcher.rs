//! Whether what a terminal printed is what the guide shows.
//!
//! A line of the guide is taken literally, but for
//!
//! - `…`: a line of its own stands for any lines, also none; inside a line for any text, also none;
//! - a duration: a number and `ns`, `µs`, `ms`, `s` or `min` (`21.3 µs`, `2.0s`), and a number in JSON behind a key
//!   that ends with `_s` or `_ns`, or behind `p50`, `p99` and `max`: any duration;
//! - a rate: a number and a unit that ends with `/s` (`8,400 items/s`, `1.2 GiB/s`): any rate of the same unit, with
//!   whatever prefix;
//! - an address, `0x` and eight or more hexadecimal digits: any address, the same wherever the same is shown;
//! - a process id: a number of three or more digits after one of the [words](BEFORE_A_PID) and a space, colon or
//!   `=`, after `"pid":`, or after a job's `[1] `. It stands for one process in the whole scene, wherever the number
//!   appears, and no two numbers stand for the same process;
//! - a System V identifier, after `message queue ` or `-q `: likewise, but only there;
//! - the user, in `/run/user/1000` and `ipc-lab-1000`.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A number after one of these is a process id.
pub const BEFORE_A_PID: [&str; 12] = [
    "pid", "PID", "process", "from", "parent", "child", "to", "by", "producer", "consumer", "server",
    "client",
];

/// What the guide's numbers stand for in this run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bindings(BTreeMap<(Kind, String), String>);

/// What a number that differs from run to run names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Pid,
    Address,
    Identifier,
}

impl Bindings {
    pub fn get(&self, kind: Kind, shown: &str) -> Option<&str> {
        self.0.get(&(kind, shown.to_owned())).map(String::as_str)
    }

    /// `shown` stands for `real` from now on; false if one of them stands for another already.
    fn bind(&mut self, kind: Kind, shown: &str, real: &str) -> bool {
        match self.get(kind, shown) {
            Some(known) => known == real,
            None if self.0.iter().any(|((k, _), r)| *k == kind && r == real) => false,
            None => {
                self.0.insert((kind, shown.to_owned()), real.to_owned());
                true
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Any,
    Duration,
    /// A bare number that is a duration or a rate by its key.
    Number,
    Rate(String),
    Named(Kind, String),
}

/// A line of the guide.
#[derive(Clone, Debug)]
pub enum Line {
    /// `…`
    Gap,
    Shown(Shown),
}

/// A line that must come.
#[derive(Clone, Debug)]
pub struct Shown {
    pieces: Vec<Piece>,
}

impl Line {
    /// `pids` are the numbers that are known to be process ids, from [`pids`].
    pub fn new(line: &str, pids: &HashSet<String>) -> Line {
        if line.trim() == "…" {
            return Line::Gap;
        }
        let mut pieces = Vec::new();
        for (i, part) in line.trim_end().split('…').enumerate() {
            if i > 0 {
                pieces.push(Piece::Any);
            }
            pieces_of(part, pids, &mut pieces);
        }
        Line::Shown(Shown { pieces })
    }
}

/// A number, or `0x…`, at the beginning of `text`: how long it is.
fn number(text: &str) -> usize {
    let digits = |t: &str| t.bytes().take_while(u8::is_ascii_digit).count();
    let mut len = digits(text);
    while len > 0 && text[len..].starts_with(',') && digits(&text[len + 1..]) == 3 {
        len += 4;
    }
    if len > 0 && text[len..].starts_with('.') {
        let fraction = digits(&text[len + 1..]);
        if fraction > 0 {
            len += 1 + fraction;
        }
    }
    if len > 0 && text[len..].starts_with('e') {
        let sign = usize::from(text[len + 1..].starts_with(['-', '+']));
        let exponent = digits(&text[len + 1 + sign..]);
        if exponent > 0 {
            len += 1 + sign + exponent;
        }
    }
    len
}

/// Whether a word goes on here.
fn in_word(c: Option<char>) -> bool {
    c.is_some_and(|c| c.is_alphanumeric() || c == '_')
}

/// The length of the duration's unit at the beginning of `text`, with the space before it.
fn unit(text: &str) -> Option<usize> {
    let word = text.strip_prefix(' ').unwrap_or(text);
    ["ns", "µs", "μs", "us", "ms", "s", "min"].into_iter().find_map(|unit| {
        let rest = word.strip_prefix(unit)?;
        let ends = !in_word(rest.chars().next()) && !rest.starts_with('/');
        ends.then_some(text.len() - rest.len())
    })
}

/// The rate's unit at the beginning of `text` without its prefix (`B/s` of ` MiB/s`), and its length.
fn rate(text: &str) -> Option<(String, usize)> {
    let word = text.strip_prefix(' ').unwrap_or(text);
    let name = &word[..word.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(word.len())];
    let rest = word[name.len()..].strip_prefix("/s")?;
    if name.is_empty() || in_word(rest.chars().next()) {
        return None;
    }
    let plain = ["Ki", "Mi", "Gi", "k", "K", "M", "G"].into_iter().find_map(|p| name.strip_prefix(p));
    let unit = plain.filter(|u| ["B", "bit"].contains(u)).unwrap_or(name);
    Some((unit.to_owned(), text.len() - rest.len()))
}

/// Whether a number behind `before` differs from run to run by its JSON key.
fn is_measured(before: &str) -> bool {
    let Some(key) = before.trim_end().strip_suffix("\":") else { return false };
    let key = &key[key.rfind('"').map_or(0, |at| at + 1)..];
    key.ends_with("_s") || key.ends_with("_ns") || ["p50", "p99", "p999", "max"].contains(&key)
}

/// Whether a number behind `before` is a process id.
fn is_pid(before: &str) -> bool {
    if before.ends_with("\"pid\":") || before.ends_with("\"pid\": ") {
        return true;
    }
    // "[1] 4711", as the shell says it.
    let job = |t: &str| t.strip_suffix("] ")?.strip_prefix('[')?.parse::<u32>().ok();
    if job(before).is_some() {
        return true;
    }
    let words = before.trim_end_matches([' ', ':', '=']);
    let word = words.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    words.len() < before.len() && BEFORE_A_PID.contains(&word)
}

fn pieces_of(part: &str, pids: &HashSet<String>, pieces: &mut Vec<Piece>) {
    let mut text = String::new();
    let mut at = 0;
    while at < part.len() {
        let (before, rest) = part.split_at(at);
        let c = rest.chars().next().expect("not at the end");
        let mut found = None;
        if !in_word(before.chars().last()) && !before.ends_with('.') && c.is_ascii_digit() {
            let hex = rest.strip_prefix("0x").unwrap_or_default();
            let hex = hex.bytes().take_while(u8::is_ascii_hexdigit).count();
            let len = number(rest);
            let (digits, after) = rest.split_at(len);
            let whole = digits.bytes().all(|b| b.is_ascii_digit()) && !in_word(after.chars().next());
            let named = |kind| Some((Piece::Named(kind, digits.to_owned()), len));
            if hex >= 8 {
                found = Some((Piece::Named(Kind::Address, rest[..hex + 2].to_owned()), hex + 2));
            } else if let Some(unit) = unit(after) {
                found = Some((Piece::Duration, len + unit));
            } else if let Some((unit, length)) = rate(after) {
                found = Some((Piece::Rate(unit), len + length));
            } else if is_measured(before) {
                found = Some((Piece::Number, len));
            } else if whole && (pids.contains(digits) || len >= 3 && is_pid(before)) {
                found = named(Kind::Pid);
            } else if whole && (before.ends_with("message queue ") || before.ends_with("-q ")) {
                found = named(Kind::Identifier);
            }
        }
        match found {
            Some((piece, len)) => {
                pieces.extend((!text.is_empty()).then(|| Piece::Text(std::mem::take(&mut text))));
                pieces.push(piece);
                at += len;
            }
            None => {
                // A number is kept in one piece: "12" must not match in "123".
                let len = c.len_utf8().max(if c.is_ascii_digit() { number(rest) } else { 0 });
                text.push_str(&rest[..len]);
                at += len;
            }
        }
    }
    pieces.extend((!text.is_empty()).then_some(Piece::Text(text)));
}

/// The numbers in a scene's lines that are process ids: those that a line shows as such, or that stand alone below a
/// command that asks for one.
pub fn pids<'a>(commands: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>) -> HashSet<String> {
    let mut pids = HashSet::new();
    for (command, lines) in commands {
        let asks = ["$!", "$$", "pgrep", "pidof", "$PPID"].iter().any(|word| command.contains(word));
        for line in lines {
            for part in line.split('…') {
                let mut pieces = Vec::new();
                pieces_of(part, &HashSet::new(), &mut pieces);
                pids.extend(pieces.into_iter().filter_map(|p| match p {
                    Piece::Named(Kind::Pid, pid) => Some(pid),
                    _ => None,
                }));
            }
            let line = line.trim();
            if asks && line.len() >= 3 && line.bytes().all(|b| b.is_ascii_digit()) {
                pids.insert(line.to_owned());
            }
        }
    }
    pids
}

/// A command with this run's numbers in the place of the guide's.
///
/// # Errors
/// A number that names a process, but no line has shown it yet.
pub fn substitute(
    command: &str,
    pids: &HashSet<String>,
    bindings: &Bindings,
    user: u32,
) -> Result<String, String> {
    let mut typed = String::new();
    let mut at = 0;
    while at < command.len() {
        let (before, rest) = command.split_at(at);
        let len = rest.bytes().take_while(u8::is_ascii_digit).count();
        if len == 0 || in_word(before.chars().last()) || in_word(rest[len..].chars().next()) {
            let c = rest.chars().next().expect("not at the end");
            let len = len.max(c.len_utf8());
            typed.push_str(&rest[..len]);
            at += len;
            continue;
        }
        let shown = &rest[..len];
        let kind = if before.ends_with("-q ") { Kind::Identifier } else { Kind::Pid };
        match bindings.get(kind, shown) {
            Some(real) => typed.push_str(real),
            None if pids.contains(shown) || needs_a_pid(before) => {
                return Err(format!("`{command}` names {shown}, which no line has shown before"));
            }
            None => typed.push_str(shown),
        }
        at += len;
    }
    Ok(typed
        .replace("/run/user/1000", "$XDG_RUNTIME_DIR")
        .replace("ipc-lab-1000", &format!("ipc-lab-{user}")))
}

/// Whether what comes next can only be a process id: a wrong one would hit a stranger.
fn needs_a_pid(before: &str) -> bool {
    let command = before.rsplit(['|', ';', '&', '(']).next().unwrap_or_default();
    before.ends_with("/proc/") || command.trim_start().starts_with("kill ") && !before.ends_with(['-', '%'])
}

impl Shown {
    /// What the line's numbers stand for, if `text` is this line.
    pub fn matches(&self, text: &str, bindings: &Bindings) -> Option<Bindings> {
        matches(&self.pieces, text.trim_end(), None, bindings)
    }
}

/// `previous` is the character before `text`: no number begins inside another.
fn matches(pieces: &[Piece], text: &str, previous: Option<char>, bindings: &Bindings) -> Option<Bindings> {
    let Some((piece, pieces)) = pieces.split_first() else {
        return text.is_empty().then(|| bindings.clone());
    };
    let go_on = |len: usize, bindings: &Bindings| {
        matches(pieces, &text[len..], text[..len].chars().last().or(previous), bindings)
    };
    // What follows a piece decides whether a number ends here: `#1` is not the beginning of `#12`.
    let number_here = |text: &str| Some(number(text)).filter(|len| *len > 0 && !in_word(previous));
    match piece {
        Piece::Text(shown) => {
            text.strip_prefix(shown.as_str())?;
            let cut = shown.ends_with(|c: char| c.is_ascii_digit())
                && text[shown.len()..].starts_with(|c: char| c.is_ascii_digit());
            let begun = shown.starts_with(|c: char| c.is_ascii_digit())
                && previous.is_some_and(|c| c.is_ascii_digit());
            if cut || begun { None } else { go_on(shown.len(), bindings) }
        }
        Piece::Any => {
            let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            ends.into_iter().find_map(|at| go_on(at, bindings))
        }
        Piece::Duration => {
            let len = number_here(text)?;
            go_on(len + unit(&text[len..])?, bindings)
        }
        Piece::Number => go_on(number_here(text)?, bindings),
        Piece::Rate(want) => {
            let len = number_here(text)?;
            let (unit, length) = rate(&text[len..])?;
            if unit == *want { go_on(len + length, bindings) } else { None }
        }
        Piece::Named(kind, shown) => {
            let hex = text.strip_prefix("0x").unwrap_or_default();
            let len = match kind {
                Kind::Address => 2 + hex.bytes().take_while(u8::is_ascii_hexdigit).count(),
                _ => text.bytes().take_while(u8::is_ascii_digit).count(),
            };
            let is_one = if *kind == Kind::Address { len > 2 } else { len > 0 };
            if !is_one || in_word(previous) || in_word(text[len..].chars().next()) {
                return None;
            }
            let mut bindings = bindings.clone();
            if bindings.bind(*kind, shown, &text[..len]) { go_on(len, &bindings) } else { None }
        }
    }
}

/// How far what was printed is what is shown.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// All that is shown was printed, and nothing else.
    Whole(Bindings),
    /// All that is shown was printed, and then something else.
    More(Bindings),
    /// All that was printed is shown; more is to come.
    Less,
    /// Whatever else is printed, it is not this.
    Never,
}

/// Compares lines. A line that `may_be_left_out` need not be shown.
pub fn compare(
    shown: &[Line],
    printed: &[&str],
    bindings: &Bindings,
    may_be_left_out: &dyn Fn(usize) -> bool,
) -> Progress {
    let mut search =
        Search { shown, printed, may_be_left_out, seen: HashSet::new(), more: None, less: false };
    match search.go(0, 0, bindings) {
        Some(bindings) => Progress::Whole(bindings),
        None => match (search.more, search.less) {
            (Some(bindings), _) => Progress::More(bindings),
            (None, true) => Progress::Less,
            (None, false) => Progress::Never,
        },
    }
}

struct Search<'a> {
    shown: &'a [Line],
    printed: &'a [&'a str],
    may_be_left_out: &'a dyn Fn(usize) -> bool,
    /// Where the search has been, in vain: behind a gap there are many ways to one place.
    seen: HashSet<(usize, usize, u64)>,
    more: Option<Bindings>,
    less: bool,
}

impl Search<'_> {
    fn go(&mut self, mut i: usize, mut j: usize, bindings: &Bindings) -> Option<Bindings> {
        let mut bindings = bindings.clone();
        loop {
            let here = self.printed.get(j);
            match (self.shown.get(i), here) {
                (None, None) => return Some(bindings),
                (None, Some(_)) => {
                    let nothing_else = (j..self.printed.len()).all(self.may_be_left_out);
                    if nothing_else {
                        return Some(bindings);
                    }
                    self.more.get_or_insert(bindings);
                    return None;
                }
                (Some(Line::Gap), _) if i + 1 == self.shown.len() => return Some(bindings),
                (Some(Line::Gap), _) => {
                    let mut hasher = DefaultHasher::new();
                    bindings.hash(&mut hasher);
                    let known = hasher.finish();
                    return (j..=self.printed.len()).find_map(|k| {
                        self.seen.insert((i, k, known)).then(|| self.go(i + 1, k, &bindings))?
                    });
                }
                (Some(Line::Shown(_)), None) => {
                    self.less = true;
                    return None;
                }
                (Some(Line::Shown(line)), Some(printed)) => match line.matches(printed, &bindings) {
                    Some(now) => {
                        bindings = now;
                        i += 1;
                        j += 1;
                    }
                    None if (self.may_be_left_out)(j) => j += 1,
                    None => return None,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[&str]) -> Vec<Line> {
        let pids = pids([("", text.to_vec())]);
        text.iter().map(|l| Line::new(l, &pids)).collect()
    }

    fn progress(shown: &[&str], printed: &[&str]) -> Progress {
        compare(&lines(shown), printed, &Bindings::default(), &|_| false)
    }

    fn same(shown: &str, printed: &str) -> bool {
        matches!(progress(&[shown], &[printed]), Progress::Whole(_))
    }

    #[test]
    fn what_may_differ() {
        for (shown, printed) in [
            ("received #3  64 B  from 4711  after 21.3 µs", "received #3  64 B  from 12  after 1.2ms"),
            ("unblocked after 2.1 s", "unblocked after 498.7ms"),
            ("sent 3 items, 192 B in 1.001 s (3 items/s)", "sent 3 items, 192 B in 0.000 s (58370 items/s)"),
            ("1.5 MiB/s", "12,345.6 KiB/s"),
            ("at 0x7ffe3245c6d0, ok", "at 0x55d0aa, ok"),
            ("error: …/demo.fifo is in use", "error: /run/user/1000/demo.fifo is in use"),
            ("blocked …× for 1.6 s", "blocked 12× for 900.1ms"),
            ("… of …", "1 of 2 of 3"),
            (r#"{"pid":4711,"elapsed_s":0.5,"lost":0}"#, r#"{"pid":7,"elapsed_s":8.4e-6,"lost":0}"#),
            (r#"{"p50":5,"p99": 6,"p999": 7,"max":8}"#, r#"{"p50":15933439,"p99": 1,"p999": 2,"max":3}"#),
            ("message queue 7 keeps 3 messages", "message queue 0 keeps 3 messages"),
            ("[1] 4711", "[1] 99"),
            ("trailing", "trailing  "),
        ] {
            assert!(same(shown, printed), "{shown} ≠ {printed}");
        }
    }

    #[test]
    fn what_may_not() {
        for (shown, printed) in [
            ("lost 0, gaps 0", "lost 3, gaps 0"),
            ("#3", "#4"),
            ("sent #1", "sent #12"),
            ("sent #1…", "sent #12"),
            ("…2 items", "12 items"),
            ("64 B", "96 B"),
            ("64 B in 1.0 s", "64 KiB in 1.0 s"),
            ("after 21.3 µs", "after 21.3"),
            ("after 21.3 µs", "after µs"),
            ("after 21.3 µs", "after -21.3 µs"),
            ("in 3 steps", "in 4 steps"),
            ("3 items/s", "3 calls/s"),
            ("3 items/s", "3 items"),
            ("from 4711", "from nobody"),
            ("from 4711", "from 12a"),
            ("from 12 to 14", "from 13 to 14"),
            ("4711 and from 4711", "17 and from 18"),
            ("from 4711, from 4712", "from 17, from 17"),
            ("from 4711, from 4711", "from 17, from 18"),
            ("0xCBF43926", "CBF43926"),
            ("0x60", "0x61"),
            ("queue full 3/3", "queue full 4/4"),
            (r#"{"lost":0}"#, r#"{"lost":1}"#),
            (r#"{"items":10}"#, r#"{"items":11}"#),
            ("message queue 7 keeps 3", "message queue 0 keeps 4"),
            ("ended with 3", "ended with 4"),
            ("exit 130", "exit 143"),
            ("3.14 is", "3.15 is"),
            ("version 1.2.3 s", "version 1.4.3 s"),
            ("", "more"),
        ] {
            assert!(!same(shown, printed), "{shown} = {printed}");
        }
    }

    #[test]
    fn an_address_is_the_same_in_both_lines() {
        let shown = ["parent at 0x7ffe3245c6d0", "child at 0x7ffe3245c6d0"];
        assert!(matches!(progress(&shown, &["parent at 0x11", "child at 0x11"]), Progress::Whole(_)));
        assert_eq!(progress(&shown, &["parent at 0x11", "child at 0x12"]), Progress::Never);
    }

    #[test]
    fn a_pid_stands_for_one_process_wherever_its_number_appears() {
        let shown = ["from 4711", "…", "kept by 4712: 4711 4711", "4712"];
        let printed = ["from 17", "x", "kept by 18: 17 17", "18"];
        let Progress::Whole(bindings) = progress(&shown, &printed) else { panic!("{shown:?}") };
        assert_eq!(bindings.get(Kind::Pid, "4711"), Some("17"));
        assert_eq!(
            progress(&shown[..1], &["from 17", "more"]),
            Progress::More({
                let mut b = Bindings::default();
                assert!(b.bind(Kind::Pid, "4711", "17"));
                b
            })
        );
        for wrong in
            [["from 17", "x", "kept by 18: 17 18", "18"], ["from 17", "x", "kept by 17: 17 17", "17"]]
        {
            assert!(!matches!(progress(&shown, &wrong), Progress::Whole(_) | Progress::More(_)), "{wrong:?}");
        }
    }

    #[test]
    fn a_gap_stands_for_any_lines() {
        for (shown, printed) in [
            (&["…"][..], &[][..]),
            (&["…"], &["a", "b"]),
            (&["a", "…", "d"], &["a", "d"]),
            (&["a", "…", "d"], &["a", "b", "c", "d"]),
            (&["…", "a", "b", "…", "c"], &["a", "x", "a", "b", "b", "c"]),
            (&["…", "from 101", "…", "from 102", "x 101"], &["from 1", "from 2", "x 2", "from 1", "x 2"]),
        ] {
            assert!(matches!(progress(shown, printed), Progress::Whole(_)), "{shown:?} {printed:?}");
        }
    }

    #[test]
    fn what_is_still_to_come_is_told_from_what_can_never_come() {
        assert_eq!(progress(&["a", "b"], &["a"]), Progress::Less);
        assert_eq!(progress(&["a", "b"], &[]), Progress::Less);
        assert_eq!(progress(&["a", "b"], &["a", "c"]), Progress::Never);
        assert_eq!(progress(&["a", "…", "b"], &["a", "c"]), Progress::Less);
        assert_eq!(progress(&["a"], &["a", "c"]), Progress::More(Bindings::default()));
        assert_eq!(progress(&["a", "…", "b"], &["a", "b", "c"]), Progress::More(Bindings::default()));
    }

    #[test]
    fn what_may_be_left_out_may_also_be_shown() {
        let printed = ["[1] 17", "a", "[1]+  Done  x"];
        let compare = |shown: &[&str]| {
            compare(&lines(shown), &printed, &Bindings::default(), &|j| printed[j].starts_with('['))
        };
        for shown in
            [&["a"][..], &["[1] 4711", "a"], &["[1] 4711", "a", "[1]+  Done  x"], &["a", "[1]+  Done  x"]]
        {
            assert!(matches!(compare(shown), Progress::Whole(_)), "{shown:?}");
        }
        assert_eq!(compare(&["b"]), Progress::Never);
        assert_eq!(compare(&["[2] 4711", "a", "b"]), Progress::Never);
    }

    #[test]
    fn a_command_gets_the_real_numbers() {
        let mut bindings = Bindings::default();
        assert!(bindings.bind(Kind::Pid, "4711", "17") && bindings.bind(Kind::Identifier, "7", "0"));
        let pids = HashSet::from(["4711".to_owned(), "4712".to_owned()]);
        let typed = |command| substitute(command, &pids, &bindings, 5);
        assert_eq!(typed("kill -9 4711; ls /proc/4711/fd").as_deref(), Ok("kill -9 17; ls /proc/17/fd"));
        assert_eq!(typed("ipcrm -q 7").as_deref(), Ok("ipcrm -q 0"));
        assert_eq!(typed("x --count 7 --size 47110 a4711").as_deref(), Ok("x --count 7 --size 47110 a4711"));
        assert_eq!(
            typed("xxd /run/user/1000/a /dev/shm/ipc-lab-1000-demo").as_deref(),
            Ok("xxd $XDG_RUNTIME_DIR/a /dev/shm/ipc-lab-5-demo")
        );
        assert_eq!(typed("kill %1; kill -9 $!").as_deref(), Ok("kill %1; kill -9 $!"));
        for unknown in
            ["kill -9 4712", "x --to 4712", "kill 99", "kill -9 99", "ls /proc/99/fd", "a; kill -9 99"]
        {
            assert!(typed(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn many_gaps_over_many_lines_take_no_time() {
        let printed: Vec<String> = (0..3000).map(|i| format!("line {}", i % 7)).collect();
        let printed: Vec<&str> = printed.iter().map(String::as_str).collect();
        let shown = ["…", "line 1", "…", "line 2", "…", "line 3", "…", "line 3", "never"];
        let start = std::time::Instant::now();
        assert_eq!(progress(&shown, &printed), Progress::Less);
        assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
    }
}
