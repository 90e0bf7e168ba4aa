//! The outbox worker with the real database: nothing is lost, nothing is done by two at a time, whatever dies meanwhile.

use std::collections::BTreeMap;
use std::future::{pending, ready};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use devart_cli::cluster::{Cluster, StopMode};
use devart_kit::outbox::{Delivery, HandlerError, OutboxOptions};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::Semaphore;

use crate::support::Database;
use crate::support::cluster;
use crate::support::http::Http;
use crate::support::outbox::{
    Message, Script, Sidecar, TOPIC, Worker, buried, count, enable, enqueue, quick,
};
use crate::support::wait::eventually;

/// Polls so rarely that only wake-ups can explain a delivery.
const NEVER_MS: u64 = 3_600_000;

async fn database() -> Result<Database> {
    let db = Database::create().await?;
    enable(&db.owner).await?;
    Ok(db)
}

fn url(db: &Database) -> String {
    db.bridge_url("rabbitmq")
}

async fn is_empty(pool: &PgPool) {
    eventually("everything is delivered", async || {
        (count(pool).await? == 0).then_some(())
    })
    .await;
}

async fn buried_rows(pool: &PgPool, rows: usize) -> Vec<crate::support::outbox::Buried> {
    eventually("the message is buried", async || {
        buried(pool).await.ok().filter(|it| it.len() == rows)
    })
    .await
}

/// Succeeds after giving others a chance to interfere.
async fn work(_: Delivery<Message>) -> Result<(), HandlerError> {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn four_workers_deliver_everything_once() -> Result<()> {
    let db = database().await?;
    let script = Script::new(work);
    enqueue(&db.owner, None, 1, 1_000).await?;
    let workers = [(); 4].map(|()| Worker::start(&url(&db), script.clone(), quick()));
    enqueue(&db.owner, None, 1_001, 2_000).await?;
    is_empty(&db.owner).await;
    for worker in workers {
        worker?.stop().await?;
    }
    let mut ended = script.ended();
    ended.sort_unstable();
    assert_eq!(ended, (1..=2_000).collect::<Vec<_>>());
    assert!(script.read(|it| it.overlaps.is_empty()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_key_come_one_after_the_other_whoever_delivers_them() -> Result<()> {
    let db = database().await?;
    let script = Script::new(work);
    let workers = [(); 4].map(|()| Worker::start(&url(&db), script.clone(), quick()));
    let writers = (0..8).map(|key| {
        let pool = db.owner.clone();
        async move {
            for from in (1..=50).step_by(5) {
                let key = format!("key {key}");
                enqueue(&pool, Some(&key), from, from + 4).await?;
            }
            anyhow::Ok(())
        }
    });
    futures::future::try_join_all(writers).await?;
    is_empty(&db.owner).await;
    for worker in workers {
        worker?.stop().await?;
    }
    let mut by_key = BTreeMap::<String, Vec<i64>>::new();
    for (key, n) in script.read(|it| it.ended.clone()) {
        by_key.entry(key.context("a key")?).or_default().push(n);
    }
    assert_eq!(by_key.len(), 8);
    for (key, delivered) in by_key {
        assert_eq!(delivered, (1..=50).collect::<Vec<_>>(), "{key}");
    }
    assert_eq!(script.read(|it| it.overlaps.clone()), Vec::<String>::new());
    Ok(())
}

/// Rows that somebody has leased at this moment.
async fn leased(pool: &PgPool) -> Option<i64> {
    sqlx::query_scalar("select count(*) from devart_private.outbox where lease_expires_at > now()")
        .fetch_one(pool)
        .await
        .ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_workers_messages_are_delivered_after_their_leases() -> Result<()> {
    let db = database().await?;
    sqlx::query("insert into devart_private.outbox (topic, payload) select $1, jsonb_build_object('n', n, 'hang', true) from generate_series(1, 20) n")
        .bind(TOPIC)
        .execute(&db.owner)
        .await?;
    let doomed = Sidecar::start(&url(&db), &[("OUTBOX_LEASE_SECONDS", "2")])?;
    eventually("the doomed worker holds all", async || {
        (leased(&db.owner).await? == 20).then_some(())
    })
    .await;
    doomed.kill()?;
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
async fn a_message_in_a_slow_handler_stays_with_its_worker() -> Result<()> {
    let db = database().await?;
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let script = Script::new(move |_| {
        let gate = Arc::clone(&opened);
        async move { gate.acquire().await.map(drop).map_err(HandlerError::retry) }
    });
    let options = OutboxOptions {
        lease_seconds: 1,
        ..quick()
    };
    let workers = [(); 2].map(|()| Worker::start(&url(&db), script.clone(), options));
    enqueue(&db.owner, None, 1, 1).await?;
    eventually("the lease was extended twice over", async || {
        let held: bool = sqlx::query_scalar(
            "select lease_expires_at > created_at + interval '4 seconds' from devart_private.outbox",
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
        lease_seconds: 1,
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

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_postgres_loses_nothing() -> Result<()> {
    survive(StopMode::Fast).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_postgres_loses_nothing() -> Result<()> {
    survive(StopMode::Immediate).await
}

async fn survive(mode: StopMode) -> Result<()> {
    let cluster = cluster::durable().await?;
    let owner = PgPoolOptions::new()
        .max_connections(2)
        .connect(&cluster.url("devart"))
        .await?;
    enable(&owner).await?;
    let script = Script::new(work);
    let options = OutboxOptions {
        lease_seconds: 2,
        ..quick()
    };
    let url = cluster.url_as("devart_bridge_rabbitmq", cluster::BRIDGE_PASSWORD, "devart");
    let workers = [(); 2].map(|()| Worker::start(&url, script.clone(), options));
    enqueue(&owner, None, 1, 1_500).await?;
    for delivered in [300, 900] {
        eventually("the workers get on", async || {
            (script.read(|it| it.ended.len()) >= delivered).then_some(())
        })
        .await;
        restart(&cluster, mode)?;
    }
    is_empty(&owner).await;
    for worker in workers {
        worker?.stop().await?;
    }
    let mut ended = script.ended();
    ended.sort_unstable();
    ended.dedup();
    assert_eq!(ended, (1..=1_500).collect::<Vec<_>>());
    assert!(script.read(|it| it.overlaps.is_empty()));
    Ok(())
}

fn restart(cluster: &Cluster, mode: StopMode) -> Result<()> {
    tokio::task::block_in_place(|| cluster.restart(mode))
}

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

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_another_bridges_topic_ends_and_says_why() -> Result<()> {
    let db = database().await?;
    // The API's login is nobody's bridge, and has not even the functions.
    let worker = Worker::start(&db.authenticator_url(), Script::new(work), quick())?;
    let error = worker.end().await.expect_err("it may not");
    let text = format!("{error:#}");
    assert!(
        text.contains(TOPIC) && text.contains("permission denied"),
        "{text}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_tells_its_health_and_metrics_and_stops_when_asked() -> Result<()> {
    let db = database().await?;
    enqueue(&db.owner, None, 1, 3).await?;
    let sidecar = Sidecar::start(&url(&db), &[])?;
    let http = Http::new(sidecar.url.clone());
    eventually("the sidecar is ready", async || {
        (http.get("/readyz").await.ok()?.status == 200).then_some(())
    })
    .await;
    is_empty(&db.owner).await;
    assert_eq!(http.get("/healthz").await?.status, 200);
    let delivered = format!("devart_outbox_delivered_total{{topic=\"{TOPIC}\"}} 3");
    let metrics = eventually("the deliveries are counted", async || {
        let text = http.get("/metrics").await.ok()?.text;
        text.contains(&delivered).then_some(text)
    })
    .await;
    for name in [
        "devart_outbox_depth",
        "devart_outbox_oldest_seconds",
        "devart_outbox_handle_duration_seconds_bucket",
        "devart_outbox_delivery_duration_seconds_bucket",
    ] {
        assert!(metrics.contains(name), "{name} is not in {metrics}");
    }
    assert!(sidecar.stop().await.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_whose_log_nobody_reads_stops_when_asked() -> Result<()> {
    let db = database().await?;
    let mut sidecar = Sidecar::start(&url(&db), &[])?;
    let http = Http::new(sidecar.url.clone());
    eventually("the sidecar is ready", async || {
        (http.get("/readyz").await.ok()?.status == 200).then_some(())
    })
    .await;
    sidecar.break_log_pipe();
    assert!(sidecar.stop().await.success());
    Ok(())
}
