//! How long a task may run, and how many tasks one agent may have.

use anyhow::{Context, Result};
use serde_json::json;

use crate::support::queue::{
    claim, claim_batch, complete, create, create_many, start, status, task,
};
use crate::support::{Database, sqlstate};

#[tokio::test]
async fn a_task_that_runs_too_long_is_ended_whatever_its_heartbeats_say() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let id = create(
        &db.owner,
        json!({"title": "t", "timeout_seconds": 30, "max_retries": 1}),
    )
    .await?;
    let endless = create(&db.owner, json!({"title": "endless"})).await?;
    claim(&db.owner, agent.id)
        .await?
        .context("the endless one or the other")?;
    claim(&db.owner, agent.id).await?.context("both")?;
    for ended in ["SCHEDULED", "FAILED"] {
        let held: (uuid::Uuid,) =
            sqlx::query_as("select lease_token from devart.tasks where id = $1")
                .bind(id)
                .fetch_one(&db.owner)
                .await?;
        assert_eq!(db.maintain().await?["timed_out"], 0);
        sqlx::query("update devart.tasks set claimed_at = now() - interval '31 seconds'")
            .execute(&db.owner)
            .await?;
        sqlx::query("select devart.agent_heartbeat($1)")
            .bind(agent.id)
            .execute(&db.owner)
            .await?;
        assert_eq!(db.maintain().await?["timed_out"], 1);
        let now = task(&db.owner, id).await?;
        assert_eq!((now.status.as_str(), now.retry_count), (ended, 1));
        assert!(
            now.last_error
                .context("a reason")?
                .contains("timeout_seconds")
        );
        let late = sqlx::query("select devart.complete_task($1, $2)")
            .bind(id)
            .bind(held.0)
            .execute(&db.owner)
            .await;
        assert_eq!(sqlstate(&late), "55P03");
        if ended == "SCHEDULED" {
            sqlx::query("update devart.tasks set run_at = now() where id = $1")
                .bind(id)
                .execute(&db.owner)
                .await?;
            start(&db.owner, id, agent.id)
                .await?
                .context("its second attempt")?;
        }
    }
    assert_eq!(status(&db.owner, endless).await?, "IN_PROGRESS");
    for (seconds, code) in [
        (0, "23514"),
        (-1, "23514"),
        (2_592_001, "23514"),
        (2_592_000, "ok"),
    ] {
        let made = create(&db.owner, json!({"title": "t", "timeout_seconds": seconds})).await;
        assert_eq!(sqlstate(&made), code, "{seconds}");
    }
    Ok(())
}

#[tokio::test]
async fn an_agent_gets_no_more_tasks_than_it_may_have_in_hand() -> Result<()> {
    let db = Database::create().await?;
    db.set("max_tasks_in_hand", json!(20)).await?;
    let (greedy, other) = (db.agent(&[]).await?, db.agent(&[]).await?);
    create_many(&db.owner, 60).await?;
    // One session: each counts for itself, and not at each claim.
    let mut session = db.session().await?;
    let mut held = Vec::new();
    for batch in [1, 1, 5, 50, 1] {
        held.extend(claim_batch(&mut session, greedy.id, batch).await?);
    }
    assert_eq!(held.len(), 20);
    let more = create(&db.owner, json!({"title": "more", "priority": "CRITICAL"})).await?;
    assert!(start(&mut session, more, greedy.id).await?.is_none());
    complete(&db.owner, &held[0]).await?;
    assert!(start(&mut session, more, greedy.id).await?.is_some());
    assert!(claim(&mut session, greedy.id).await?.is_none());
    assert_eq!(claim_batch(&db.owner, other.id, 50).await?.len(), 20);
    Ok(())
}

#[tokio::test]
async fn by_default_one_agent_does_not_take_all() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    create_many(&db.owner, 3000).await?;
    let mut taken = 0;
    for _ in 0..4 {
        taken += claim_batch(&db.owner, agent.id, 1000).await?.len();
    }
    assert_eq!(taken, 1000);
    Ok(())
}
