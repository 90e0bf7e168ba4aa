//! Waiting for conditions instead of sleeping.

use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `check` gives a value; fails after half a minute, saying what did not happen.
pub async fn eventually<T>(what: &str, check: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, what, check).await
}

/// Waits for the end of `work`; fails when it takes longer, saying what did not happen.
pub async fn ends_within<T>(patience: Duration, what: &str, work: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(patience, work).await;
    ended.unwrap_or_else(|_| panic!("did not happen: {what}"))
}

/// As [`eventually`], with other patience.
pub async fn within<T>(
    patience: Duration,
    what: &str,
    mut check: impl AsyncFnMut() -> Option<T>,
) -> T {
    let give_up_at = Instant::now() + patience;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(Instant::now() < give_up_at, "did not happen: {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
