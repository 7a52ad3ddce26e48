//! `ipc-lab docs`: builds the guide into a website with mdBook, in both languages, and checks every link of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

mod html;
mod pages;
mod preprocess;

pub use preprocess::preprocess;

/// The workspace's directory, in which the guide is.
fn top() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("find the workspace")
}

/// Builds the site into target/book: whether there was no warning and every link leads somewhere.
pub fn docs() -> Result<bool> {
    let top = top()?;
    let mdbook = std::env::var_os("MDBOOK").map_or_else(|| PathBuf::from("mdbook"), PathBuf::from);
    // The English book first: it clears the directory that the Korean one is below.
    let mut good = true;
    for book in ["docs", "docs/ko"] {
        let output = Command::new(&mdbook)
            .arg("build")
            .arg(top.join(book))
            .current_dir(top)
            .output()
            .with_context(|| format!("run {} (make docs installs it)", mdbook.display()))?;
        let said = String::from_utf8_lossy(&[output.stderr, output.stdout].concat()).into_owned();
        let complaint = |line: &&str| [" WARN ", "ERROR"].iter().any(|word| line.contains(word));
        if !output.status.success() || said.lines().any(|line| complaint(&line)) {
            eprintln!("{book}: mdBook complains:\n{}", said.trim_end());
            good = false;
        }
    }
    let site = top.join("target/book");
    // mdBook copies whatever lies beside the pages.
    for file in ["book.toml", "ko/book.toml"] {
        let _ = std::fs::remove_file(site.join(file));
    }
    ensure!(site.join("index.html").is_file(), "there is no {}", site.join("index.html").display());
    let broken = html::broken_links(&site)?;
    for link in &broken {
        eprintln!("{link}");
    }
    let site = site.strip_prefix(top)?.display();
    if good && broken.is_empty() {
        crate::play::print(&format!("the guide is in {site}/index.html\n"))?;
    }
    Ok(good && broken.is_empty())
}
