//! Extending the leases of what is in hand.

use std::sync::Arc;

use tokio::time::{Instant, sleep, timeout};

use super::handler::OutboxHandler;
use super::worker::Worker;

/// Extends leases of which a third has passed, so that two attempts may fail before one is lost.
/// Never ends.
pub(super) async fn run<H: OutboxHandler>(worker: Arc<Worker<H>>) {
    let lease = worker.options.lease();
    loop {
        let is_kept = extend(&worker).await;
        sleep(if is_kept { lease / 6 } else { lease / 20 }).await;
    }
}

/// Whether the database answered.
async fn extend<H: OutboxHandler>(worker: &Worker<H>) -> bool {
    let lease = worker.options.lease();
    let ending = worker.hands.ending_within(lease * 2 / 3);
    if ending.is_empty() {
        return true;
    }
    let asked_at = Instant::now();
    match timeout(lease / 6, worker.store.extend(&ending, lease)).await {
        Ok(Ok(kept)) => {
            worker.hands.extended(&ending, &kept, asked_at + lease);
            true
        }
        Ok(Err(error)) => {
            tracing::warn!(topic = H::TOPIC, %error, "cannot extend {} leases", ending.len());
            false
        }
        Err(_) => {
            tracing::warn!(
                topic = H::TOPIC,
                "cannot extend {} leases: no answer",
                ending.len()
            );
            false
        }
    }
}
