//! The chaos, decided beforehand: what is done to which side, and when. It is drawn from the seed and from nothing
//! that the processes do, so the same seed draws the same again.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

use crate::pairs::Role;

/// What can be done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL: it is gone, and could do nothing about it.
    Kill,
    /// SIGINT, as by Ctrl-C: it leaves.
    Interrupt,
    /// SIGTERM: it leaves.
    Terminate,
    /// SIGSTOP, and SIGCONT after so long.
    Stop(Duration),
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// So long after the one before.
    pub after: Duration,
    /// To which side.
    pub to: Role,
    /// What.
    pub fault: Fault,
    /// So long that side stays away if it ended by this. One that ends by itself is started again at once.
    pub away: Duration,
}

/// What is decided about one episode: a start of both sides, what is done to them, and an end in peace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its number, from 1.
    pub episode: u64,
    /// Which side starts first.
    pub first: Role,
    /// How many slots a buffer in shared memory has.
    pub slots: usize,
    /// The consumer gathers what it writes, and so is faster; else it writes each item before it takes the next.
    pub gathers: bool,
    /// In this order.
    pub acts: Vec<Act>,
}

/// All plans of a variant, one after the other.
#[derive(Debug)]
pub struct Plans {
    random: Rng,
    episode: u64,
}

impl Plans {
    /// Those that a seed holds for a variant.
    pub fn new(seed: u64, variant: &str) -> Plans {
        // FNV-1a: each variant has a generator of its own, whichever others run beside it.
        let hash = variant.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Plans { random: Rng::with_seed(seed ^ hash), episode: 0 }
    }
}

impl Iterator for Plans {
    type Item = Plan;

    fn next(&mut self) -> Option<Plan> {
        self.episode += 1;
        let random = &mut self.random;
        let first = side(random);
        let slots = [1, 2, 8, 64, 1024][random.usize(0..5)];
        let gathers = random.u8(0..3) == 0;
        let acts = (0..random.usize(1..=5)).map(|_| act(random)).collect();
        Some(Plan { episode: self.episode, first, slots, gathers, acts })
    }
}

fn side(random: &mut Rng) -> Role {
    if random.bool() { Role::Producer } else { Role::Consumer }
}

fn act(random: &mut Rng) -> Act {
    let fault = match random.u8(0..10) {
        0..6 => Fault::Kill,
        6 => Fault::Interrupt,
        7 => Fault::Terminate,
        // Longer than others are ready to wait for a lock, now and then.
        8 => Fault::Stop(3 * moment(random)),
        _ => Fault::Stop(moment(random)),
    };
    let after = moment(random);
    let to = side(random);
    let away = if random.u8(0..3) == 0 { moment(random) } else { Duration::ZERO };
    Act { after, to, fault, away }
}

/// From what a start takes, or the way out, to full swing.
fn moment(random: &mut Rng) -> Duration {
    let most = [2_000, 20_000, 100_000][random.usize(0..3)];
    Duration::from_micros(random.u64(0..most))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Kill => f.write_str("kill"),
            Fault::Interrupt => f.write_str("interrupt"),
            Fault::Terminate => f.write_str("terminate"),
            Fault::Stop(time) => write!(f, "stop for {time:?}"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.gathers { "gathered" } else { "written each" };
        write!(f, "{} first, {} slots, {how}", self.first.name(), self.slots)?;
        for Act { after, to, fault, away } in &self.acts {
            write!(f, "; after {after:?} {} {fault}", to.name())?;
            if !away.is_zero() && !matches!(fault, Fault::Stop(_)) {
                write!(f, ", away {away:?}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_is_the_same_plan_and_another_is_another() {
        let plans = |seed, variant| Plans::new(seed, variant).take(100).collect::<Vec<_>>();
        assert_eq!(plans(7, "shm:ring"), plans(7, "shm:ring"));
        assert_ne!(plans(7, "shm:ring"), plans(8, "shm:ring"));
        assert_ne!(plans(7, "shm:ring"), plans(7, "shm:mutex"));
    }

    #[test]
    fn everything_that_can_be_done_is_done_to_both() {
        let acts: Vec<Act> = Plans::new(1, "x").take(200).flat_map(|plan| plan.acts).collect();
        for role in [Role::Producer, Role::Consumer] {
            let faults = acts.iter().filter(|act| act.to == role).map(|act| act.fault);
            let mut kinds: Vec<_> = faults.map(|f| f.to_string().chars().next()).collect();
            kinds.sort();
            kinds.dedup();
            assert_eq!(kinds.len(), 4, "{kinds:?}");
        }
    }
}
