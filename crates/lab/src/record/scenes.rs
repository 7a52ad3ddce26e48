//! The scene of each pair that makes a telling picture: slow enough for the eye, and with a wait in it.

use std::time::Duration;

use crate::pairs::{Pair, Role};
use Role::{Consumer, Producer};
use Step::{End, Pause, Start, Until};

/// What is played, and what is to be seen.
#[derive(Debug)]
pub struct Scene {
    /// What the picture shows.
    pub title: String,
    /// What happens.
    pub steps: Vec<Step>,
}

/// One step of a scene.
#[derive(Debug)]
pub enum Step {
    /// A side starts, with these arguments.
    Start(Role, Vec<String>),
    /// What was started last prints this, or ends.
    Until(String),
    /// A while passes.
    Pause(Duration),
    /// What was started last ends.
    End,
}

impl Scene {
    /// The consumer first, then the producer, with the arguments of one's own.
    pub fn of_ones_own(pair: &Pair, producer: Vec<String>, consumer: Vec<String>) -> Scene {
        // A consumer says at once that it waits.
        let steps = vec![Start(Consumer, consumer), Until("waiting".into()), Start(Producer, producer)];
        Scene { title: format!("{}: a run with arguments of one's own", pair.method), steps }
    }
}

/// The scene of a pair.
pub fn of(pair: &Pair) -> Scene {
    let start = |role, args: &str| Start(role, args.split_whitespace().map(String::from).collect());
    let until = |text: &str| Until(text.into());
    let pause = |ms| Pause(Duration::from_millis(ms));
    let (title, steps) = match pair.method {
        "pipe" => (
            "Pipe: the consumer waits in read() for a slow producer",
            vec![
                start(Consumer, ""),
                until("waiting"),
                pause(700),
                start(Producer, "--count 4 --interval 600ms"),
            ],
        ),
        "mq" => (
            "Message queue: the producer runs ahead until the queue is full",
            vec![
                start(Producer, "--count 5 --interval 100ms --capacity 3"),
                until("blocked"),
                pause(800),
                start(Consumer, "--delay 800ms"),
            ],
        ),
        "shm" => (
            "Shared memory: two slots, and a consumer that takes its time",
            vec![
                start(Consumer, "--delay 700ms"),
                until("waiting"),
                pause(500),
                start(Producer, "--count 4 --interval 100ms --slots 2"),
            ],
        ),
        "mmap" => (
            "Mapped file: the producer has ended before the consumer begins",
            vec![
                start(Producer, "--count 5 --interval 200ms"),
                End,
                pause(600),
                start(Consumer, "--delay 200ms"),
            ],
        ),
        "socket" => (
            "Socket: two producers at once, one consumer",
            vec![
                start(Producer, "--count 4 --interval 400ms"),
                until("waiting"),
                pause(500),
                start(Consumer, ""),
                pause(600),
                start(Producer, "--count 3 --interval 400ms"),
            ],
        ),
        _ => (
            "Remote procedure call: the client waits while the server works",
            vec![
                start(Consumer, "--delay 500ms"),
                until("waiting"),
                pause(400),
                start(Producer, "--count 3 --interval 400ms"),
            ],
        ),
    };
    Scene { title: title.into(), steps }
}
