//! Whether a failed task is tried again, and when.

use crate::backoff::Backoff;

/// A task that failed.
#[derive(Debug, Clone, Copy)]
pub struct Failure {
    /// How often it was tried again already.
    pub retry_count: u32,
    pub max_retries: u32,
    /// Whether its worker thinks that another try may go better.
    pub retryable: bool,
    /// Not before this many seconds, as its worker asks.
    pub retry_after: f64,
}

impl Failure {
    /// After how many seconds it is tried again: the backoff, or what its worker asks if that is
    /// longer. `None` when it has failed for good. `jitter`: 0 to 1.
    pub fn retry_delay(&self, backoff: Backoff, jitter: f64) -> Option<f64> {
        let has_retries_left = self.retry_count < self.max_retries;
        let delay = || {
            backoff
                .delay_seconds(self.retry_count, jitter)
                .max(self.retry_after)
        };
        (self.retryable && has_retries_left).then(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        base_seconds: 5.0,
        max_seconds: 60.0,
    };
    const SECOND_OF_THREE: Failure = Failure {
        retry_count: 1,
        max_retries: 3,
        retryable: true,
        retry_after: 0.0,
    };

    #[test]
    fn a_task_is_tried_again_after_the_backoff() {
        assert_eq!(SECOND_OF_THREE.retry_delay(BACKOFF, 0.0), Some(10.0));
    }

    #[test]
    fn what_its_worker_asks_counts_when_it_is_longer() {
        let after = |retry_after| {
            let failure = Failure {
                retry_after,
                ..SECOND_OF_THREE
            };
            failure.retry_delay(BACKOFF, 0.0)
        };
        assert_eq!(after(3_600.0), Some(3_600.0));
        assert_eq!(after(-5.0), Some(10.0));
    }

    #[test]
    fn a_task_without_retries_left_has_failed_for_good() {
        let last = Failure {
            retry_count: 3,
            ..SECOND_OF_THREE
        };
        assert_eq!(last.retry_delay(BACKOFF, 0.0), None);
    }

    #[test]
    fn a_failure_that_is_not_retryable_is_final_whatever_its_worker_asks() {
        let hopeless = Failure {
            retryable: false,
            retry_after: 10.0,
            ..SECOND_OF_THREE
        };
        assert_eq!(hopeless.retry_delay(BACKOFF, 0.0), None);
    }
}
