//! The guide's pictures: drawn in one style, readable by a machine, and in need of nothing but themselves.

mod binaries;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn images() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/images")
}

/// What is wrong with a picture.
fn faults(svg: &str, style: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            faults.push(what.to_owned());
        }
    };
    let between = |from: &str, to: &str| Some(svg.split_once(from)?.1.split_once(to)?.0);
    let says =
        |tag: &str| between(&format!("<{tag}>"), &format!("</{tag}>")).is_some_and(|t| t.trim().len() > 3);
    must(
        between("<style>", "</style>").map(str::trim) == Some(style.trim()),
        "its <style> is not docs/images/style.css",
    );
    must(says("title"), "no <title>");
    must(says("desc"), "no <desc>");
    must(
        svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""),
        "it does not begin with <svg xmlns=…>",
    );
    must(between("viewBox=\"", "\"").is_some_and(is_box), "no viewBox of four numbers, from 0 0");
    must(svg.contains("class=\"card\""), "no card as a background: dark pages need it");
    let body = svg.replacen(style, "", 1);
    for foreign in ["href", "<image", "<script", "<foreignObject", "@import", "style=", "<style "] {
        must(!body.contains(foreign), &format!("{foreign}: pictures stand alone, in the one style"));
    }
    for url in body.split("url(").skip(1).filter_map(|rest| rest.split(')').next()) {
        let id = url.trim_matches(['"', '\'']).strip_prefix('#');
        let there = id.is_some_and(|id| body.contains(&format!("id=\"{id}\"")));
        must(there, &format!("url({url}) is not in this picture"));
    }
    for class in attributes(&body, "class").flat_map(str::split_whitespace) {
        let known = style.match_indices(&format!(".{class}")).any(|(at, name)| {
            !style[at + name.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '-')
        });
        must(known, &format!("class {class} is not in style.css"));
    }
    if let Err(why) = well_formed(&body) {
        faults.push(why);
    }
    faults
}

fn is_box(text: &str) -> bool {
    let numbers: Vec<f64> = text.split(' ').filter_map(|n| n.parse().ok()).collect();
    matches!(numbers[..], [0.0, 0.0, width, height] if width > 0.0 && height > 0.0)
}

fn attributes<'a>(svg: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let start = format!(" {name}=\"");
    let pieces: Vec<_> = svg.split(&start).skip(1).filter_map(|rest| rest.split('"').next()).collect();
    pieces.into_iter()
}

/// Whether every element is closed where it must be: browsers show nothing of a picture that is not.
fn well_formed(svg: &str) -> Result<(), String> {
    let mut open = Vec::new();
    for piece in svg.split('<').skip(1) {
        let Some((tag, text)) = piece.split_once('>') else {
            return Err(format!("<{piece}: no >"));
        };
        if tag.starts_with('!') {
            return Err("no comment or declaration belongs into a picture".into());
        }
        let entities = text.split('&').skip(1);
        if entities
            .chain(tag.split('&').skip(1))
            .any(|e| !["lt;", "gt;", "amp;", "quot;"].iter().any(|k| e.starts_with(k)))
        {
            return Err(format!("a bare & in: {text}"));
        }
        if tag.matches('"').count() % 2 != 0 {
            return Err(format!("<{tag}>: a quotation mark is missing"));
        }
        match tag.strip_prefix('/') {
            Some(name) if open.last() == Some(&name) => drop(open.pop()),
            Some(name) => return Err(format!("</{name}> closes {:?}", open.last())),
            None if tag.ends_with('/') => {}
            None => open.push(tag.split_whitespace().next().unwrap_or_default()),
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("never closed: {open:?}")) }
}

#[test]
fn every_picture_is_drawn_in_the_one_style_and_stands_alone() {
    let style = fs::read_to_string(images().join("style.css")).expect("style.css");
    let mut seen = 0;
    let mut broken = Vec::new();
    for path in fs::read_dir(images()).expect("docs/images").map(|e| e.expect("an entry").path()) {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name.ends_with(".svg") {
            seen += 1;
            let svg = fs::read_to_string(&path).expect("UTF-8");
            broken.extend(faults(&svg, &style).into_iter().map(|fault| format!("{name}: {fault}")));
        }
    }
    assert!(seen > 0, "no pictures in {}", images().display());
    assert!(broken.is_empty(), "\n  {}", broken.join("\n  "));
}

#[test]
fn what_counts_as_a_fault() {
    let style = "\n.card { fill: red; }\n";
    let good = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 8 8\"><title>A picture</title>\
         <desc>What it shows.</desc><style>{style}</style><rect class=\"card\" id=\"c\"/></svg>"
    );
    assert_eq!(faults(&good, style), Vec::<String>::new());
    for (from, to) in [
        ("red", "blue"),
        ("<title>A picture</title>", ""),
        ("<desc>What it shows.</desc>", "<desc></desc>"),
        ("0 0 8 8", "8 8"),
        ("class=\"card\"", "class=\"car\""),
        ("class=\"card\"", "class=\"card\" fill=\"url(#d)\""),
        ("class=\"card\"", "class=\"card\" fill=\"url(http://x/#c)\""),
        ("<rect", "<image href=\"http://x/y.png\"/><rect"),
        ("<rect", "<g><rect"),
        ("What it", "What & it"),
        ("<rect", "<rect style=\"fill: red\""),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(faults(&bad, style), Vec::<String>::new(), "{from} -> {to}");
    }
}

fn record(args: &[&str]) -> Output {
    Command::new(binaries::directory().join("ipc-lab")).arg("record").args(args).output().expect("ipc-lab")
}

/// What the picture's description tells.
fn words(svg: &str) -> String {
    let words = svg.split_once("<desc>").and_then(|(_, rest)| rest.split_once("</desc>"));
    words.expect("a description").0.to_owned()
}

#[test]
fn a_recorded_run_is_drawn_with_all_its_items_and_waits() {
    let dir = tempfile::tempdir().expect("a directory");
    let style = fs::read_to_string(images().join("style.css")).expect("style.css");
    // What each scene is for: how many items cross, and who waits for what.
    let scenes = [
        ("pipe", 4, "(pipe empty)"),
        ("mq", 5, "(queue full 3/3"),
        ("shm", 4, "(buffer full 2/2"),
        ("mmap", 5, ""),
        ("socket", 7, "(no consumer yet)"),
        ("rpc", 3, "(no reply yet"),
    ];
    std::thread::scope(|threads| {
        for (method, items, wait) in scenes {
            let (dir, style) = (dir.path(), &style);
            threads.spawn(move || {
                let file = dir.join(method);
                let output = record(&[method, "--out", file.to_str().expect("UTF-8")]);
                assert!(output.status.success(), "{method}: {output:?}");
                let svg = fs::read_to_string(&file).expect("the picture");
                assert_eq!(faults(&svg, style), Vec::<String>::new(), "{method}");
                let count = |text: &str| svg.matches(text).count();
                assert_eq!(count("marker-end=\"url(#tip-producer)\""), items, "{method}: arrows");
                assert_eq!(count("class=\"item\""), items, "{method}: boxes");
                let replies = if method == "rpc" { items } else { 0 };
                assert_eq!(count("marker-end=\"url(#tip-consumer)\""), replies, "{method}: replies");
                let words = words(&svg);
                assert!(words.contains(wait), "{method}: {words}");
                if method == "mmap" {
                    let times: Vec<f64> = words
                        .split("runs from ")
                        .skip(1)
                        .flat_map(|run| run.split(' ').take(4).collect::<Vec<_>>())
                        .filter_map(|word| word.parse().ok())
                        .collect();
                    assert!(matches!(times[..], [_, end, start, ..] if end < start), "they meet: {words}");
                }
            });
        }
    });
}

#[test]
fn a_run_of_ones_own_is_drawn_or_says_why_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("own.svg");
    let out = file.to_str().expect("UTF-8");
    let own =
        ["pipe", "--out", out, "--producer", "--count 2 --interval 150ms", "--consumer", "--delay 10ms"];
    assert!(record(&own).status.success());
    let svg = fs::read_to_string(&file).expect("the picture");
    assert_eq!(svg.matches("class=\"item\"").count(), 2);
    fs::remove_file(&file).expect("remove");
    let output = record(&["pipe", "--out", out, "--producer", "--size -1"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the producer ended with 2: error: "), "{said}");
    assert!(!file.exists());
}
