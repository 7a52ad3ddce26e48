//! The guide in two languages: the same files, sections, code, pictures and links.

use crate::page::{Faults, Page};

/// The path of a page in the other language's directory.
pub fn korean(path: &str) -> Option<String> {
    let name = path.strip_prefix("docs/")?;
    (!name.starts_with("ko/")).then(|| format!("docs/ko/{name}"))
}

/// Pages without a twin, and where twins differ.
pub fn faults(pages: &[Page]) -> Faults {
    let mut faults = Vec::new();
    let find = |path: &str| pages.iter().find(|p| p.path == path);
    for page in pages {
        if let Some(path) = korean(&page.path) {
            match find(&path) {
                Some(twin) => faults.extend(differences(page, twin)),
                None => faults.push(format!("{}: there is no {path}", page.path)),
            }
        } else if let Some(name) = page.path.strip_prefix("docs/ko/")
            && find(&format!("docs/{name}")).is_none()
        {
            faults.push(format!("{}: there is no docs/{name}", page.path));
        }
    }
    faults
}

fn differences(page: &Page, twin: &Page) -> Faults {
    let mut faults = Vec::new();
    let levels = |p: &Page| p.headings.iter().map(|h| (format!("level {}", h.level), h.line)).collect();
    first_difference(&mut faults, page, twin, "heading", levels(page), levels(twin));
    let blocks = |p: &Page| {
        p.blocks.iter().map(|b| (format!("```{}\n{}", b.language, b.lines.join("\n")), b.line)).collect()
    };
    first_difference(&mut faults, page, twin, "code block", blocks(page), blocks(twin));
    let links = |p: &Page, pictures: bool| {
        let links = p.links.iter().filter(|l| l.is_picture == pictures);
        links.map(|l| (target(p, &l.target, page, twin), l.line)).collect::<Vec<_>>()
    };
    first_difference(&mut faults, page, twin, "picture", links(page, true), links(twin, true));
    // The order of words in a sentence is each language's own: so may be that of the links in it.
    let mut both = [links(page, false), links(twin, false)];
    both.iter_mut().for_each(|all| all.sort());
    let [here, there] = both;
    first_difference(&mut faults, page, twin, "link", here, there);
    faults
}

/// A link's target in the terms of both languages: a guide's page without its directory, and an anchor by the place
/// of its heading.
fn target(from: &Page, target: &str, page: &Page, twin: &Page) -> String {
    if target.contains("://") {
        return target.to_owned();
    }
    let (path, anchor) = from.resolve(target);
    let name = |p: &str| p.replace("docs/ko/", "docs/");
    let anchor = anchor.map(|anchor| {
        // Only within the page is it known which heading corresponds; elsewhere that there is one.
        let own = [page, twin].into_iter().find(|p| p.path == path);
        let place = own.and_then(|p| p.headings.iter().position(|h| h.anchor == anchor));
        place.map_or("…".to_owned(), |place| place.to_string())
    });
    let path = name(&path);
    anchor.map_or(path.clone(), |anchor| format!("{path}#{anchor}"))
}

fn first_difference(
    faults: &mut Faults,
    page: &Page,
    twin: &Page,
    what: &str,
    here: Vec<(String, usize)>,
    there: Vec<(String, usize)>,
) {
    let shared = here.iter().zip(&there).take_while(|(a, b)| a.0 == b.0).count();
    match (here.get(shared), there.get(shared)) {
        (None, None) => {}
        (Some((text, line)), None) => {
            faults.push(format!("{}: {} lacks this {what}: {text}", page.at(*line), twin.path));
        }
        (None, Some((text, line))) => {
            faults.push(format!("{}: {} lacks this {what}: {text}", twin.at(*line), page.path));
        }
        (Some((text, line)), Some((other, other_line))) => {
            let lines = text.lines().zip(other.lines()).find(|(a, b)| a != b);
            let (a, b) = lines.unwrap_or((text, other));
            faults.push(format!(
                "{} and {}: the first {what} that differs:\n  {a}\n  {b}",
                page.at(*line),
                twin.at(*other_line)
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGLISH: &str = "# A\n\n[x](b.md) and [y](../crates/f.rs), [here](#two)\n\n```sh\nmake a\nmake b\n```\n\n\
                           ## Two\n\n![p](images/p.svg)\n";
    const KOREAN: &str = "# 가\n\n[y](../../crates/f.rs), [x](b.md), [여기](#둘)\n\n```sh\nmake a\nmake b\n```\n\n\
                          ## 둘\n\n![p](../images/p.svg)\n";

    fn check(korean: &str) -> Faults {
        faults(&[Page::parse("docs/a.md", ENGLISH), Page::parse("docs/ko/a.md", korean)])
    }

    #[test]
    fn a_translation_has_the_same_of_all_but_words() {
        assert_eq!(check(KOREAN), [""; 0]);
    }

    #[test]
    fn what_differs_is_found() {
        for (from, to, what) in [
            ("make b", "make c", "the first code block that differs:\n  make b\n  make c"),
            ("```sh", "```text", "code block"),
            ("## 둘", "### 둘", "the first heading that differs:\n  level 2\n  level 3"),
            ("## 둘", "둘", "lacks this heading"),
            ("![p]", "[p]", "lacks this picture"),
            ("p.svg", "q.svg", "picture"),
            ("(b.md)", "(c.md)", "link"),
            (", [x](b.md)", "", "link"),
            ("#둘", "#가", "link"),
            ("\n## 둘", "\n```sh\nls\n```\n## 둘", "docs/ko/a.md:10: docs/a.md lacks this code block"),
        ] {
            let faults = check(&KOREAN.replace(from, to));
            assert!(faults.iter().any(|f| f.contains(what)), "{from} → {to}: {faults:?}");
        }
    }

    #[test]
    fn each_page_has_a_twin() {
        let [a, b] = ["docs/a.md", "docs/ko/b.md"].map(|path| Page::parse(path, ""));
        assert_eq!(
            faults(&[a, b, Page::parse("README.md", "")]),
            ["docs/a.md: there is no docs/ko/a.md", "docs/ko/b.md: there is no docs/b.md"]
        );
    }
}
