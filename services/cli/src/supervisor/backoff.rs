//! How long to wait before a part is started again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// A part that ran this long was well: its next failure counts as the first.
const STEADY: Duration = Duration::from_secs(30);

/// Doubling delays.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The delay after a run of this length.
    pub fn after(&mut self, run: Duration) -> Duration {
        if run >= STEADY {
            self.failures = 0;
        }
        let delay = FIRST
            .saturating_mul(2_u32.saturating_pow(self.failures))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_limit_and_start_over_after_a_steady_run() {
        let mut backoff = Backoff::default();
        let short = Duration::from_secs(1);
        let delays: Vec<u64> = (0..9)
            .map(|_| u64::try_from(backoff.after(short).as_millis()).expect("small"))
            .collect();
        assert_eq!(
            delays,
            [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]
        );
        assert_eq!(backoff.after(STEADY), FIRST);
    }
}
