//! Sessions keep settings and lanes (pg_devart/src/pg/cached.rs), and notice when they change.

use anyhow::{Context, Result};
use serde_json::json;
use sqlx::{Connection, PgConnection, PgExecutor};

use crate::support::queue::{claim, create, create_many};
use crate::support::{Agent, Database};

/// Claims a task and gives how long the lease is, in seconds.
async fn lease_seconds(executor: impl PgExecutor<'_>, agent: &Agent) -> Result<f64> {
    let seconds = sqlx::query_scalar(
        "select extract(epoch from c.lease_expires_at - now())::float8 from devart.claim_next_task($1) c",
    )
    .bind(agent.id)
    .fetch_optional(executor)
    .await?;
    seconds.context("there was nothing to claim")
}

async fn queue() -> Result<(Database, Agent, PgConnection)> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    create_many(&db.owner, 10).await?;
    let mut session = db.session().await?;
    assert_eq!(lease_seconds(&mut session, &agent).await?, 60.0);
    Ok((db, agent, session))
}

#[tokio::test]
async fn a_session_that_has_claimed_before_claims_by_a_setting_as_it_is_now() -> Result<()> {
    let (db, agent, mut session) = queue().await?;
    db.set("lease_seconds", json!(120)).await?;
    assert_eq!(lease_seconds(&mut session, &agent).await?, 120.0);
    sqlx::query("update devart.system_settings set value = '90' where key = 'lease_seconds'")
        .execute(&db.owner)
        .await?;
    assert_eq!(lease_seconds(&mut session, &agent).await?, 90.0);
    sqlx::query("delete from devart.system_settings where key = 'lease_seconds'")
        .execute(&db.owner)
        .await?;
    assert_eq!(lease_seconds(&mut session, &agent).await?, 60.0);
    Ok(())
}

#[tokio::test]
async fn a_session_that_has_claimed_before_notices_another_default() -> Result<()> {
    let (db, agent, mut session) = queue().await?;
    sqlx::query("delete from devart.system_settings where key = 'lease_seconds'")
        .execute(&db.owner)
        .await?;
    assert_eq!(lease_seconds(&mut session, &agent).await?, 60.0);
    sqlx::query(
        "update devart_private.setting_defaults set value = '75' where key = 'lease_seconds'",
    )
    .execute(&db.owner)
    .await?;
    assert_eq!(lease_seconds(&mut session, &agent).await?, 75.0);
    Ok(())
}

#[tokio::test]
async fn what_replication_brings_is_noticed_too() -> Result<()> {
    let (db, agent, mut session) = queue().await?;
    let mut replication = db.session().await?;
    sqlx::raw_sql(
        "set session_replication_role = replica;
         update devart.system_settings set value = '120' where key = 'lease_seconds'",
    )
    .execute(&mut replication)
    .await?;
    assert_eq!(lease_seconds(&mut session, &agent).await?, 120.0);
    Ok(())
}

#[tokio::test]
async fn a_setting_that_is_rolled_back_is_not_kept() -> Result<()> {
    let (_db, agent, mut session) = queue().await?;
    let mut transaction = session.begin().await?;
    sqlx::query("select devart.set_setting('lease_seconds', '300')")
        .execute(&mut *transaction)
        .await?;
    assert_eq!(lease_seconds(&mut *transaction, &agent).await?, 300.0);
    transaction.rollback().await?;
    assert_eq!(lease_seconds(&mut session, &agent).await?, 60.0);
    Ok(())
}

#[tokio::test]
async fn what_a_transaction_sees_of_the_past_ends_with_it() -> Result<()> {
    let (db, agent, mut session) = queue().await?;
    let mut transaction = session.begin().await?;
    sqlx::raw_sql("set transaction isolation level repeatable read; select now()")
        .execute(&mut *transaction)
        .await?;
    db.set("lease_seconds", json!(120)).await?;
    assert_eq!(lease_seconds(&mut *transaction, &agent).await?, 60.0);
    transaction.commit().await?;
    assert_eq!(lease_seconds(&mut session, &agent).await?, 120.0);
    Ok(())
}

#[tokio::test]
async fn a_session_that_has_claimed_before_finds_work_in_a_new_lane() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&["rust", "sql"]).await?;
    let mut session = db.session().await?;
    assert!(claim(&mut session, agent.id).await?.is_none());
    let required = json!({"title": "in a new lane", "required_capabilities": ["sql", "rust"]});
    let task = create(&db.owner, required).await?;
    let claimed = claim(&mut session, agent.id).await?;
    assert_eq!(claimed.context("nothing was found")?.task_id, task);
    Ok(())
}

#[tokio::test]
async fn messages_about_tasks_begin_as_soon_as_somebody_delivers_them() -> Result<()> {
    let db = Database::create().await?;
    let mut session = db.session().await?;
    create(&mut session, json!({"title": "nobody delivers"})).await?;
    db.set("outbox_topics", json!(["rabbitmq.task"])).await?;
    create(&mut session, json!({"title": "somebody does"})).await?;
    let titles: Vec<String> = sqlx::query_scalar(
        "select payload ->> 'title' from devart_private.outbox where topic = 'rabbitmq.task' and payload ->> 'kind' = 'invite' order by id",
    )
    .fetch_all(&db.owner)
    .await?;
    assert!(titles.contains(&"somebody does".to_owned()), "{titles:?}");
    Ok(())
}
