//! A parent that pushes, and a child that pops, through the lock-free ring.
//!
//! ```text
//! cargo run --example ring
//! ```

use std::env::{args, current_exe};
use std::error::Error;
use std::io::ErrorKind;
use std::process::Command;
use std::time::Duration;

use common::place::Place;
use shm_demo::object::{Object, Shape};
use shm_demo::ring::{FORMAT, Ring};
use shm_demo::seat::Seat;

const ITEMS: u64 = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    // The child is this program again, told the buffer's name.
    match args().nth(1) {
        Some(name) => consume(&name),
        None => produce(),
    }
}

fn produce() -> Result<(), Box<dyn Error>> {
    let name = format!("example-ring-{}", std::process::id());
    let shape = Shape { slots: 16, slot_size: 64 };
    let mut buffer = Ring::new(Object::create(&Place::open()?, &name, &FORMAT, shape)?)?;
    let mut child = Command::new(current_exe()?).arg(&name).spawn()?;
    for i in 0..ITEMS {
        // Sleeps while the buffer is full.
        buffer.push(&i.to_le_bytes())?;
    }
    // The goodbye is refused while items are left and the child has not come to take them.
    while let Err(e) = buffer.finish() {
        if e.kind() != ErrorKind::WouldBlock {
            return Err(e.into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    if !child.wait()?.success() {
        return Err("the child failed".into());
    }
    println!("{ITEMS} items went from process {} to process {}", std::process::id(), child.id());
    Ok(())
}

fn consume(name: &str) -> Result<(), Box<dyn Error>> {
    let mut seat = Some(Seat::consumer(&Place::open()?, name, &FORMAT)?);
    // Its parent made the object before it started this process; else there would be something to wait for.
    let mut buffer = Ring::new(Object::open(&mut seat)?.ok_or("there is no buffer")?)?;
    let mut next = 0;
    // Sleeps while the buffer is empty; false after the goodbye.
    while buffer.pop()? {
        if buffer.item() != u64::to_le_bytes(next) {
            return Err(format!("item {next} is {:?}", buffer.item()).into());
        }
        next += 1;
    }
    if next == ITEMS { Ok(()) } else { Err(format!("{next} items came").into()) }
}
