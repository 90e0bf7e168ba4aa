//! Telling the database how deliveries ended, as many at once as have ended meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::handler::OutboxHandler;
use super::observe;
use super::options::DATABASE_BACKOFF;
use super::outcome::{Outcome, Settled};
use super::store::{Failure, Lease, is_refusal};
use super::worker::Worker;

/// Outcomes told at once.
const MOST_AT_ONCE: usize = 1000;

/// Settles until every sender is gone. Tries again for as long as the database is away. Should the
/// role not be allowed to, the worker is told to end.
pub(super) async fn run<H: OutboxHandler>(
    worker: Arc<Worker<H>>,
    outcomes: mpsc::UnboundedReceiver<Settled>,
) -> Result<(), sqlx::Error> {
    let settled = settle_all(&worker, outcomes).await;
    if settled.is_err() {
        worker.shutdown.cancel();
    }
    settled
}

async fn settle_all<H: OutboxHandler>(
    worker: &Worker<H>,
    mut outcomes: mpsc::UnboundedReceiver<Settled>,
) -> Result<(), sqlx::Error> {
    let mut batch = Vec::new();
    while outcomes.recv_many(&mut batch, MOST_AT_ONCE).await > 0 {
        settle(worker, &batch).await?;
        for settled in batch.drain(..) {
            worker.hands.drop_lease(settled.lease);
            if settled.keyed {
                // The next row of its key may be due.
                worker.look.notify_one();
            }
        }
    }
    Ok(())
}

async fn settle<H: OutboxHandler>(
    worker: &Worker<H>,
    batch: &[Settled],
) -> Result<(), sqlx::Error> {
    acknowledge(worker, batch).await?;
    fail(worker, batch).await?;
    let returned = leases(batch, |outcome| *outcome == Outcome::Returned);
    if !returned.is_empty() {
        until_done(H::TOPIC, "return", || worker.store.give_back(&returned)).await?;
    }
    Ok(())
}

fn leases(batch: &[Settled], which: impl Fn(&Outcome) -> bool) -> Vec<Lease> {
    batch
        .iter()
        .filter(|settled| which(&settled.outcome))
        .map(|settled| settled.lease)
        .collect()
}

async fn acknowledge<H: OutboxHandler>(
    worker: &Worker<H>,
    batch: &[Settled],
) -> Result<(), sqlx::Error> {
    let delivered = leases(batch, |outcome| *outcome == Outcome::Delivered);
    if delivered.is_empty() {
        return Ok(());
    }
    let gone = until_done(H::TOPIC, "acknowledge", || {
        worker.store.acknowledge(&delivered)
    })
    .await?;
    if gone.len() < delivered.len() {
        // Also when the answer to an earlier, successful attempt was lost.
        let count = delivered.len() - gone.len();
        tracing::info!(
            topic = H::TOPIC,
            "{count} delivered messages were not ours any more"
        );
    }
    for settled in batch {
        if settled.outcome == Outcome::Delivered {
            observe::delivered(H::TOPIC, settled.created_at);
        }
    }
    Ok(())
}

async fn fail<H: OutboxHandler>(worker: &Worker<H>, batch: &[Settled]) -> Result<(), sqlx::Error> {
    let failures: Vec<Failure> = batch.iter().filter_map(failure).collect();
    if failures.is_empty() {
        return Ok(());
    }
    let max_attempts = worker.options.max_attempts;
    let taken_down = until_done(H::TOPIC, "take down failures of", || {
        worker.store.fail(&failures, max_attempts)
    })
    .await?;
    for (id, buried) in taken_down {
        if let Some(failure) = failures.iter().find(|failure| failure.lease.id == id) {
            observe::failed(H::TOPIC, failure, buried);
        }
    }
    Ok(())
}

fn failure(settled: &Settled) -> Option<Failure> {
    match &settled.outcome {
        Outcome::Failed { error, delay } => Some(Failure {
            lease: settled.lease,
            // Postgres' text has no place for it.
            error: error.replace('\0', "\u{fffd}"),
            delay: *delay,
        }),
        _ => None,
    }
}

/// Repeating is harmless: what has been done already is refused, its lease being gone. What the role
/// may not do is not repeated.
async fn until_done<T, F>(
    topic: &str,
    what: &str,
    mut attempt: impl FnMut() -> F,
) -> Result<T, sqlx::Error>
where
    F: Future<Output = Result<T, sqlx::Error>>,
{
    let mut failures = 0;
    loop {
        match attempt().await {
            Err(error) if !is_refusal(&error) => {
                let pause = DATABASE_BACKOFF.delay_seconds(failures, rand::random());
                failures += 1;
                tracing::warn!(topic, %error, "cannot {what} messages, trying again in {pause:.1} s");
                sleep(Duration::from_secs_f64(pause)).await;
            }
            done => return done,
        }
    }
}
