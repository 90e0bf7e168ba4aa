//! What becomes of a task that waits for people, beyond yes and no.

use anyhow::Result;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::support::queue::{create, status};
use crate::support::{Caller, Database, sqlstate};

/// A task that waits for approval, made by this person, and its approval.
async fn request(db: &Database, requester: Caller) -> Result<(Uuid, Uuid)> {
    let mut session = db.session_as(requester).await?;
    let task_id = create(
        &mut session,
        json!({"title": "risky", "needs_approval": true}),
    )
    .await?;
    Ok((task_id, approval_of(db, task_id).await?))
}

async fn approval_of(db: &Database, task_id: Uuid) -> Result<Uuid> {
    let query = sqlx::query_scalar("select id from devart.approvals where subject_id = $1");
    Ok(query.bind(task_id).fetch_one(&db.owner).await?)
}

async fn decide(session: &mut PgConnection, id: Uuid, decision: &str) -> sqlx::Result<String> {
    sqlx::query_scalar("select (devart.decide_approval($1, $2)).status::text")
        .bind(id)
        .bind(decision)
        .fetch_one(session)
        .await
}

#[tokio::test]
async fn a_decision_is_final() -> Result<()> {
    let db = Database::create().await?;
    let (task_id, approval_id) = request(&db, db.person("supervisor").await?).await?;
    let mut approver = db.session_as(db.person("supervisor").await?).await?;
    assert_eq!(
        decide(&mut approver, approval_id, "approve").await?,
        "APPROVED"
    );
    let mut late = db.session_as(db.person("supervisor").await?).await?;
    assert_eq!(
        sqlstate(&decide(&mut late, approval_id, "reject").await),
        "55000"
    );
    assert_eq!(status(&db.owner, task_id).await?, "TODO");
    assert_eq!(
        sqlstate(&decide(&mut late, Uuid::now_v7(), "approve").await),
        "P0002"
    );
    Ok(())
}

#[tokio::test]
async fn whoever_asked_may_withdraw() -> Result<()> {
    let db = Database::create().await?;
    let requester = db.person("supervisor").await?;
    let (task_id, approval_id) = request(&db, requester).await?;
    let mut session = db.session_as(requester).await?;
    assert_eq!(
        decide(&mut session, approval_id, "reject").await?,
        "REJECTED"
    );
    assert_eq!(status(&db.owner, task_id).await?, "CANCELLED");
    Ok(())
}

#[tokio::test]
async fn an_approval_that_nobody_decides_expires_with_its_task() -> Result<()> {
    let db = Database::create().await?;
    let (task_id, approval_id) = request(&db, db.person("supervisor").await?).await?;
    sqlx::query("update devart.approvals set expires_at = now() - interval '1 second'")
        .execute(&db.owner)
        .await?;
    let mut late = db.session_as(db.person("admin").await?).await?;
    assert_eq!(
        sqlstate(&decide(&mut late, approval_id, "approve").await),
        "55000"
    );
    assert_eq!(db.maintain().await?["approvals_expired"], 1);
    assert_eq!(status(&db.owner, task_id).await?, "CANCELLED");
    Ok(())
}

#[tokio::test]
async fn an_approved_task_still_waits_for_what_it_depends_on() -> Result<()> {
    let db = Database::create().await?;
    let first = create(&db.owner, json!({"title": "first"})).await?;
    let arguments = json!({"title": "risky", "needs_approval": true, "depends_on": [first]});
    let task_id = create(&db.owner, arguments).await?;
    assert_eq!(status(&db.owner, task_id).await?, "AWAITING_APPROVAL");
    let approval_id = approval_of(&db, task_id).await?;
    let mut approver = db.session_as(db.person("supervisor").await?).await?;
    decide(&mut approver, approval_id, "approve").await?;
    assert_eq!(status(&db.owner, task_id).await?, "BLOCKED");
    Ok(())
}
