//! A parent that pushes, and a child that pops: first through the lock-free ring, then through the buffer
//! with a robust mutex.
//!
//! ```text
//! cargo run --example buffer
//! ```

use std::error::Error;
use std::io;
use std::process::Command;

use common::place::Place;
use shm_demo::mutex::{self, MutexBuffer};
use shm_demo::object::{Object, Shape};
use shm_demo::ring::{self, Ring};
use shm_demo::seat::Seat;

const ITEMS: u64 = 10_000;
const SHAPE: Shape = Shape { slots: 16, slot_size: 64 };

fn main() -> Result<(), Box<dyn Error>> {
    let place = Place::open()?;
    // The child is this program again, told which buffer and under which name.
    if let [_, which, name] = &std::env::args().collect::<Vec<_>>()[..] {
        return Ok(consume(&place, which, name)?);
    }
    for which in ["ring", "mutex"] {
        let name = format!("example-{which}-{}", std::process::id());
        let mut child;
        if which == "ring" {
            let mut ring = Ring::new(Object::create(&place, &name, &ring::FORMAT, SHAPE)?)?;
            child = Command::new(std::env::current_exe()?).args([which, &name]).spawn()?;
            for i in 0..ITEMS {
                ring.push(&i.to_le_bytes())?;
            }
            wait_for_its_end(|| ring.finish())?;
        } else {
            let mut buffer = MutexBuffer::new(Object::create(&place, &name, &mutex::FORMAT, SHAPE)?)?;
            child = Command::new(std::env::current_exe()?).args([which, &name]).spawn()?;
            for i in 0..ITEMS {
                buffer.push(&i.to_le_bytes())?;
            }
            wait_for_its_end(|| buffer.finish())?;
        }
        if !child.wait()?.success() {
            return Err(format!("{which}: the child failed").into());
        }
        println!("{which}: {ITEMS} items went from process {} to its child", std::process::id());
    }
    Ok(())
}

fn consume(place: &Place, which: &str, name: &str) -> io::Result<()> {
    let mut sum = 0;
    if which == "ring" {
        let mut seat = Some(Seat::consumer(place, name, &ring::FORMAT)?);
        let mut ring = Ring::new(Object::open(&mut seat)?.ok_or(io::ErrorKind::NotFound)?)?;
        while ring.pop()? {
            sum += number(ring.item())?;
        }
    } else {
        let mut seat = Some(Seat::consumer(place, name, &mutex::FORMAT)?);
        let mut buffer = MutexBuffer::new(Object::open(&mut seat)?.ok_or(io::ErrorKind::NotFound)?)?;
        while buffer.pop()? {
            sum += number(buffer.item())?;
        }
    }
    if sum == ITEMS * (ITEMS - 1) / 2 { Ok(()) } else { Err(io::Error::other(format!("the sum is {sum}"))) }
}

fn number(item: &[u8]) -> io::Result<u64> {
    Ok(u64::from_le_bytes(item.try_into().map_err(io::Error::other)?))
}

/// The goodbye is refused while items are left and the child has not come to take them.
fn wait_for_its_end(mut finish: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match finish() {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            done => return done,
        }
    }
}
