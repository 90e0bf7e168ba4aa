//! Messages that fail: when they are tried again, and when they are buried.

use std::future::ready;
use std::time::Duration;

use anyhow::Result;
use devart_kit::outbox::{Delivery, HandlerError, OutboxHandler, OutboxOptions};
use sqlx::PgPool;

use super::{database, url, work};
use crate::support::outbox::{Message, Script, TOPIC, Worker, buried, enqueue, quick};
use crate::support::wait::eventually;

async fn buried_rows(pool: &PgPool, rows: usize) -> Vec<crate::support::outbox::Buried> {
    eventually("the message is buried", async || {
        buried(pool).await.ok().filter(|it| it.len() == rows)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_message_is_retried_and_buried_with_its_last_error() -> Result<()> {
    let db = database().await?;
    let script = Script::new(|it: Delivery<Message>| {
        ready(Err(HandlerError::retry(format!("attempt {}", it.attempt))))
    });
    let options = OutboxOptions {
        max_attempts: 4,
        ..quick()
    };
    let worker = Worker::start(&url(&db), script.clone(), options)?;
    enqueue(&db.owner, None, 1, 1).await?;
    let rows = buried_rows(&db.owner, 1).await;
    worker.stop().await?;
    assert_eq!(
        (rows[0].attempt, rows[0].last_error.as_str()),
        (4, "attempt 4")
    );
    assert_eq!(
        script.read(|it| it.begun.clone()),
        [(1, 1), (1, 2), (1, 3), (1, 4)]
    );
    Ok(())
}

/// Seconds until the one row is due, once it has failed.
async fn seconds_until_due(pool: &PgPool) -> f64 {
    eventually("the failure is taken down", async || {
        sqlx::query_scalar(
            "select extract(epoch from next_attempt_at - now())::float8 from devart_private.outbox where attempt = 1",
        )
        .fetch_optional(pool)
        .await
        .ok()
        .flatten()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_waits_for_the_backoff_or_as_long_as_the_outside_asks() -> Result<()> {
    for (after, expected) in [(None, 1_000.0), (Some(Duration::from_secs(5_000)), 5_000.0)] {
        let db = database().await?;
        let script = Script::new(move |_| {
            let error = "not now".to_owned();
            ready(Err(HandlerError::Retry { error, after }))
        });
        let options = OutboxOptions {
            retry_base_ms: 1_000_000,
            retry_max_ms: 2_000_000,
            ..quick()
        };
        let worker = Worker::start(&url(&db), script, options)?;
        enqueue(&db.owner, None, 1, 1).await?;
        let seconds = seconds_until_due(&db.owner).await;
        worker.stop().await?;
        let earliest = expected - 60.0;
        assert!(
            (earliest..=expected * 1.2).contains(&seconds),
            "{seconds} of {expected}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_works_is_buried_at_once_and_its_key_goes_on() -> Result<()> {
    let db = database().await?;
    let script = Script::new(|it: Delivery<Message>| {
        ready(match it.message.n {
            1 => Err(HandlerError::Permanent("no such chat\0".to_owned())),
            _ => Ok(()),
        })
    });
    let worker = Worker::start(&url(&db), script.clone(), quick())?;
    enqueue(&db.owner, Some("a"), 1, 2).await?;
    let rows = buried_rows(&db.owner, 1).await;
    eventually("the next message of the key is delivered", async || {
        (script.ended() == [2]).then_some(())
    })
    .await;
    worker.stop().await?;
    assert_eq!(
        (rows[0].attempt, rows[0].last_error.as_str()),
        (1, "no such chat\u{fffd}")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_says_something_else_is_buried_naming_the_field() -> Result<()> {
    let db = database().await?;
    let script = Script::new(work);
    let worker = Worker::start(&url(&db), script.clone(), quick())?;
    sqlx::query("select devart_private.enqueue($1, null, '{\"n\": \"many\"}')")
        .bind(TOPIC)
        .execute(&db.owner)
        .await?;
    let rows = buried_rows(&db.owner, 1).await;
    worker.stop().await?;
    assert!(rows[0].last_error.contains("n: invalid type"), "{rows:?}");
    assert!(script.read(|it| it.begun.is_empty()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panicking_handler_is_a_failed_attempt() -> Result<()> {
    let db = database().await?;
    let script = Script::new(|it: Delivery<Message>| async move {
        assert_ne!(it.message.n, 1, "unlucky");
        Ok(())
    });
    let options = OutboxOptions {
        max_attempts: 2,
        ..quick()
    };
    let worker = Worker::start(&url(&db), script.clone(), options)?;
    enqueue(&db.owner, None, 1, 2).await?;
    let rows = buried_rows(&db.owner, 1).await;
    eventually("others go on", async || {
        (script.ended() == [2]).then_some(())
    })
    .await;
    worker.stop().await?;
    assert!(rows[0].last_error.contains("unlucky"), "{rows:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_no_longer_tell_outcomes_ends_and_says_so() -> Result<()> {
    let delivered = |_: Delivery<Message>| ready(Ok(()));
    let refused = |_: Delivery<Message>| ready(Err(HandlerError::retry("no")));
    ends_without(
        "revoke execute on function devart_private.acknowledge_outbox(text, bigint[], uuid[])
         from devart_bridge_rabbitmq",
        Script::new(delivered),
    )
    .await?;
    ends_without(
        "revoke execute on function devart_private.fail_outbox(
             text, bigint[], uuid[], text[], float8[], int)
         from devart_bridge_rabbitmq",
        Script::new(refused),
    )
    .await
}

/// A worker that lost a grant ends by itself.
async fn ends_without(revoke: &'static str, handler: impl OutboxHandler) -> Result<()> {
    let db = database().await?;
    sqlx::raw_sql(revoke).execute(&db.owner).await?;
    let worker = Worker::start(&url(&db), handler, quick())?;
    enqueue(&db.owner, None, 1, 1).await?;
    let error = worker.end().await.expect_err("it may not go on");
    assert!(
        format!("{error:#}").contains("permission denied"),
        "{error:#}"
    );
    Ok(())
}
