//! Hands three records to a second process through a mapped file: `cargo run -p mmap-demo --example mapped_ring`.

use std::io;
use std::process::Command;

use common::place::Place;
use mmap_demo::consumer::Consumer;
use mmap_demo::producer::Producer;
use mmap_demo::site::Site;

fn main() -> io::Result<()> {
    match std::env::args().nth(1) {
        Some(name) => consumer(&name),
        None => producer(),
    }
}

fn producer() -> io::Result<()> {
    let name = format!("example-{}", std::process::id());
    let site = Site::named(&Place::open()?, &name);
    let path = site.path.clone();
    let mut producer = Producer::attach(site, 64 * 1024, 100)?;
    let mut child = Command::new(std::env::current_exe()?).arg(&name).spawn()?;
    for record in ["one", "two", "three"] {
        producer.push(record.as_bytes())?;
    }
    producer.finish()?;
    // The file would outlive us both: that is what a mapped file is for, but not this one.
    let status = child.wait()?;
    std::fs::remove_file(path)?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("the consumer ended with {status}"))) }
}

fn consumer(name: &str) -> io::Result<()> {
    let mut consumer = Consumer::attach(Site::named(&Place::open()?, name))?;
    while let Some(len) = consumer.find()? {
        let record = consumer.record().expect("it was found");
        let mut bytes = vec![0; len];
        record.read_at(0, &mut bytes)?;
        println!("process {} took {:?}", std::process::id(), String::from_utf8_lossy(&bytes));
        record.commit();
    }
    consumer.finish()?;
    Ok(())
}
