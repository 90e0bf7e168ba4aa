//! Operators may set any status: what they set is what somebody can get on with.

use anyhow::Result;
use serde_json::json;
use uuid::Uuid;

use crate::support::queue::{claim, create, status};
use crate::support::{Database, refusal, run_sql, sqlstate};

async fn set(db: &Database, task_id: Uuid, change: &str) -> sqlx::Result<()> {
    let sql = format!("update devart.tasks set {change} where id = '{task_id}'");
    run_sql(&mut db.session().await?, sql).await
}

/// How many people are asked about it now.
async fn questions(db: &Database, task_id: Uuid) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "select count(*) from devart.approvals where subject_id = $1 and status = 'PENDING'",
    )
    .bind(task_id)
    .fetch_one(&db.owner)
    .await
}

async fn approve(db: &Database, task_id: Uuid) -> Result<()> {
    let mut session = db.session_as(db.person("supervisor").await?).await?;
    let sql = format!(
        "select devart.decide_approval(id, 'approve') from devart.approvals
         where subject_id = '{task_id}' and status = 'PENDING'"
    );
    Ok(run_sql(&mut session, sql).await?)
}

#[tokio::test]
async fn a_task_that_is_made_to_wait_for_people_asks_them() -> Result<()> {
    let db = Database::create().await?;
    for from in ["TODO", "SCHEDULED", "FAILED", "DONE", "CANCELLED"] {
        let id = create(&db.owner, json!({"title": from})).await?;
        set(&db, id, &format!("status = '{from}'")).await?;
        for time in ["first", "second"] {
            set(&db, id, "status = 'AWAITING_APPROVAL'").await?;
            assert_eq!(questions(&db, id).await?, 1, "{from}, {time}");
            approve(&db, id).await?;
            assert_eq!(status(&db.owner, id).await?, "TODO", "{from}, {time}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn no_task_is_in_progress_without_a_lease_that_ends() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let id = create(&db.owner, json!({"title": "t"})).await?;
    let token = "lease_token = gen_random_uuid()";
    for change in [
        "status = 'IN_PROGRESS'".to_owned(),
        format!("status = 'IN_PROGRESS', {token}"),
        "status = 'IN_PROGRESS', lease_expires_at = now()".to_owned(),
    ] {
        let refused = set(&db, id, &change).await;
        assert_eq!(sqlstate(&refused), "55000", "{change}");
        assert!(refusal(refused).contains("status is IN_PROGRESS only under a lease"));
    }
    let insert = "insert into devart.tasks (title, status) values ('t', 'IN_PROGRESS')";
    let refused = run_sql(&mut db.session().await?, insert.to_owned()).await;
    assert_eq!(sqlstate(&refused), "55000");

    claim(&db.owner, agent.id).await?;
    for change in [
        "lease_token = null",
        "lease_expires_at = null",
        "lease_expires_at = 'infinity'",
    ] {
        assert_eq!(sqlstate(&set(&db, id, change).await), "23514", "{change}");
    }
    Ok(())
}
