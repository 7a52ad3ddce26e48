//! Loom, and orderings that can be weakened for it.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::panic;
use std::sync::atomic::Ordering;

use crate::futex;

/// Some orderings, a model, and what goes wrong in it when they are weakened: the first is what this is about.
/// If there is another, it makes up for the first, so that only both together do harm.
pub type Needed = (&'static [&'static str], fn(), &'static str);

/// What loom says when plain memory is written while another thread may use it.
pub const RACE: &str = "Causality violation";
/// What it says when nobody is left who could wake the others.
pub const ASLEEP: &str = "deadlock";

thread_local! {
    /// Loom runs all threads of a model on the one that explores it.
    static WEAK: Cell<&'static [&'static str]> = const { Cell::new(&[]) };
}

/// The ordering of that name: as it stands in the source, or Relaxed.
pub fn ordering(site: &str, strong: Ordering) -> Ordering {
    if WEAK.get().contains(&site) { Ordering::Relaxed } else { strong }
}

/// A Relaxed fence is none.
pub fn fence(ordering: Ordering) {
    if ordering != Ordering::Relaxed {
        loom::sync::atomic::fence(ordering);
    }
}

/// Runs a model in every way; panics in the first that goes wrong.
pub fn explore(model: fn()) {
    let mut loom = loom::model::Builder::new();
    loom.preemption_bound.get_or_insert(3);
    loom.check(move || {
        futex::forget();
        model();
    });
}

/// Who is interrupted, once, during a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Signalled {
    Nobody,
    Producing,
    Consuming,
}

/// Calls again what a signal has interrupted.
pub fn again<T>(mut call: impl FnMut() -> io::Result<T>) -> T {
    loop {
        match call() {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            done => return done.expect("nobody dies"),
        }
    }
}

/// What came of a call that never waits, unless it would have to.
pub fn would_not_block<T>(result: io::Result<T>) -> Option<T> {
    result.map_err(|e| assert_eq!(e.kind(), ErrorKind::WouldBlock, "{e}")).ok()
}

/// What goes wrong with these orderings weakened, if anything does.
fn explore_without(sites: &'static [&'static str], model: fn()) -> Option<String> {
    WEAK.set(sites);
    let found = panic::catch_unwind(|| explore(model));
    WEAK.set(&[]);
    let found = found.err()?;
    let text = found.downcast_ref::<String>().map(String::as_str);
    Some(text.or_else(|| found.downcast_ref().copied()).unwrap_or("a panic without words").into())
}

/// Whether it is known of each ordering of a ring, and true, what breaks without it.
pub fn each_is_needed(sites: &[&str], needed: &[Needed]) {
    let mut known: Vec<_> = needed.iter().map(|(sites, ..)| sites[0]).collect();
    let mut sites = sites.to_vec();
    known.sort_unstable();
    sites.sort_unstable();
    assert_eq!(known, sites, "on the left the orderings of which it is said what they are for");
    for &(sites, model, breaks) in needed {
        if let [_, _, ..] = sites {
            for site in sites.chunks(1) {
                let found = explore_without(site, model);
                assert_eq!(found, None, "without {site:?} alone");
            }
        }
        let found = explore_without(sites, model).unwrap_or_else(|| panic!("nobody needs {sites:?}"));
        assert!(found.contains(breaks), "without {sites:?} comes, in place of {breaks:?}: {found}");
        println!("without {}: {}", sites.join(", "), found.lines().next().unwrap_or_default());
    }
}
