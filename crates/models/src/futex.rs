//! A stand-in for both demos' `futex.rs`: what the kernel does, for loom to see.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::ptr;
use std::rc::Rc;

use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
use loom::sync::{Condvar, Mutex};

/// The sleepers of one word, under a lock as in the kernel.
struct Queue {
    lock: Mutex<()>,
    woken: Condvar,
}

thread_local! {
    static QUEUES: RefCell<HashMap<*const AtomicU32, Rc<Queue>>> = RefCell::default();
}

fn queue(word: &AtomicU32) -> Rc<Queue> {
    let made = || Rc::new(Queue { lock: Mutex::new(()), woken: Condvar::new() });
    QUEUES.with_borrow_mut(|queues| Rc::clone(queues.entry(ptr::from_ref(word)).or_insert_with(made)))
}

/// Forgets the words of the run before.
pub fn forget() {
    QUEUES.with_borrow_mut(HashMap::clear);
}

/// Compares and falls asleep in one step.
pub fn wait(word: &AtomicU32, expected: u32) -> io::Result<()> {
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
