//! A stand-in for both demos' `futex.rs`: what the kernel does, for loom to see.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::ptr;
use std::rc::Rc;

use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
use loom::sync::{Condvar, Mutex};
use loom::thread::{self, ThreadId};

/// The sleepers of one word, under a lock as in the kernel.
struct Queue {
    lock: Mutex<()>,
    woken: Condvar,
}

/// A signal to the other thread than its sender's.
struct Signal {
    sent: AtomicU32,
    sender: Cell<Option<ThreadId>>,
}

// Loom runs all threads of a model on one, whose these are.
thread_local! {
    static QUEUES: RefCell<HashMap<*const AtomicU32, Rc<Queue>>> = RefCell::default();
    static SIGNAL: RefCell<Option<Rc<Signal>>> = const { RefCell::new(None) };
}

fn queue(word: &AtomicU32) -> Rc<Queue> {
    let made = || Rc::new(Queue { lock: Mutex::new(()), woken: Condvar::new() });
    QUEUES.with_borrow_mut(|queues| Rc::clone(queues.entry(ptr::from_ref(word)).or_insert_with(made)))
}

fn the_signal() -> Rc<Signal> {
    SIGNAL.with_borrow(|signal| signal.clone()).expect("a run has begun")
}

/// Forgets the run before.
pub fn forget() {
    QUEUES.with_borrow_mut(HashMap::clear);
    SIGNAL.set(Some(Rc::new(Signal { sent: AtomicU32::new(0), sender: Cell::new(None) })));
}

/// Sends the other thread a signal, which ends one of its waits, or none: loom tries all.
pub fn send_signal() {
    the_signal().sender.set(Some(thread::current().id()));
    the_signal().sent.store(1, Relaxed);
}

/// Whether a signal has come. Once.
fn is_interrupted() -> bool {
    let signal = the_signal();
    let is_sent = signal.sender.get().is_some_and(|sender| sender != thread::current().id());
    let has_come = is_sent && signal.sent.load(Relaxed) != 0;
    if has_come {
        signal.sender.set(None);
    }
    has_come
}

/// Compares and falls asleep in one step.
pub fn wait(word: &AtomicU32, expected: u32) -> io::Result<()> {
    if is_interrupted() {
        return Err(ErrorKind::Interrupted.into());
    }
    let queue = queue(word);
    let lock = queue.lock.lock().expect("nobody panics with it");
    if word.load(Relaxed) == expected {
        drop(queue.woken.wait(lock));
    }
    Ok(())
}

/// Wakes one sleeper, if there is one.
pub fn wake(word: &AtomicU32, sleepers: i32) {
    assert_eq!(sleepers, 1);
    let queue = queue(word);
    let _lock = queue.lock.lock().expect("nobody panics with it");
    queue.woken.notify_one();
}
