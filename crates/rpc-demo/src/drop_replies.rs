//! The mistake that nobody makes on purpose: a reply that is lost on its way.
//!
//! The procedure has run, and its client will never hear of it. A network does this now and then; here every
//! Nth reply is really not sent, so that it can be watched.

use std::num::NonZeroU64;

/// Which replies are lost.
#[derive(Clone, Copy, Debug, Default)]
pub struct DropReplies {
    every: Option<NonZeroU64>,
    replies: u64,
    dropped: u64,
}

impl DropReplies {
    /// Every `every`th; `None` loses none.
    pub fn new(every: Option<NonZeroU64>) -> DropReplies {
        DropReplies { every, ..DropReplies::default() }
    }

    /// Whether the next reply is lost.
    pub fn takes_next(&mut self) -> bool {
        self.replies += 1;
        let takes = self.every.is_some_and(|every| self.replies % every == 0);
        self.dropped += u64::from(takes);
        takes
    }

    /// How many were lost.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nth() {
        let taken = |every| {
            let mut replies = DropReplies::new(NonZeroU64::new(every));
            (0..6).map(|_| replies.takes_next()).collect::<Vec<_>>()
        };
        assert_eq!(taken(0), [false; 6]);
        assert_eq!(taken(1), [true; 6]);
        assert_eq!(taken(3), [false, false, true, false, false, true]);
    }
}
