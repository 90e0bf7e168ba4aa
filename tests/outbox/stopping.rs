//! A worker that is asked to stop: what it finishes, and what it returns.

use std::future::pending;
use std::sync::Arc;

use anyhow::Result;
use devart_kit::outbox::{HandlerError, OutboxOptions};
use tokio::sync::Semaphore;

use super::{database, leased, url};
use crate::support::outbox::{Script, Worker, count, enqueue, quick};
use crate::support::wait::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_finishes_what_it_handles_and_returns_the_rest() -> Result<()> {
    let db = database().await?;
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let script = Script::new(move |_| {
        let gate = Arc::clone(&opened);
        async move { gate.acquire().await.map(drop).map_err(HandlerError::retry) }
    });
    let options = OutboxOptions {
        concurrency: 1,
        ..quick()
    };
    enqueue(&db.owner, None, 1, 5).await?;
    let worker = Worker::start(&url(&db), script.clone(), options)?;
    eventually("one is handled, and four wait in hand", async || {
        (script.read(|it| it.begun.len()) == 1 && leased(&db.owner).await? == 5).then_some(())
    })
    .await;
    worker.ask_to_stop();
    eventually("the four are returned at once", async || {
        (leased(&db.owner).await? == 1).then_some(())
    })
    .await;
    gate.add_permits(5);
    worker.end().await?;
    assert_eq!(script.read(|it| it.begun.len()), 1);
    assert_eq!(count(&db.owner).await, Some(4));
    assert_eq!(leased(&db.owner).await, Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_returns_what_it_cannot_finish_in_time() -> Result<()> {
    let db = database().await?;
    let script = Script::new(|_| pending());
    let options = OutboxOptions {
        shutdown_grace_ms: 10,
        ..quick()
    };
    let worker = Worker::start(&url(&db), script.clone(), options)?;
    enqueue(&db.owner, Some("a"), 1, 1).await?;
    eventually("it is being handled", async || {
        script.read(|it| !it.begun.is_empty()).then_some(())
    })
    .await;
    worker.stop().await?;
    assert_eq!(script.read(|it| it.dropped.clone()), [1]);
    let row: (i32, bool) = sqlx::query_as(
        "select attempt, lease_token is null and next_attempt_at <= now() from devart_private.outbox",
    )
    .fetch_one(&db.owner)
    .await?;
    assert_eq!(row, (0, true), "due at once, with all its attempts");
    Ok(())
}
