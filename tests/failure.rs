//! Failing tasks: retries with backoff, then dead, and another life by hand.

use anyhow::{Context, Result};
use serde_json::json;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::support::queue::{claim, create, fail, history, make_due, status, task};
use crate::support::{Database, sqlstate};

#[tokio::test]
async fn a_failed_task_waits_for_its_backoff_and_no_less() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    create(&db.owner, json!({"title": "t"})).await?;
    for base in [5.0, 10.0, 20.0] {
        let claimed = claim(&db.owner, agent.id).await?.context("a task")?;
        let before = OffsetDateTime::now_utc();
        let (status, run_at) = fail(&db.owner, &claimed, true).await?;
        let after = OffsetDateTime::now_utc();
        let run_at = run_at.context("a time")?;
        assert_eq!(status, "SCHEDULED");
        assert!(
            run_at - after <= Duration::seconds_f64(base * 1.2),
            "at most 20 % jitter"
        );
        assert!(
            run_at - before >= Duration::seconds_f64(base),
            "never earlier than the backoff"
        );
        make_due(&db.owner, claimed.task_id).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_task_without_retries_left_is_dead_until_somebody_retries_it() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let id = create(&db.owner, json!({"title": "t", "max_retries": 0})).await?;
    let claimed = claim(&db.owner, agent.id).await?.context("a task")?;
    assert_eq!(fail(&db.owner, &claimed, true).await?.0, "FAILED");
    assert_eq!(
        task(&db.owner, id).await?.last_error.as_deref(),
        Some("it broke")
    );
    assert!(claim(&db.owner, agent.id).await?.is_none());

    sqlx::query("select devart.retry_task($1)")
        .bind(id)
        .execute(&db.owner)
        .await?;
    assert!(claim(&db.owner, agent.id).await?.is_some());
    let again = sqlx::query("select devart.retry_task($1)")
        .bind(id)
        .execute(&db.owner)
        .await;
    assert_eq!(sqlstate(&again), "55000", "it is not dead");
    Ok(())
}

#[tokio::test]
async fn a_failure_that_is_not_retryable_is_final() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    create(&db.owner, json!({"title": "t"})).await?;
    let claimed = claim(&db.owner, agent.id).await?.context("a task")?;
    assert_eq!(fail(&db.owner, &claimed, false).await?.0, "FAILED");
    assert_eq!(
        sqlstate(&fail(&db.owner, &claimed, true).await),
        "55P03",
        "the lease is gone"
    );
    Ok(())
}

#[tokio::test]
async fn retry_after_only_ever_lengthens_the_wait() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    create(&db.owner, json!({"title": "t"})).await?;
    let claimed = claim(&db.owner, agent.id).await?.context("a task")?;
    let wait: f64 = sqlx::query_scalar(
        "select extract(epoch from run_at - clock_timestamp())::float8
         from devart.report_task_failure($1, $2, 'later', true, interval '10 minutes')",
    )
    .bind(claimed.task_id)
    .bind(claimed.lease_token)
    .fetch_one(&db.owner)
    .await?;
    assert!((590.0..=600.0).contains(&wait), "{wait}");
    Ok(())
}

#[tokio::test]
async fn a_scheduled_task_is_handed_out_only_when_its_time_has_come() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let id = create(
        &db.owner,
        json!({"title": "t", "run_at": "2999-01-01T00:00:00Z"}),
    )
    .await?;
    assert_eq!(status(&db.owner, id).await?, "SCHEDULED");
    db.maintain().await?;
    assert!(claim(&db.owner, agent.id).await?.is_none());
    // As if the time had passed: no trigger may notice, since time passes without one.
    sqlx::raw_sql(
        "set session_replication_role = replica; update devart.tasks set run_at = now() - interval '1 s';
         set session_replication_role = default",
    )
    .execute(&mut db.session().await?)
    .await?;
    assert!(claim(&db.owner, agent.id).await?.is_none());
    assert_eq!(db.maintain().await?["promoted"], 1);
    assert_eq!(
        claim(&db.owner, agent.id)
            .await?
            .context("the task")?
            .task_id,
        id
    );
    Ok(())
}

#[tokio::test]
async fn a_cancelled_task_refuses_its_worker() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let id = create(&db.owner, json!({"title": "t"})).await?;
    let claimed = claim(&db.owner, agent.id).await?.context("a task")?;
    sqlx::query("select devart.cancel_task($1, 'no need')")
        .bind(id)
        .execute(&db.owner)
        .await?;
    assert_eq!(sqlstate(&fail(&db.owner, &claimed, true).await), "55P03");
    assert_eq!(
        history(&db.owner, id).await?,
        ["TODO", "IN_PROGRESS", "CANCELLED"]
    );
    Ok(())
}

#[tokio::test]
async fn a_child_inherits_its_parents_priority_unless_told_otherwise() -> Result<()> {
    let db = Database::create().await?;
    let parent = create(&db.owner, json!({"title": "p", "priority": "CRITICAL"})).await?;
    let heir = create(&db.owner, json!({"title": "c", "parent_task_id": parent})).await?;
    let other = create(
        &db.owner,
        json!({"title": "c", "parent_task_id": parent, "priority": "LOW"}),
    )
    .await?;
    assert_eq!(task(&db.owner, heir).await?.priority, "CRITICAL");
    assert_eq!(task(&db.owner, other).await?.priority, "LOW");
    Ok(())
}

#[tokio::test]
async fn an_idempotency_key_makes_one_task() -> Result<()> {
    let db = Database::create().await?;
    let request = json!({"title": "once", "idempotency_key": "k"});
    let ids: Vec<Uuid> =
        futures::future::try_join_all((0..8).map(|_| create(&db.owner, request.clone()))).await?;
    assert!(ids.iter().all(|id| *id == ids[0]));
    let other = create(
        &db.owner,
        json!({"title": "another", "idempotency_key": "k"}),
    )
    .await;
    assert_eq!(sqlstate(&other), "23505");
    Ok(())
}

#[tokio::test]
async fn a_task_fails_for_good_when_its_retries_are_used_up() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let id = create(&db.owner, json!({"title": "t", "max_retries": 2})).await?;
    for expected in ["SCHEDULED", "SCHEDULED", "FAILED"] {
        let claimed = claim(&db.owner, agent.id).await?.context("a task")?;
        assert_eq!(fail(&db.owner, &claimed, true).await?.0, expected);
        make_due(&db.owner, id).await?;
    }
    let failed = task(&db.owner, id).await?;
    assert_eq!((failed.attempt, failed.retry_count), (3, 2));
    assert!(failed.finished_at.is_some());
    Ok(())
}

#[tokio::test]
async fn no_backoff_is_longer_than_the_setting_and_its_jitter() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    db.set("retry_max_seconds", json!(7)).await?;
    let id = create(&db.owner, json!({"title": "t", "max_retries": 10})).await?;
    for _ in 0..5 {
        let claimed = claim(&db.owner, agent.id).await?.context("a task")?;
        let (_, run_at) = fail(&db.owner, &claimed, true).await?;
        let latest = OffsetDateTime::now_utc() + Duration::seconds_f64(7.0 * 1.2);
        assert!(run_at.context("a time")? <= latest);
        make_due(&db.owner, id).await?;
    }
    Ok(())
}
