//! What became of the items when nobody synchronised: the shared counter, beside what it should be.

/// The numbers of [`crate::unsynchronized`] after all producers have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Items that the producers pushed, as each of them counted for itself.
    pub pushed: u32,
    /// What the shared counter says, to which each push added one.
    pub increments: u32,
    /// Items that the consumers popped, likewise; known to the last of them.
    pub popped: Option<u32>,
}

/// What helps, in all of these cases.
const FIX: &str = "--sync semaphore or mutex";

impl Tally {
    /// Updates of the shared counter that were lost.
    pub fn lost_updates(&self) -> u32 {
        // Both wrap. Killed producers have added, and told nobody: that is no loss.
        let difference = self.pushed.wrapping_sub(self.increments);
        if difference as i32 > 0 { difference } else { 0 }
    }

    /// What went wrong, each in a sentence.
    pub fn faults(&self) -> Vec<String> {
        let (pushed, increments) = (grouped(self.pushed), grouped(self.increments));
        let mut faults = Vec::new();
        if self.lost_updates() > 0 {
            faults.push(format!("lost update: {increments} of {pushed} increments are there ({FIX})"));
        }
        if let Some(popped) = self.popped.filter(|popped| *popped != self.pushed) {
            let popped = grouped(popped);
            faults.push(format!("lost or doubled items: {popped} were popped of {pushed} pushed ({FIX})"));
        }
        faults
    }

    /// What did not go wrong, although it might have.
    pub fn luck(&self) -> Option<String> {
        let all = grouped(self.pushed);
        let lucky = self.pushed > 0 && self.pushed == self.increments;
        lucky.then(|| format!("no update was lost this time: all {all} increments are there"))
    }

    /// The numbers for a program, by name.
    pub fn numbers(&self) -> Vec<(&'static str, u32)> {
        let mut numbers = vec![("pushed", self.pushed), ("increments", self.increments)];
        numbers.extend(self.popped.map(|popped| ("popped", popped)));
        numbers
    }
}

/// `200,000`
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_a_loss() {
        let tally = |pushed, increments| Tally { pushed, increments, popped: None };
        assert_eq!(tally(200_000, 199_874).lost_updates(), 126);
        assert_eq!(tally(5, u32::MAX - 1).lost_updates(), 7, "both wrap");
        assert_eq!(tally(5, 7).lost_updates(), 0, "a killed producer told nobody");
        let fault = "lost update: 199,874 of 200,000 increments are there (--sync semaphore or mutex)";
        assert_eq!(tally(200_000, 199_874).faults(), [fault]);
        assert!(tally(999, 999).faults().is_empty());
    }

    #[test]
    fn numbers_can_be_read() {
        assert_eq!([0, 999, 1000, 4_294_967_295].map(grouped), ["0", "999", "1,000", "4,294,967,295"]);
    }
}
