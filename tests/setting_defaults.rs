//! A setting without a row has its default, for every function that asks for it.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::support::queue::{claim, create, expire_lease, fail, status};
use crate::support::{Agent, Database, sqlstate};

/// A database in which nothing is set, and an agent.
async fn nothing_set() -> Result<(Database, Agent)> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    sqlx::query("delete from devart.system_settings")
        .execute(&db.owner)
        .await?;
    Ok((db, agent))
}

/// The seconds from now until the moment that a query gives.
async fn seconds_until(db: &Database, query: &'static str) -> Result<f64> {
    let seconds = sqlx::query_scalar(query).fetch_one(&db.owner).await?;
    Ok(seconds)
}

#[tokio::test]
async fn a_heartbeat_extends_leases_by_the_default() -> Result<()> {
    let (db, agent) = nothing_set().await?;
    let task = create(&db.owner, json!({"title": "long"})).await?;
    claim(&db.owner, agent.id).await?.context("a task")?;
    sqlx::query("update devart.tasks set lease_expires_at = now() + interval '1 second'")
        .execute(&db.owner)
        .await?;
    sqlx::query("select devart.agent_heartbeat($1)")
        .bind(agent.id)
        .execute(&db.owner)
        .await?;
    let left = "select extract(epoch from t.lease_expires_at - a.last_heartbeat_at)::float8
                from devart.tasks t, devart.agents a";
    assert_eq!(seconds_until(&db, left).await?, 60.0);
    assert_eq!(status(&db.owner, task).await?, "IN_PROGRESS");
    Ok(())
}

#[tokio::test]
async fn a_failed_task_is_tried_again_after_the_default_delay() -> Result<()> {
    let (db, agent) = nothing_set().await?;
    create(&db.owner, json!({"title": "fails"})).await?;
    let held = claim(&db.owner, agent.id).await?.context("a task")?;
    let (status, run_at) = fail(&db.owner, &held, true).await?;
    assert_eq!((status.as_str(), run_at.is_some()), ("SCHEDULED", true));
    Ok(())
}

#[tokio::test]
async fn expired_leases_are_rescued_up_to_the_default() -> Result<()> {
    let (db, agent) = nothing_set().await?;
    let task = create(&db.owner, json!({"title": "kills its workers"})).await?;
    sqlx::query("update devart.tasks set rescue_count = 9")
        .execute(&db.owner)
        .await?;
    for expected in ["TODO", "FAILED"] {
        claim(&db.owner, agent.id).await?.context("a task")?;
        expire_lease(&db.owner, task).await?;
        assert_eq!(db.maintain().await?["rescued"], 1);
        assert_eq!(status(&db.owner, task).await?, expected);
    }
    Ok(())
}

#[tokio::test]
async fn an_approval_asks_the_default_quorum_and_waits_the_default_time() -> Result<()> {
    let (db, _agent) = nothing_set().await?;
    create(&db.owner, json!({"title": "risky", "needs_approval": true})).await?;
    let (quorum, seconds): (i32, f64) = sqlx::query_as(
        "select quorum, extract(epoch from expires_at - created_at)::float8 from devart.approvals",
    )
    .fetch_one(&db.owner)
    .await?;
    assert_eq!((quorum, seconds), (1, 604_800.0));
    Ok(())
}

#[tokio::test]
async fn a_setting_whose_row_was_deleted_can_be_set() -> Result<()> {
    let (db, _agent) = nothing_set().await?;
    db.set("max_rescues", json!(3)).await?;
    let rows: Vec<(String, Value)> =
        sqlx::query_as("select key, value from devart.system_settings")
            .fetch_all(&db.owner)
            .await?;
    assert_eq!(rows, [("max_rescues".to_owned(), json!(3))]);
    assert_eq!(sqlstate(&db.set("max_rescues", json!(0)).await), "22023");
    assert_eq!(sqlstate(&db.set("no_setting", json!(0)).await), "P0002");
    Ok(())
}

#[tokio::test]
async fn a_topic_is_enabled_although_the_row_of_topics_was_deleted() -> Result<()> {
    let (db, _agent) = nothing_set().await?;
    for _ in 0..2 {
        sqlx::query("select devart_private.enable_topic('rabbitmq.task')")
            .execute(&db.owner)
            .await?;
    }
    let topics: Value = sqlx::query_scalar("select devart_private.setting('outbox_topics')")
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(topics, json!(["rabbitmq.task"]));
    create(&db.owner, json!({"title": "somebody delivers"})).await?;
    let messages: i64 = sqlx::query_scalar("select count(*) from devart_private.outbox")
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(messages, 1);
    Ok(())
}

#[tokio::test]
async fn a_setting_that_makes_no_sense_counts_as_its_default() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    for odd in [
        r#""60""#, "null", "1e308", "1e390", "-1", "true", "[]", "{}",
    ] {
        sqlx::query(
            "update devart.system_settings set value = $1::jsonb
             where key in ('lease_seconds', 'priority_aging_seconds', 'retry_base_seconds',
                           'retry_max_seconds')",
        )
        .bind(odd)
        .execute(&db.owner)
        .await?;
        create(&db.owner, json!({"title": odd})).await?;
        let lease: f64 = sqlx::query_scalar(
            "select extract(epoch from c.lease_expires_at - now())::float8
             from devart.claim_next_task($1) c",
        )
        .bind(agent.id)
        .fetch_one(&db.owner)
        .await?;
        assert_eq!(lease, 60.0, "{odd}");
    }
    Ok(())
}

#[tokio::test]
async fn topics_that_are_no_list_count_as_none() -> Result<()> {
    let db = Database::create().await?;
    for odd in [r#""rabbitmq.task""#, "null", r#"{"rabbitmq.task": 1}"#] {
        sqlx::query(
            "update devart.system_settings set value = $1::jsonb where key = 'outbox_topics'",
        )
        .bind(odd)
        .execute(&db.owner)
        .await?;
        create(&db.owner, json!({"title": odd})).await?;
        let messages: i64 = sqlx::query_scalar("select count(*) from devart_private.outbox")
            .fetch_one(&db.owner)
            .await?;
        assert_eq!(messages, 0, "{odd}");
    }
    Ok(())
}

#[tokio::test]
async fn without_the_table_of_defaults_settings_are_read_and_missing_ones_named() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    // As a database is whose servers run a newer library than its last `devart migrate` knew.
    sqlx::raw_sql("drop table devart_private.setting_defaults cascade")
        .execute(&db.owner)
        .await?;
    create(&db.owner, json!({"title": "in the gap"})).await?;
    assert!(claim(&db.owner, agent.id).await?.is_some());
    sqlx::query("delete from devart.system_settings where key = 'lease_seconds'")
        .execute(&db.owner)
        .await?;
    assert_eq!(sqlstate(&claim(&db.owner, agent.id).await), "55000");
    Ok(())
}
