//! A stand-in for `consumer.rs`: one that has met a producer which does not die.

use std::io::{self, ErrorKind};

use crate::reader::{Reader, Record};

/// The consumer's end.
#[derive(Debug)]
pub struct Consumer {
    pub reader: Option<Reader>,
    pub ended: bool,
    pub producer: Option<u32>,
    pub lost: Option<String>,
}

impl Consumer {
    //= pub fn find(&mut self)

    //= pub fn try_find(&mut self)

    //= fn find_by(&mut self

    //= pub fn record(&mut self)

    fn try_meet(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn nobody_arrived(&self) -> bool {
        false
    }

    fn gone(&self, why: &str) -> io::Error {
        panic!("{why}")
    }
}
