//! Giving a task back: another attempt follows at once, and it has cost nothing.

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::budget::{audit, claim_funded, costly_task, reserve, service};
use crate::support::http::send;
use crate::support::queue::{Claim, claim, complete, create, history, status, task};
use crate::support::{Database, sqlstate};

const RELEASE: &str = "select status from devart.release_task($1, $2)";

async fn release(executor: impl PgExecutor<'_>, claim: &Claim) -> sqlx::Result<String> {
    sqlx::query_scalar(RELEASE)
        .bind(claim.task_id)
        .bind(claim.lease_token)
        .fetch_one(executor)
        .await
}

#[tokio::test]
async fn a_task_may_be_given_back_any_number_of_times() -> Result<()> {
    let db = Database::create().await?;
    db.set("max_rescues", json!(1)).await?;
    let (agent, other) = (db.agent(&[]).await?, db.agent(&[]).await?);
    let id = create(&db.owner, json!({"title": "t", "max_retries": 0})).await?;
    for attempt in 1..=5 {
        let held = claim(&db.owner, agent.id).await?.context("the task")?;
        assert_eq!((held.task_id, held.attempt), (id, attempt));
        assert_eq!(release(&db.owner, &held).await?, "TODO");
    }
    let now = task(&db.owner, id).await?;
    assert_eq!((now.retry_count, now.last_error), (0, None));
    assert!(now.lease_expires_at.is_none() && now.finished_at.is_none());
    let (holder, rescues): (Option<Uuid>, i32) =
        sqlx::query_as("select agent_id, rescue_count from devart.tasks where id = $1")
            .bind(id)
            .fetch_one(&db.owner)
            .await?;
    assert_eq!((holder, rescues), (None, 0));
    let held = claim(&db.owner, other.id).await?.context("the task")?;
    assert_eq!(complete(&db.owner, &held).await?, "DONE");
    let expected = [&["TODO", "IN_PROGRESS"].repeat(6)[..], &["DONE"]].concat();
    assert_eq!(history(&db.owner, id).await?, expected);
    Ok(())
}

#[tokio::test]
async fn only_whoever_has_the_lease_gives_a_task_back() -> Result<()> {
    let db = Database::create().await?;
    let (agent, other) = (db.agent(&[]).await?, db.agent(&[]).await?);
    create(&db.owner, json!({"title": "t"})).await?;
    let held = claim(&db.owner, agent.id).await?.context("the task")?;
    let stranger = release(&mut db.session_as(other.caller()).await?, &held).await;
    assert_eq!(sqlstate(&stranger), "42501");
    let mut own = db.session_as(agent.caller()).await?;
    for (task_id, lease_token, expected) in [
        (Some(held.task_id), Some(Uuid::now_v7()), "55P03"),
        (Some(Uuid::now_v7()), Some(held.lease_token), "P0002"),
        (None, Some(held.lease_token), "22023"),
        (Some(held.task_id), None, "22023"),
        (Some(held.task_id), Some(held.lease_token), "ok"),
        (Some(held.task_id), Some(held.lease_token), "55P03"),
    ] {
        let outcome = sqlx::query(RELEASE)
            .bind(task_id)
            .bind(lease_token)
            .execute(&mut own)
            .await;
        assert_eq!(sqlstate(&outcome), expected, "{task_id:?} {lease_token:?}");
    }
    let late = complete(&db.owner, &held).await;
    assert_eq!(sqlstate(&late), "55P03", "what was given back is not ended");
    Ok(())
}

#[tokio::test]
async fn what_was_given_back_holds_no_money_and_gets_it_again() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let id = service(&db.owner, "model", "2").await?;
    costly_task(&db.owner, "t", id, "2").await?;
    let held = claim_funded(&db.owner, agent.id, 1).await?.remove(0);
    let outcome: String = sqlx::query_scalar(RELEASE)
        .bind(held.task_id)
        .bind(held.lease_token)
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(outcome, "TODO");
    let again = claim_funded(&db.owner, agent.id, 1).await?.remove(0);
    assert_eq!(again.task_id, held.task_id);
    assert!(again.hold_id.is_some() && again.hold_id != held.hold_id);
    assert_eq!(reserve(&db.owner, id, "1").await?["admitted"], false);
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn over_http_a_repeated_release_is_answered_the_same() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let agent = db.agent(&[]).await?;
    let http = api.agent(&agent);
    let id = create(&db.owner, json!({"title": "t"})).await?;
    let held = claim(&db.owner, agent.id).await?.context("the task")?;
    let path = format!("/api/tasks/{id}/release");
    let body = json!({"lease_token": held.lease_token});
    for _ in 0..2 {
        let request = http.request(Method::POST, &path);
        let answer = send(request.header("idempotency-key", "k").json(&body)).await?;
        assert_eq!(
            answer.expect(200),
            json!({"status": "TODO", "run_at": Value::Null})
        );
    }
    let late = http.post(&path, body).await?;
    assert_eq!(late.problem(409), "lease_lost");
    assert_eq!(status(&db.owner, id).await?, "TODO");
    Ok(())
}
