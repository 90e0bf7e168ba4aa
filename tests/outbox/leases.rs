//! Leases of messages: kept while a handler works, lost with a killed worker.

use std::future::pending;
use std::sync::Arc;

use anyhow::Result;
use devart_kit::outbox::{HandlerError, OutboxOptions};
use tokio::sync::Semaphore;

use super::{database, is_empty, leased, url, work};
use crate::support::outbox::{Script, Sidecar, TOPIC, Worker, enqueue, quick};
use crate::support::outbox_rows::expire_leases;
use crate::support::wait::eventually;

/// Extended when a third of it has passed, and long enough for a machine that is busy.
const SHORT_LEASE_SECONDS: u32 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_workers_messages_are_delivered_after_their_leases() -> Result<()> {
    let db = database().await?;
    sqlx::query("insert into devart_private.outbox (topic, payload) select $1, jsonb_build_object('n', n, 'hang', true) from generate_series(1, 20) n")
        .bind(TOPIC)
        .execute(&db.owner)
        .await?;
    let doomed = Sidecar::start(&url(&db), &[])?;
    eventually("the doomed worker holds all", async || {
        (leased(&db.owner).await? == 20).then_some(())
    })
    .await;
    doomed.kill()?;
    expire_leases(&db.owner).await?;
    let script = Script::new(work);
    let heir = Worker::start(&url(&db), script.clone(), quick())?;
    is_empty(&db.owner).await;
    heir.stop().await?;
    assert_eq!(script.ended().len(), 20);
    assert!(
        script.read(|it| it.begun.iter().all(|(_, attempt)| *attempt == 1)),
        "a crash uses up no attempt"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_a_slow_handler_stays_with_its_worker() -> Result<()> {
    let db = database().await?;
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let script = Script::new(move |_| {
        let gate = Arc::clone(&opened);
        async move { gate.acquire().await.map(drop).map_err(HandlerError::retry) }
    });
    let options = OutboxOptions {
        lease_seconds: SHORT_LEASE_SECONDS,
        ..quick()
    };
    let workers = [(); 2].map(|()| Worker::start(&url(&db), script.clone(), options));
    enqueue(&db.owner, None, 1, 1).await?;
    eventually("the lease was extended twice over", async || {
        let held: bool = sqlx::query_scalar(
            "select lease_expires_at > created_at + interval '8 seconds' from devart_private.outbox",
        )
        .fetch_one(&db.owner)
        .await
        .ok()?;
        held.then_some(())
    })
    .await;
    gate.add_permits(1);
    is_empty(&db.owner).await;
    for worker in workers {
        worker?.stop().await?;
    }
    assert_eq!(script.read(|it| it.begun.clone()), [(1, 1)]);
    assert_eq!(script.ended(), [1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_whose_lease_is_gone_is_dropped_and_settles_nothing() -> Result<()> {
    let db = database().await?;
    let script = Script::new(|_| pending());
    let options = OutboxOptions {
        lease_seconds: SHORT_LEASE_SECONDS,
        ..quick()
    };
    let worker = Worker::start(&url(&db), script.clone(), options)?;
    enqueue(&db.owner, None, 1, 1).await?;
    eventually("it is being handled", async || {
        script.read(|it| !it.begun.is_empty()).then_some(())
    })
    .await;
    sqlx::query("update devart_private.outbox set lease_token = gen_random_uuid(), lease_expires_at = now() + interval '1 hour'")
        .execute(&db.owner)
        .await?;
    eventually("the handler is dropped", async || {
        (script.read(|it| it.dropped.clone()) == [1]).then_some(())
    })
    .await;
    worker.stop().await?;
    assert_eq!(leased(&db.owner).await, Some(1), "it is another's still");
    Ok(())
}
