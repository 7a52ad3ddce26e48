//! `--limits`: what this machine allows, and what happens beyond it. Nothing is created.

use std::io::{ErrorKind, Write, stdout};
use std::process::ExitCode;

use mq_demo::limits;

/// Prints all limits.
pub fn print() -> ExitCode {
    let mut text = String::from("System V (--api sysv)\n");
    for limit in limits::sysv() {
        text += &format!("  {limit}\n");
    }
    text += "POSIX (--api posix)\n";
    for limit in limits::posix() {
        text += &format!("  {limit}\n");
    }
    match stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // A reader that has gone (`| head -1`) is no mistake, and wants no word.
            if e.kind() != ErrorKind::BrokenPipe {
                eprintln!("error: write to standard output: {e}");
            }
            ExitCode::from(1)
        }
    }
}
