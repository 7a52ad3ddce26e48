//! The links of a built site: each leads to a file in it, and to an anchor in that file.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};

/// A page's links and anchors.
#[derive(Debug, Default)]
struct Page {
    links: BTreeSet<String>,
    anchors: HashSet<String>,
}

/// All links in the site that lead nowhere: `pipe.html: images/x.svg`.
pub fn broken_links(site: &Path) -> Result<Vec<String>> {
    let (mut pages, mut dirs) = (BTreeMap::new(), vec![site.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "html") {
                let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
                pages.insert(path, page(&text));
            }
        }
    }
    let mut broken = Vec::new();
    for (path, page) in &pages {
        for link in page.links.iter().filter(|l| !is_elsewhere(l)) {
            if !leads_somewhere(path, link, &pages) {
                broken.push(format!("{}: {link} leads nowhere", path.strip_prefix(site)?.display()));
            }
        }
    }
    Ok(broken)
}

fn is_elsewhere(link: &str) -> bool {
    ["https://", "http://", "mailto:", "data:", "javascript:"].iter().any(|scheme| link.starts_with(scheme))
}

fn leads_somewhere(from: &Path, link: &str, pages: &BTreeMap<PathBuf, Page>) -> bool {
    let link = decoded(link);
    let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
    let path = path.split('?').next().unwrap_or_default();
    let target = if path.is_empty() {
        from.to_owned()
    } else {
        let mut target = from.parent().unwrap_or(from).to_owned();
        for part in Path::new(path).components() {
            match part {
                Component::ParentDir => drop(target.pop()),
                Component::CurDir => {}
                part => target.push(part),
            }
        }
        target
    };
    match pages.get(&target) {
        Some(page) => anchor.is_empty() || page.anchors.contains(anchor),
        None => anchor.is_empty() && target.is_file(),
    }
}

fn page(html: &str) -> Page {
    let mut page = Page::default();
    // A tag's attributes, as mdBook writes them: with double quotes. Text has no `<`: it is escaped.
    for tag in html.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap_or_default();
        let mut rest = tag;
        while let Some((name, more)) = rest.split_once("=\"") {
            let Some((value, more)) = more.split_once('"') else { break };
            match name.rsplit(char::is_whitespace).next() {
                Some("href" | "src") => drop(page.links.insert(value.replace("&amp;", "&"))),
                Some("id" | "name") => drop(page.anchors.insert(value.to_owned())),
                _ => {}
            }
            rest = more;
        }
    }
    page
}

/// `%EA%B0%80` is 가.
fn decoded(link: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = link.as_bytes();
    while let [first, more @ ..] = rest {
        let code = rest.get(1..3).and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &rest[3..];
            }
            _ => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_nowhere_is_found() {
        let site = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = site.path().join(name);
            fs::create_dir_all(path.parent().expect("a directory")).expect("mkdir");
            fs::write(path, text).expect("write");
        };
        write("a.html", "<h1 id=\"top\">x</h1><h2 id=\"가\">y</h2><a href=\"https://no.where\">z</a>");
        write("images/p.svg", "");
        let good =
            ["../a.html", "../a.html#top", "../a.html#%EA%B0%80", "#b", "", "../images/p.svg", "../a.html?x"];
        let bad = ["a.html", "../a.html#b", "#top", "../images/q.svg", "../images", "../images/p.svg#x"];
        let links = |all: &[&str]| {
            all.iter().map(|l| format!("<a class=\"c\" href=\"{l}\">l</a>")).collect::<String>()
        };
        write("d/b.html", &format!("<p id=\"b\">{}<img src=\"no.png\" alt=\"\">", links(&good)));
        assert_eq!(broken_links(site.path()).expect("a site"), ["d/b.html: no.png leads nowhere"]);
        write("d/b.html", &format!("<p id=\"b\">{}{}", links(&good), links(&bad)));
        let broken = broken_links(site.path()).expect("a site");
        let mut bad = bad;
        bad.sort();
        assert_eq!(broken, bad.map(|l| format!("d/b.html: {l} leads nowhere")));
    }
}
