//! Leasing rows as long as there is room, and waiting for more when there are none.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::deliver;
use super::handler::OutboxHandler;
use super::options::DATABASE_BACKOFF;
use super::outcome::Settled;
use super::sight::Sight;
use super::store::{Lease, Row, is_refusal};
use super::worker::Worker;
use crate::listener::Wakeups;

/// Claims and spawns deliveries until shutdown.
pub(super) async fn run<H: OutboxHandler>(
    worker: &Arc<Worker<H>>,
    mut wakeups: Wakeups,
    settled: &mpsc::UnboundedSender<Settled>,
    deliveries: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    let batch = worker.options.batch_size;
    let mut sight = Sight::new(worker.options.poll());
    let mut failures = 0;
    while let Some(room) = room(worker).await {
        while deliveries.try_join_next().is_some() {}
        let (asked_at, since) = (Instant::now(), sight.since());
        // Not raced against shutdown: rows leased by a call whose answer nobody reads would wait
        // for their leases' end.
        let claimed = {
            let _asking = worker.pulse.ask();
            let lease = worker.options.lease();
            worker.store.claim(batch, lease, since).await
        };
        match claimed {
            Ok(rows) => {
                failures = 0;
                sight.looked(since, asked_at, &rows);
                let is_all = rows.len() < batch as usize;
                spawn(worker, rows, asked_at, room, settled, deliveries);
                if is_all {
                    until_there_may_be_more(worker, &mut wakeups).await;
                }
            }
            Err(error) if is_refusal(&error) => return Err(error.into()),
            Err(error) => {
                drop(room);
                wait_for_the_database(worker, &error, failures).await;
                failures += 1;
            }
        }
    }
    Ok(())
}

/// Room for a batch; none at shutdown.
async fn room<H>(worker: &Worker<H>) -> Option<OwnedSemaphorePermit> {
    let room = Arc::clone(&worker.room).acquire_many_owned(worker.options.batch_size);
    tokio::select! {
        biased;
        () = worker.shutdown.cancelled() => None,
        room = room => room.ok(),
    }
}

async fn until_there_may_be_more<H>(worker: &Worker<H>, wakeups: &mut Wakeups) {
    tokio::select! {
        () = worker.shutdown.cancelled() => {}
        () = wakeups.next() => {}
        () = worker.look.notified() => {}
        () = sleep(worker.options.poll()) => {}
    }
}

async fn wait_for_the_database<H: OutboxHandler>(
    worker: &Worker<H>,
    error: &sqlx::Error,
    failures: u32,
) {
    let pause = DATABASE_BACKOFF.delay_seconds(failures, rand::random());
    tracing::warn!(topic = H::TOPIC, %error, "cannot claim messages, trying again in {pause:.1} s");
    tokio::select! {
        () = worker.shutdown.cancelled() => {}
        () = sleep(Duration::from_secs_f64(pause)) => {}
    }
}

fn spawn<H: OutboxHandler>(
    worker: &Arc<Worker<H>>,
    rows: Vec<Row>,
    asked_at: Instant,
    mut room: OwnedSemaphorePermit,
    settled: &mpsc::UnboundedSender<Settled>,
    deliveries: &mut JoinSet<()>,
) {
    for row in rows {
        let lease = Lease {
            id: row.id,
            token: row.lease_token,
        };
        let hold = worker.hands.take(lease, asked_at + worker.options.lease());
        let place = room.split(1);
        let (worker, settled) = (Arc::clone(worker), settled.clone());
        deliveries.spawn(async move {
            let keyed = row.key.is_some();
            let created_at = row.created_at;
            let outcome = deliver::deliver(&worker, row, hold).await;
            // Fails only when the worker is being dropped.
            let _ = settled.send(Settled {
                lease,
                keyed,
                created_at,
                outcome,
                place,
            });
        });
    }
}
