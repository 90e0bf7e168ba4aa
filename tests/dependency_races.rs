//! A dependency that ends while its dependent is being made, and one that ends badly.

use anyhow::{Context, Result};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::support::queue::{Claim, complete, create, fail, start, status};
use crate::support::wait::eventually;
use crate::support::{Agent, Database, sqlstate};

async fn take(db: &Database, agent: &Agent, task_id: Uuid) -> Result<Claim> {
    let claim = start(&db.owner, task_id, agent.id).await?;
    claim.context("the task can be started")
}

async fn pid(session: &mut PgConnection) -> Result<i32> {
    Ok(sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(session)
        .await?)
}

/// Waits until the session with this process id waits for a lock.
async fn waits_for_a_lock(db: &Database, pid: i32) {
    eventually("the second session waits for the first", async || {
        sqlx::query("select from pg_stat_activity where pid = $1 and wait_event_type = 'Lock'")
            .bind(pid)
            .fetch_optional(&db.owner)
            .await
            .ok()?
    })
    .await;
}

#[tokio::test]
async fn a_task_made_while_its_dependency_is_being_completed_is_not_stuck() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let first = create(&db.owner, json!({"title": "first"})).await?;
    let held = take(&db, &agent, first).await?;
    let (mut worker, mut creator) = (db.session().await?, db.session().await?);
    let creator_pid = pid(&mut creator).await?;

    let mut completing = worker.begin().await?;
    complete(&mut *completing, &held).await?;
    let arguments = json!({"title": "late", "depends_on": [first]});
    let creating = tokio::spawn(async move { create(&mut creator, arguments).await });
    waits_for_a_lock(&db, creator_pid).await;
    completing.commit().await?;

    assert_eq!(status(&db.owner, creating.await??).await?, "TODO");
    Ok(())
}

#[tokio::test]
async fn a_dependency_completed_while_its_dependent_is_being_made_lets_it_go() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let first = create(&db.owner, json!({"title": "first"})).await?;
    let held = take(&db, &agent, first).await?;
    let (mut creator, mut worker) = (db.session().await?, db.session().await?);
    let worker_pid = pid(&mut worker).await?;

    let mut creating = creator.begin().await?;
    let late = create(
        &mut *creating,
        json!({"title": "late", "depends_on": [first]}),
    )
    .await?;
    let completing = tokio::spawn(async move { complete(&mut worker, &held).await });
    waits_for_a_lock(&db, worker_pid).await;
    creating.commit().await?;

    assert_eq!(completing.await??, "DONE");
    assert_eq!(status(&db.owner, late).await?, "TODO");
    Ok(())
}

#[tokio::test]
async fn what_waits_for_a_failed_task_waits_on_for_its_retry() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let first = create(&db.owner, json!({"title": "first"})).await?;
    let next = create(&db.owner, json!({"title": "next", "depends_on": [first]})).await?;
    fail(&db.owner, &take(&db, &agent, first).await?, false).await?;
    assert_eq!(status(&db.owner, next).await?, "BLOCKED");

    sqlx::query("select devart.retry_task($1)")
        .bind(first)
        .execute(&db.owner)
        .await?;
    complete(&db.owner, &take(&db, &agent, first).await?).await?;
    assert_eq!(status(&db.owner, next).await?, "TODO");
    Ok(())
}

#[tokio::test]
async fn a_task_that_others_wait_for_is_not_deleted_and_a_cancelled_one_not_waited_for()
-> Result<()> {
    let db = Database::create().await?;
    let first = create(&db.owner, json!({"title": "first"})).await?;
    create(&db.owner, json!({"title": "next", "depends_on": [first]})).await?;
    let deleted = sqlx::query("select devart.delete_task($1)")
        .bind(first)
        .execute(&db.owner)
        .await;
    assert_eq!(sqlstate(&deleted), "55000");

    sqlx::query("select devart.cancel_task($1)")
        .bind(first)
        .execute(&db.owner)
        .await?;
    let hopeless = create(
        &db.owner,
        json!({"title": "hopeless", "depends_on": [first]}),
    )
    .await;
    assert_eq!(sqlstate(&hopeless), "22023");
    Ok(())
}
