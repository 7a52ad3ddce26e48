//! Links: each leads to something that exists.

use crate::page::{Faults, Page};

/// What a link can lead to.
pub enum Place {
    Page(Page),
    /// Another text file, and how many lines it has.
    Text(usize),
    Directory,
    Other,
}

/// All faults in a page's links. `look` finds a path of the repository.
pub fn faults(page: &Page, look: impl Fn(&str) -> Option<Place>) -> Faults {
    let fault = |link: &crate::page::Link| {
        let target = link.target.as_str();
        if target.starts_with("https://") && !link.is_picture {
            return None;
        }
        if target.contains("://") || target.starts_with('/') || target.starts_with("mailto:") {
            return Some("links are relative, or https://, and pictures are the repository's own".to_owned());
        }
        let (path, anchor) = page.resolve(target);
        match (look(&path), anchor) {
            (None, _) => Some(format!("there is no {path}")),
            (Some(Place::Page(other)), Some(anchor)) => {
                let known = other.headings.iter().any(|h| h.anchor == anchor);
                let anchors =
                    || other.headings.iter().map(|h| h.anchor.as_str()).collect::<Vec<_>>().join(", ");
                (!known)
                    .then(|| format!("{path} has no heading with the anchor {anchor}, only {}", anchors()))
            }
            (Some(Place::Text(lines)), Some(anchor)) => {
                let number = |l: &str| l.strip_prefix('L')?.parse::<usize>().ok();
                let fits = anchor.split('-').all(|l| number(l).is_some_and(|n| (1..=lines).contains(&n)));
                (!fits).then(|| format!("{path} has {lines} lines and no {anchor}"))
            }
            (Some(Place::Directory | Place::Other), Some(_)) => Some(format!("{path} has no anchors")),
            (Some(Place::Directory), None) if link.is_picture => Some(format!("{path} is a directory")),
            (Some(_), None) => None,
        }
    };
    let found = |link| fault(link).map(|f| format!("{}: {}: {f}", page.at(link.line), link.target));
    page.links.iter().filter_map(found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(link: &str) -> Faults {
        let page = Page::parse("docs/ko/a.md", &format!("# A b\n\n{link}\n"));
        faults(&page, |path| match path {
            "docs/ko/a.md" => Some(Place::Page(Page::parse("docs/ko/a.md", "# A b\n"))),
            "docs/b.md" => Some(Place::Page(Page::parse("docs/b.md", "# 실행해 보기\n\n# X\n\n# X\n"))),
            "crates/f.rs" => Some(Place::Text(10)),
            "crates" => Some(Place::Directory),
            "docs/images/p.svg" => Some(Place::Other),
            _ => None,
        })
    }

    #[test]
    fn what_exists_can_be_linked() {
        for link in [
            "[x](#a-b)",
            "[x](../b.md)",
            "[x](../b.md#실행해-보기)",
            "[x](../b.md#x-1)",
            "[x](../../crates/f.rs)",
            "[x](../../crates/f.rs#L10)",
            "[x](../../crates/f.rs#L3-L5)",
            "[x](../../crates/)",
            "![x](../images/p.svg)",
            "[x](https://man7.org/linux/man-pages/man2/pipe.2.html)",
        ] {
            assert_eq!(check(link), [""; 0], "{link}");
        }
    }

    #[test]
    fn a_changed_letter_is_found() {
        for link in [
            "[x](#a-c)",
            "[x](b.md)",
            "[x](../b.md#x-2)",
            "[x](../../crates/g.rs)",
            "[x](../../crates/f.rs#L11)",
            "[x](../../crates/f.rs#line)",
            "[x](../../../etc/passwd)",
            "[x](/etc/passwd)",
            "![x](../images/q.svg)",
            "![x](https://example.org/p.svg)",
            "[x](http://example.org/)",
        ] {
            let faults = check(link);
            assert!(faults.len() == 1 && faults[0].starts_with("docs/ko/a.md:3: "), "{link}: {faults:?}");
        }
    }
}
