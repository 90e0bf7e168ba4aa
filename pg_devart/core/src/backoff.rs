//! How long a failed task waits before it is tried again.

/// The delay range of a retry: exponential in the number of retries, capped, plus jitter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// Delay before the first retry, in seconds.
    pub base_seconds: f64,
    /// No delay is longer than this before jitter, in seconds.
    pub max_seconds: f64,
}

/// The share of the delay that jitter may add: herds spread, and nobody retries early.
pub const JITTER: f64 = 0.2;

impl Backoff {
    /// Seconds to wait: `min(max, base * 2^retry_count)`, plus `jitter` (0 to 1) of up to 20 %.
    ///
    /// Never shorter than the delay without jitter.
    pub fn delay_seconds(&self, retry_count: u32, jitter: f64) -> f64 {
        let exponential = self.base_seconds * 2f64.powi(retry_count.min(1_000) as i32);
        let capped = exponential.min(self.max_seconds).max(0.0);
        capped * (1.0 + JITTER * jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        base_seconds: 5.0,
        max_seconds: 60.0,
    };

    #[test]
    fn each_retry_waits_twice_as_long() {
        let delays: Vec<f64> = (0..4).map(|n| BACKOFF.delay_seconds(n, 0.0)).collect();
        assert_eq!(delays, [5.0, 10.0, 20.0, 40.0]);
    }

    #[test]
    fn the_delay_is_capped_even_for_absurd_counts() {
        assert_eq!(BACKOFF.delay_seconds(5, 0.0), 60.0);
        assert_eq!(BACKOFF.delay_seconds(u32::MAX, 0.0), 60.0);
    }

    #[test]
    fn jitter_only_ever_adds_and_at_most_a_fifth() {
        for jitter in [-1.0, 0.0, 0.3, 1.0, 7.0] {
            let delay = BACKOFF.delay_seconds(1, jitter);
            assert!((10.0..=12.0).contains(&delay), "{delay} at jitter {jitter}");
        }
    }
}
