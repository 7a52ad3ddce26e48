//! A stand-in for `object.rs`: two processes that live, and the goodbye.

use std::io::{self, ErrorKind};
use std::mem::offset_of;
use std::rc::Rc;
use std::sync::atomic::Ordering::{Acquire, Release};

use crate::memory::Memory;

pub const CONTROL: usize = 128;

struct Header {
    closed: u32,
}

#[derive(Debug)]
pub enum SyncKind {
    Ring,
}

#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub slots: u32,
    pub slot_size: u32,
}

impl Shape {
    pub fn stride(&self, header: usize) -> usize {
        (header + self.slot_size as usize).next_multiple_of(64)
    }
}

pub struct Format {
    pub kind: SyncKind,
    pub one_each: bool,
    pub size: fn(&Shape) -> usize,
    pub init: fn(&Memory, &Shape) -> io::Result<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Producer,
    Consumer,
}

/// One process's view.
#[derive(Debug)]
pub struct Object {
    pub memory: Rc<Memory>,
    pub shape: Shape,
    pub role: Role,
}

impl Object {
    //= pub fn is_closed(&self) -> bool {

    pub fn end(&self, closed: bool) -> io::Result<()> {
        if closed { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
    }

    pub fn leave(&mut self, goodbye: bool, _left: usize, wake: impl FnOnce(&Memory)) -> io::Result<()> {
        let memory = &*self.memory;
        match self.role {
            _ if !goodbye => {}
            Role::Consumer => {}
            //= Role::Producer => {
        }
        Ok(())
    }

    pub fn is_producers(&self) -> bool {
        self.role == Role::Producer
    }

    pub fn look(&mut self, _recover: impl FnMut(&Object, u32) -> io::Result<()>) -> io::Result<()> {
        Ok(())
    }

    pub fn owed(&self, items: usize) -> usize {
        items
    }

    pub fn check_item(&self, _item: &[u8]) -> io::Result<()> {
        Ok(())
    }

    pub fn check_length(&self, len: u32) -> io::Result<usize> {
        Ok(len as usize)
    }

    pub fn damaged(&self, field: &str, found: u64, expected: &str) -> io::Error {
        panic!("{field} is {found}, not {expected}")
    }
}
