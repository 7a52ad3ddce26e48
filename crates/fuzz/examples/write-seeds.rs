//! Writes the inputs to begin with, made by the real encoders, into each target's corpus.

use std::fs;
use std::path::Path;

use fuzz::TARGETS;

fn main() -> std::io::Result<()> {
    for target in TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name);
        fs::create_dir_all(&corpus)?;
        for (name, bytes) in (target.seeds)() {
            fs::write(corpus.join(name), bytes)?;
        }
    }
    Ok(())
}
