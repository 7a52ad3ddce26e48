//! What mdBook asks of us before it renders: links to source files become links to pages of the site, and every page
//! begins with a link to its other language. So the Markdown needs nothing that only mdBook understands.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::pages::{Sources, place_of_source};
use super::top;

/// A preprocessor of mdBook: a context and a book come as JSON on standard input, the book goes back on standard
/// output. With the argument `supports` it is asked whether it knows a renderer: any.
pub fn preprocess(question: Option<&str>) -> Result<bool> {
    if question == Some("supports") {
        return Ok(true);
    }
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input).context("read from mdBook")?;
    let [context, mut book]: [Value; 2] = serde_json::from_str(&input).context("understand mdBook")?;
    let korean = context["config"]["book"]["language"] == "ko";
    let mut sources = Sources::new(top()?);
    let items = book["items"].as_array_mut().context("a book has items")?;
    for item in items.iter_mut() {
        chapter(item, korean, &mut sources)?;
    }
    if !korean {
        sources.add_readmes()?;
        items.push(json!({ "PartTitle": "Sources" }));
        items.extend(source_chapters(&sources));
    }
    let book = serde_json::to_string(&book)?;
    std::io::stdout().write_all(book.as_bytes()).context("answer mdBook")?;
    Ok(true)
}

fn chapter(item: &mut Value, korean: bool, sources: &mut Sources<'_>) -> Result<()> {
    let Some(chapter) = item.get_mut("Chapter") else { return Ok(()) };
    if let Some(name) = chapter["source_path"].as_str().map(String::from) {
        let at = chapter["path"].as_str().unwrap_or(&name).to_owned();
        let content = chapter["content"].as_str().context("a chapter has content")?;
        let below = if korean { "ko/" } else { "" };
        let content = sources.rewritten(content, &format!("docs/{below}{name}"), &format!("{below}{at}"))?;
        let html = at.replace(".md", ".html");
        let (language, title, link) = if korean {
            ("en", "English", format!("../{html}"))
        } else {
            ("ko", "한국어", format!("ko/{html}"))
        };
        let twin = if korean { format!("docs/{name}") } else { format!("docs/ko/{name}") };
        let switch =
            format!("<p class=\"language\"><a href=\"{link}\" lang=\"{language}\">{title}</a></p>\n\n");
        let switch = if top()?.join(twin).is_file() { switch } else { String::new() };
        chapter["content"] = Value::String(switch + &content);
    }
    if let Some(below) = chapter["sub_items"].as_array_mut() {
        for item in below {
            self::chapter(item, korean, sources)?;
        }
    }
    Ok(())
}

/// The pages of source files: a chapter for each crate, its files below it, and one for what lies above the crates.
fn source_chapters(sources: &Sources<'_>) -> Vec<Value> {
    let mut groups: BTreeMap<String, Vec<(&str, &str, &str)>> = BTreeMap::new();
    for (path, text) in &sources.pages {
        let (group, name) = match path.splitn(3, '/').collect::<Vec<_>>()[..] {
            ["crates", package, name] => (format!("crates/{package}"), name),
            _ => ("Cargo workspace".to_owned(), path.as_str()),
        };
        groups.entry(group).or_default().push((name, path, text));
    }
    let mut chapters = Vec::new();
    for (group, files) in groups {
        // mdBook takes the depth from the number, which is not shown.
        let number = chapters.len() + 1000;
        let (readme, files): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| file.0 == "README.md");
        let below = files.into_iter().enumerate();
        let below = below.map(|(i, (name, path, text))| page(name, text, path, &[number, i + 1], Vec::new()));
        let below = below.collect();
        let own = (format!("# {group}\n"), format!("{group}/README.md"));
        let (text, path) = readme.first().map_or((&*own.0, &*own.1), |(_, path, text)| (text, path));
        chapters.push(page(&group, text, path, &[number], below));
    }
    chapters
}

fn page(name: &str, text: &str, path: &str, number: &[usize], below: Vec<Value>) -> Value {
    json!({ "Chapter": {
        "name": name,
        "content": text,
        "number": number,
        "sub_items": below,
        "path": place_of_source(path),
        "source_path": null,
        "parent_names": [],
    }})
}
