//! How much may be handed out before it is counted again what somebody has.

/// Of what is left, this part may go without another count.
const PART: usize = 8;
/// A count is good for so long, in microseconds: others hand out, too.
const GOOD_FOR_US: i64 = 1_000_000;

/// What may go without another count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    left: usize,
    until_us: i64,
}

impl Allowance {
    /// After a count that found so much `left`, in the limit, at this time in microseconds.
    pub fn of(left: usize, now_us: i64) -> Self {
        Allowance {
            left: left / PART,
            until_us: now_us.saturating_add(GOOD_FOR_US),
        }
    }

    /// Whether so many can go without another count.
    pub fn covers(self, wanted: usize, now_us: i64) -> bool {
        wanted <= self.left && now_us < self.until_us
    }

    pub fn use_up(&mut self, taken: usize) {
        self.left = self.left.saturating_sub(taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_from_the_limit_many_go_without_a_count() {
        let mut allowance = Allowance::of(800, 0);
        assert!(allowance.covers(100, 0));
        assert!(!allowance.covers(101, 0));
        allowance.use_up(60);
        assert!(allowance.covers(40, 0));
        assert!(!allowance.covers(41, 0));
    }

    #[test]
    fn near_the_limit_each_is_counted() {
        for left in 0..PART {
            assert!(!Allowance::of(left, 0).covers(1, 0), "{left} left");
        }
    }

    #[test]
    fn a_count_grows_old() {
        let allowance = Allowance::of(800, 5);
        assert!(allowance.covers(1, 4 + GOOD_FOR_US));
        assert!(!allowance.covers(1, 5 + GOOD_FOR_US));
    }
}
