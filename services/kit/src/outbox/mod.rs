//! The outbox worker: carries the rows of one topic from the database to the outside, at least once
//! each.
//!
//! ```text
//! claim ──► hands ──► deliver (one task per row) ──► settle ──► acknowledged, retried, buried or returned
//!             └─ keep: extends the leases of what is in hand
//! ```
//!
//! Rows of one key are leased one after the other, so whoever delivers them need not care for their
//! order. A row whose lease cannot be extended in time is dropped before anybody else can lease it.
//! Any number of workers may run.

mod claim;
mod deliver;
mod handler;
mod hands;
mod keep;
mod observe;
mod options;
mod outcome;
mod settle;
mod sight;
mod store;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::db::Database;
pub use handler::{Delivery, HandlerError, OutboxHandler};
use hands::Hands;
pub use options::OutboxOptions;
use outcome::Settled;
use store::Store;
use worker::Worker;

/// How long the last outcomes may take to reach the database at the end. What does not comes back
/// when its lease expires.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Delivers the handler's topic until `shutdown`, then finishes what is being handled, or returns
/// it after [`OutboxOptions::shutdown_grace_ms`]. Waits out a database that is away. Dropping the
/// future is like a crash: what was in hand comes back when its leases expire.
///
/// # Errors
/// When the login role may not deliver the topic, or an option is out of bounds.
pub async fn run<H: OutboxHandler>(
    database: Database,
    handler: H,
    options: OutboxOptions,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    options.validate()?;
    let wakeups = database.listener.subscribe(format!("devart_{}", H::TOPIC));
    let worker = Arc::new(Worker {
        store: Store::new(database.pool, H::TOPIC),
        pulse: database.pulse,
        hands: Hands::default(),
        slots: Semaphore::new(options.concurrency),
        room: Arc::new(Semaphore::new(options.room())),
        look: Notify::new(),
        abandon: CancellationToken::new(),
        // A child: stopping for a reason of our own is nobody else's business.
        shutdown: shutdown.child_token(),
        handler,
        options,
    });
    let (settled, outcomes) = mpsc::unbounded_channel();
    let settler = spawn(settle::run(Arc::clone(&worker), outcomes));
    let _keeper = spawn(keep::run(Arc::clone(&worker)));
    let _observer = spawn(observe::run(worker.store.clone()));
    let mut deliveries = JoinSet::new();
    let claimed = claim::run(&worker, wakeups, &settled, &mut deliveries).await;
    let told = finish(&worker, deliveries, settled, settler).await;
    let outcome = claimed.and(told.map_err(anyhow::Error::from));
    outcome.with_context(|| format!("delivering the topic {}", H::TOPIC))
}

/// The parts end with the worker, also when it is dropped.
fn spawn<T: Send + 'static>(
    part: impl Future<Output = T> + Send + 'static,
) -> AbortOnDropHandle<T> {
    AbortOnDropHandle::new(tokio::spawn(part))
}

async fn finish<H: OutboxHandler>(
    worker: &Worker<H>,
    mut deliveries: JoinSet<()>,
    settled: mpsc::UnboundedSender<Settled>,
    settler: AbortOnDropHandle<Result<(), sqlx::Error>>,
) -> Result<(), sqlx::Error> {
    worker.shutdown.cancel();
    let grace = Duration::from_millis(worker.options.shutdown_grace_ms);
    let all = async { while deliveries.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, all).await.is_err() {
        tracing::warn!(
            topic = H::TOPIC,
            "{} messages were still being handled after {grace:?}: returned",
            deliveries.len()
        );
        worker.abandon.cancel();
        while deliveries.join_next().await.is_some() {}
    }
    drop(settled);
    match tokio::time::timeout(SETTLE_TIMEOUT, settler).await {
        // Err: it panicked, which is in the log.
        Ok(told) => told.unwrap_or(Ok(())),
        Err(_) => {
            tracing::warn!(
                topic = H::TOPIC,
                "the last outcomes did not reach the database; \
                 they come back when their leases expire"
            );
            Ok(())
        }
    }
}
