//! What monitors see of an outbox worker, and what its log says of failures.

use std::time::Duration;

use metrics::{counter, gauge, histogram};
use time::OffsetDateTime;
use tokio::time::sleep;

use super::store::{Failure, Store};

/// Counting a long queue takes the database a while, so it is not asked at each scrape.
const DEPTH_INTERVAL: Duration = Duration::from_secs(10);

/// Keeps the gauges of a topic current. Never ends.
pub(super) async fn run(store: Store) {
    loop {
        match store.depth().await {
            Ok(depth) => {
                let topic = store.topic();
                for (state, rows) in [
                    ("waiting", depth.waiting),
                    ("leased", depth.leased),
                    ("buried", depth.buried),
                ] {
                    gauge!("devart_outbox_depth", "topic" => topic, "state" => state)
                        .set(rows as f64);
                }
                gauge!("devart_outbox_oldest_seconds", "topic" => topic).set(depth.oldest_seconds);
            }
            Err(error) => {
                tracing::debug!(topic = store.topic(), %error, "cannot measure the outbox");
            }
        }
        sleep(DEPTH_INTERVAL).await;
    }
}

/// The handler came back.
pub(super) fn handled(topic: &'static str, took: Duration) {
    histogram!("devart_outbox_handle_duration_seconds", "topic" => topic).record(took);
}

/// A message is outside, and the database knows.
pub(super) fn delivered(topic: &'static str, created_at: OffsetDateTime) {
    counter!("devart_outbox_delivered_total", "topic" => topic).increment(1);
    // Two clocks: the difference may be negative.
    let age = (OffsetDateTime::now_utc() - created_at)
        .as_seconds_f64()
        .max(0.0);
    histogram!("devart_outbox_delivery_duration_seconds", "topic" => topic).record(age);
}

/// A message was not delivered.
pub(super) fn failed(topic: &'static str, failure: &Failure, buried: bool) {
    let (id, error) = (failure.lease.id, failure.error.as_str());
    if buried {
        counter!("devart_outbox_buried_total", "topic" => topic).increment(1);
        tracing::error!(topic, id, error, "buried message {id} of {topic}: {error}");
    } else {
        counter!("devart_outbox_retried_total", "topic" => topic).increment(1);
        tracing::warn!(
            topic,
            id,
            error,
            "retrying message {id} of {topic}: {error}"
        );
    }
}
