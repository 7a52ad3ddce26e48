//! Waiting: look for a while whether it comes, and only then sleep. For how long is learnt from what it was good for.
//!
//! ```text
//!                       it came: looking helped, and may take twice as long as it did
//!                     +-------------------------------------------------------------> go on; nobody slept
//!   nothing there     |
//!   ------------> look, look, · look, look, · look, look, …         at most 50 µs
//!                     |
//!                     +-------------------------------------------------------------> sleep, until woken
//!                       it did not come: half as long next time, in the end not at all
//! ```
//!
//! To sleep and be woken takes two system calls and some ten microseconds; what is waited for may be there in a tenth of
//! one. Who looks meanwhile has not said that it sleeps, so the other side calls nobody. But looking takes a whole
//! processor, for nothing if the other side is slow. What was worth it the last times will be the next time, mostly.
//!
//! | | looks | then |
//! |---|---|---|
//! | [`How::Block`] | never | sleeps: the plain version, to compare |
//! | [`How::Adaptive`] | for as long as it has learnt; once it has given up, every 32nd time, because the other may be fast by now | sleeps |
//! | [`How::Spin`] | always, once again after each pause | never sleeps |
//!
//! Between two looks at the clock (the dots above) there are more and more looks at what is waited for: to look at the
//! clock takes some 30 ns, in which it can come and not be seen.
//! Where there is one processor for both, nobody writes while we look. So then the pause between looks is sched_yield(2).
//!
//! Guarantees: a look is all that happens here, so what a mechanism promises about sleeping and waking stays as it is.
//! [`How::Adaptive`] never looks longer than it takes to sleep and be woken, so it costs at most twice the better choice.
//! Limits: with more processes than processors, looking can take the one that the other side needs.
//!
//! System calls: sched_yield(2), and sched_getaffinity(2) once. See also Karlin, Li, Manasse, Owicki, "Empirical Studies
//! of Competitive Spinning for a Shared-Memory Multiprocessor" (1991).

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};
use std::{hint, thread};

/// The longest that looking can be worth: about what it takes to sleep and be woken.
const LONGEST: Duration = Duration::from_micros(50);
/// Less than this is not worth the look at the clock.
const SHORTEST: Duration = Duration::from_micros(1);
/// Who has given up tries it once in so many waits.
const TRY_AGAIN: u32 = 32;
/// Who never sleeps lets the caller look around after so long.
const LOOK_AROUND: Duration = Duration::from_millis(1);
/// The most looks between two looks at the clock: about a microsecond's.
const LOOKS: u32 = 64;

/// How to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum How {
    /// Sleep at once.
    Block,
    /// Look for as long as that has helped, then sleep.
    #[default]
    Adaptive,
    /// Look, and never sleep.
    Spin,
}

impl How {
    /// Their names.
    pub const NAMES: [&str; 3] = ["block", "adaptive", "spin"];

    /// The one of that name; the default if there is none.
    pub fn of_name(name: &str) -> How {
        match name {
            "block" => How::Block,
            "spin" => How::Spin,
            _ => How::default(),
        }
    }
}

/// How one side waits, and what it has learnt.
#[derive(Clone, Debug)]
pub struct Waiting {
    how: How,
    /// This process has one processor.
    alone: bool,
    /// For how long looking is worth it, as far as we know; zero: not at all.
    patience: Duration,
    /// Waits since we have given up.
    waits: u32,
}

impl Default for Waiting {
    fn default() -> Waiting {
        Waiting::new(How::default())
    }
}

impl Waiting {
    /// One that has yet to learn.
    pub fn new(how: How) -> Waiting {
        let alone = thread::available_parallelism().map_or(1, usize::from) == 1;
        Waiting { how, alone, patience: LONGEST, waits: 0 }
    }

    /// Looks again and again whether what is waited for is `there`: whether it has come. If not, it is time to sleep.
    ///
    /// # Errors
    /// `Interrupted` for who never sleeps, every millisecond, so that the caller can look around.
    pub fn look(&mut self, there: impl FnMut() -> bool) -> io::Result<bool> {
        self.look_by(Instant::now, there)
    }

    fn look_by(&mut self, now: impl Fn() -> Instant, mut there: impl FnMut() -> bool) -> io::Result<bool> {
        let patience = match self.how {
            How::Block => return Ok(false),
            _ if there() => return Ok(true), // that was no wait
            How::Adaptive => self.patience(),
            How::Spin => LOOK_AROUND,
        };
        if patience.is_zero() {
            return Ok(false);
        }
        let (since, mut took, mut looks) = (now(), Duration::ZERO, 1);
        while took < patience {
            for _ in 0..looks {
                self.pause();
                if there() {
                    self.patience = self.patience.max(2 * took).clamp(SHORTEST, LONGEST);
                    return Ok(true);
                }
            }
            took = now() - since;
            looks = (2 * looks).min(LOOKS);
        }
        match self.how {
            How::Spin => Err(ErrorKind::Interrupted.into()),
            _ => {
                self.give_up_a_little();
                Ok(false)
            }
        }
    }

    fn patience(&mut self) -> Duration {
        if !self.patience.is_zero() {
            return self.patience;
        }
        self.waits = (self.waits + 1) % TRY_AGAIN;
        if self.waits == 0 { LONGEST } else { Duration::ZERO }
    }

    fn give_up_a_little(&mut self) {
        self.patience /= 2;
        if self.patience < SHORTEST {
            self.patience = Duration::ZERO;
        }
    }

    fn pause(&self) {
        if self.alone {
            thread::yield_now();
        } else {
            hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A clock that goes on by a microsecond with each look at it.
    struct Clock {
        started: Instant,
        microseconds: Cell<u64>,
    }

    impl Clock {
        /// One wait for what comes after so many microseconds: whether looking found it, and how long it looked.
        fn wait(waiting: &mut Waiting, comes_after: u64) -> (io::Result<bool>, u64) {
            let clock = Clock { started: Instant::now(), microseconds: Cell::new(0) };
            let now = || {
                let past = clock.microseconds.get();
                clock.microseconds.set(past + 1);
                clock.started + Duration::from_micros(past)
            };
            let found = waiting.look_by(now, || clock.microseconds.get() > comes_after);
            (found, clock.microseconds.get())
        }
    }

    fn found(waiting: &mut Waiting, comes_after: u64) -> bool {
        Clock::wait(waiting, comes_after).0.expect("an adaptive wait ends by sleeping")
    }

    const NEVER: u64 = u64::MAX;

    #[test]
    fn who_waits_in_vain_soon_sleeps_at_once() {
        let mut waiting = Waiting::new(How::Adaptive);
        let looked: Vec<u64> = (0..8).map(|_| Clock::wait(&mut waiting, NEVER).1).collect();
        // 50 µs, 25, 12.5 …; the clock is looked at once more than it goes on.
        assert_eq!(looked, [51, 26, 14, 8, 5, 3, 0, 0]);
    }

    #[test]
    fn what_helped_may_take_twice_as_long() {
        let mut waiting = Waiting::new(How::Adaptive);
        (0..4).for_each(|_| assert!(!found(&mut waiting, NEVER)));
        assert!(!found(&mut waiting, 6), "its patience is 3 µs by now");
        waiting.patience = Duration::from_micros(10);
        assert!(found(&mut waiting, 9));
        assert_eq!(waiting.patience, Duration::from_micros(18));
        assert!(found(&mut waiting, 1));
        assert_eq!(
            waiting.patience,
            Duration::from_micros(18),
            "a short wait says nothing about a longer one"
        );
        for _ in 0..3 {
            let just_in_time = waiting.patience.as_micros() as u64 - 1;
            assert!(found(&mut waiting, just_in_time));
        }
        assert_eq!(waiting.patience, LONGEST);
        assert!(!found(&mut waiting, 60), "never longer than a sleep takes");
    }

    #[test]
    fn who_has_given_up_tries_again_now_and_then() {
        let mut waiting = Waiting::new(How::Adaptive);
        (0..6).for_each(|_| assert!(!found(&mut waiting, NEVER)));
        let first = (1..).find(|_| found(&mut waiting, 20)).expect("once");
        assert_eq!(first, TRY_AGAIN);
        assert!(found(&mut waiting, 20), "it has learnt that looking helps again");
    }

    #[test]
    fn what_is_there_is_no_wait_and_teaches_nothing() {
        let mut waiting = Waiting::new(How::Adaptive);
        (0..6).for_each(|_| assert!(!found(&mut waiting, NEVER)));
        for _ in 0..100 {
            assert!(waiting.look_by(|| panic!("a look at the clock"), || true).expect("there"));
        }
        assert_eq!((waiting.patience, waiting.waits), (Duration::ZERO, 0));
    }

    #[test]
    fn who_blocks_never_looks_and_who_spins_never_sleeps() {
        let mut block = Waiting::new(How::Block);
        assert!(!block.look(|| panic!("a look")).expect("no error"));
        let mut spin = Waiting::new(How::Spin);
        for _ in 0..100 {
            let (found, looked) = Clock::wait(&mut spin, NEVER);
            assert_eq!((found.expect_err("in vain").kind(), looked), (ErrorKind::Interrupted, 1001));
            assert!(Clock::wait(&mut spin, 900).0.expect("it came"));
        }
    }
}
