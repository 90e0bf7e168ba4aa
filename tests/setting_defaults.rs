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
