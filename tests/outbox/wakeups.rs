//! How an idle worker learns of a message: woken, connected again, or by polling.

use std::future::ready;

use anyhow::Result;
use devart_kit::outbox::{Delivery, HandlerError, OutboxOptions};

use super::{database, is_empty, url, work};
use crate::support::Database;
use crate::support::outbox::{Message, Script, TOPIC, Worker, enqueue, quick};
use crate::support::wait::eventually;

/// Polls so rarely that only wake-ups can explain a delivery.
const NEVER_MS: u64 = 3_600_000;

/// A worker that has nothing to do and will not look by itself.
async fn idle_worker(
    db: &Database,
) -> Result<(
    Worker,
    Script<
        impl Clone
        + Send
        + Sync
        + Fn(Delivery<Message>) -> std::future::Ready<Result<(), HandlerError>>
        + 'static,
    >,
)> {
    let script = Script::new(|_| ready(Ok(())));
    let options = OutboxOptions {
        poll_ms: NEVER_MS,
        ..quick()
    };
    let worker = Worker::start(&url(db), script.clone(), options)?;
    enqueue(&db.owner, None, 1, 1).await?;
    eventually("the worker is there", async || {
        (script.ended() == [1]).then_some(())
    })
    .await;
    Ok((worker, script))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_up_reaches_an_idle_worker_that_does_not_poll() -> Result<()> {
    let db = database().await?;
    let (worker, script) = idle_worker(&db).await?;
    for n in 2..=20 {
        enqueue(&db.owner, None, n, n).await?;
        eventually("the wake-up is heard", async || {
            (script.read(|it| it.ended.len()) as i64 == n).then_some(())
        })
        .await;
    }
    worker.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_listening_connection_is_made_again_and_what_was_missed_is_found() -> Result<()> {
    let db = database().await?;
    let (worker, script) = idle_worker(&db).await?;
    let ended: i64 = sqlx::query_scalar(
        "select count(*) filter (where pg_terminate_backend(pid)) from pg_stat_activity
         where datname = current_database() and application_name = 'outbox test' and query like 'LISTEN%'",
    )
    .fetch_one(&db.owner)
    .await?;
    assert_eq!(ended, 1, "one listening connection");
    enqueue(&db.owner, None, 2, 2).await?;
    eventually("it is found after all", async || {
        (script.ended() == [1, 2]).then_some(())
    })
    .await;
    worker.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_nobody_was_woken_for_are_found_by_polling() -> Result<()> {
    let db = database().await?;
    let script = Script::new(work);
    let worker = Worker::start(&url(&db), script.clone(), quick())?;
    for n in 1..=3_i64 {
        sqlx::query("insert into devart_private.outbox (topic, payload) values ($1, jsonb_build_object('n', $2))")
            .bind(TOPIC)
            .bind(n)
            .execute(&db.owner)
            .await?;
        is_empty(&db.owner).await;
    }
    worker.stop().await?;
    assert_eq!(script.ended(), [1, 2, 3]);
    Ok(())
}
