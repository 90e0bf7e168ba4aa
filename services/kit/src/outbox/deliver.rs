//! Handing one row to the handler.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use devart_core::backoff::Backoff;
use futures::FutureExt;
use tokio::time::Instant;

use super::handler::{Delivery, HandlerError, OutboxHandler};
use super::hands::Hold;
use super::observe;
use super::outcome::Outcome;
use super::store::Row;
use super::worker::Worker;

/// Handles one row as soon as a slot is free. Ends before the row's lease does.
pub(super) async fn deliver<H: OutboxHandler>(
    worker: &Worker<H>,
    row: Row,
    mut hold: Hold,
) -> Outcome {
    let id = row.id;
    tokio::select! {
        biased;
        () = hold.lost() => {
            tracing::warn!(topic = H::TOPIC, id, "lost the lease of message {id}; whoever has it now delivers it");
            Outcome::Lost
        }
        outcome = attempt(worker, row) => outcome,
    }
}

async fn attempt<H: OutboxHandler>(worker: &Worker<H>, row: Row) -> Outcome {
    let _slot = tokio::select! {
        biased;
        () = worker.shutdown.cancelled() => return Outcome::Returned,
        slot = worker.slots.acquire() => slot,
    };
    let attempt = u32::try_from(row.attempt)
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    let delivery = match decode(row, attempt) {
        Ok(delivery) => delivery,
        Err(error) => return Outcome::Failed { error, delay: None },
    };
    let started = Instant::now();
    let handled = tokio::select! {
        biased;
        () = worker.abandon.cancelled() => return Outcome::Returned,
        handled = handle(&worker.handler, delivery) => handled,
    };
    observe::handled(H::TOPIC, started.elapsed());
    match handled {
        Ok(()) => Outcome::Delivered,
        Err(error) => failed(error, attempt, worker.options.backoff()),
    }
}

/// What the payload says, or why it says nothing.
fn decode<M: serde::de::DeserializeOwned>(row: Row, attempt: u32) -> Result<Delivery<M>, String> {
    let mut json = serde_json::Deserializer::from_str(&row.payload);
    let message = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| format!("the payload is no message of this topic: {error}"))?;
    Ok(Delivery {
        id: row.id,
        key: row.key,
        attempt,
        created_at: row.created_at,
        message,
    })
}

async fn handle<H: OutboxHandler>(
    handler: &H,
    delivery: Delivery<H::Message>,
) -> Result<(), HandlerError> {
    let handling = AssertUnwindSafe(async { handler.handle(delivery).await });
    handling
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| Err(HandlerError::retry(panic_text(&*panic))))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the handler panicked: {}", text.unwrap_or("without words"))
}

fn failed(error: HandlerError, attempt: u32, backoff: Backoff) -> Outcome {
    match error {
        HandlerError::Permanent(error) => Outcome::Failed { error, delay: None },
        HandlerError::Retry { error, after } => {
            let delay = after
                .map_or(backoff, exactly)
                .delay_seconds(attempt.saturating_sub(1), rand::random());
            let delay = Some(Duration::from_secs_f64(delay));
            Outcome::Failed { error, delay }
        }
    }
}

/// The delay that the outside asked for, each time. Jitter only ever adds to it.
fn exactly(after: Duration) -> Backoff {
    let seconds = after.as_secs_f64();
    Backoff {
        base_seconds: seconds,
        max_seconds: seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        base_seconds: 1.0,
        max_seconds: 60.0,
    };

    fn delay_of(after: Option<Duration>, attempt: u32) -> f64 {
        let error = HandlerError::Retry {
            error: "away".to_owned(),
            after,
        };
        match failed(error, attempt, BACKOFF) {
            Outcome::Failed {
                delay: Some(delay), ..
            } => delay.as_secs_f64(),
            other => panic!("not to be retried: {other:?}"),
        }
    }

    #[test]
    fn the_first_retry_comes_after_the_base_and_later_ones_after_more() {
        assert!((1.0..=1.2).contains(&delay_of(None, 1)));
        assert!((8.0..=9.6).contains(&delay_of(None, 4)));
    }

    #[test]
    fn what_the_outside_asks_for_is_honoured_at_each_attempt() {
        let after = Some(Duration::from_secs(30));
        for attempt in [1, 5] {
            assert!((30.0..=36.0).contains(&delay_of(after, attempt)));
        }
    }

    #[test]
    fn what_never_works_is_not_tried_again() {
        let outcome = failed(HandlerError::Permanent("gone".to_owned()), 1, BACKOFF);
        assert!(matches!(outcome, Outcome::Failed { delay: None, .. }));
    }
}
