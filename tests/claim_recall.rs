//! A claim whose answer was lost: asked for again under its key, it gives the same leases.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::json;
use sqlx::PgExecutor;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::budget::{Funded, audit, costly_task, service};
use crate::support::http::{Http, send};
use crate::support::queue::{Claim, complete, create, create_many, expire_lease};
use crate::support::wait::eventually;
use crate::support::{Agent, Database};

async fn claim<T>(
    executor: impl PgExecutor<'_>,
    agent_id: Uuid,
    key: Uuid,
    max_tasks: i32,
) -> sqlx::Result<Vec<T>>
where
    T: for<'r> sqlx::FromRow<'r, PgRow> + Send + Unpin,
{
    sqlx::query_as("select * from devart.claim_tasks($1, $2, claim_key => $3)")
        .bind(agent_id)
        .bind(max_tasks)
        .bind(key)
        .fetch_all(executor)
        .await
}

async fn start_under(db: &Database, agent: &Agent, key: Uuid, task: Uuid) -> Result<Option<Claim>> {
    let started = sqlx::query_as("select * from devart.start_task($1, $2, claim_key => $3)")
        .bind(task)
        .bind(agent.id)
        .bind(key)
        .fetch_optional(&db.owner)
        .await?;
    Ok(started)
}

fn leases(claims: &[Claim]) -> BTreeSet<Uuid> {
    claims.iter().map(|claim| claim.lease_token).collect()
}

#[tokio::test]
async fn a_claim_under_the_same_key_gives_the_same_leases_and_one_under_another_gives_others()
-> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    create_many(&db.owner, 5).await?;
    let key = Uuid::new_v4();
    let first: Vec<Claim> = claim(&db.owner, agent.id, key, 2).await?;
    assert_eq!(first.len(), 2);
    let again: Vec<Claim> = claim(&db.owner, agent.id, key, 2).await?;
    assert_eq!(leases(&again), leases(&first));
    let others: Vec<Claim> = claim(&db.owner, agent.id, Uuid::new_v4(), 2).await?;
    assert_eq!(others.len(), 2);
    assert!(leases(&others).is_disjoint(&leases(&first)));
    Ok(())
}

#[tokio::test]
async fn what_has_ended_is_not_given_again() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    create_many(&db.owner, 3).await?;
    let key = Uuid::new_v4();
    let first: Vec<Claim> = claim(&db.owner, agent.id, key, 2).await?;
    complete(&db.owner, &first[0]).await?;
    let again: Vec<Claim> = claim(&db.owner, agent.id, key, 2).await?;
    assert_eq!(leases(&again), leases(&first[1..]));
    Ok(())
}

#[tokio::test]
async fn a_lease_that_was_lost_never_comes_back() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let task = create(&db.owner, json!({"title": "t"})).await?;
    let key = Uuid::new_v4();
    let first = start_under(&db, &agent, key, task)
        .await?
        .context("a lease")?;
    expire_lease(&db.owner, task).await?;
    db.maintain().await?;
    let second = start_under(&db, &agent, key, task)
        .await?
        .context("a lease")?;
    assert_eq!((first.attempt, second.attempt), (1, 2));
    assert_ne!(first.lease_token, second.lease_token);
    assert!(complete(&db.owner, &first).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_started_task_is_given_again_to_its_agent_under_its_key_only() -> Result<()> {
    let db = Database::create().await?;
    let (agent, other) = (db.agent(&[]).await?, db.agent(&[]).await?);
    let task = create(&db.owner, json!({"title": "t"})).await?;
    let key = Uuid::new_v4();
    let first = start_under(&db, &agent, key, task)
        .await?
        .context("a lease")?;
    let again = start_under(&db, &agent, key, task)
        .await?
        .context("a lease")?;
    assert_eq!(first.lease_token, again.lease_token);
    assert!(
        start_under(&db, &agent, Uuid::new_v4(), task)
            .await?
            .is_none()
    );
    assert!(start_under(&db, &other, key, task).await?.is_none());
    Ok(())
}

/// Whether somebody waits for the claim of another.
async fn somebody_waits(db: &Database) -> Result<bool> {
    let waits = "select exists (
        select from pg_stat_activity
        where datname = current_database() and (wait_event_type, wait_event) = ('Lock', 'advisory'))";
    Ok(sqlx::query_scalar(waits).fetch_one(&db.owner).await?)
}

#[tokio::test]
async fn a_claim_waits_for_an_earlier_one_under_its_key_and_is_answered_the_same() -> Result<()> {
    let db = Arc::new(Database::create().await?);
    let agent = db.agent(&[]).await?;
    create_many(&db.owner, 4).await?;
    let key = Uuid::new_v4();
    let mut under_way = db.owner.begin().await?;
    let first: Vec<Claim> = claim(&mut *under_way, agent.id, key, 2).await?;
    let again = tokio::spawn({
        let db = db.clone();
        async move { claim::<Claim>(&db.owner, agent.id, key, 2).await }
    });
    eventually("the second claim waits, or is through", async || {
        let waits = somebody_waits(&db).await.expect("an answer");
        (waits || again.is_finished()).then_some(())
    })
    .await;
    under_way.commit().await?;
    assert_eq!(leases(&again.await??), leases(&first));
    Ok(())
}

#[tokio::test]
async fn a_task_that_is_given_again_still_has_its_money() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let id = service(&db.owner, "model", "10").await?;
    costly_task(&db.owner, "t", id, "4").await?;
    let key = Uuid::new_v4();
    let mut holds = Vec::new();
    for _ in 0..2 {
        let claimed: Vec<Funded> = claim(&db.owner, agent.id, key, 1).await?;
        holds.push(claimed[0].hold_id.context("its money")?);
    }
    assert_eq!(holds[0], holds[1]);
    audit(&db.owner).await;
    Ok(())
}

async fn post(http: &Http, path: &str, key: &str) -> Result<serde_json::Value> {
    let request = http
        .request(reqwest::Method::POST, path)
        .header("idempotency-key", key)
        .json(&json!({}));
    Ok(send(request).await?.expect(200))
}

#[tokio::test]
async fn over_http_the_idempotency_key_is_the_claims_key() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let http = api.agent(&db.agent(&[]).await?);
    create_many(&db.owner, 2).await?;
    let (first, again) = (
        post(&http, "/api/tasks/claim", "k").await?,
        post(&http, "/api/tasks/claim", "k").await?,
    );
    assert_eq!(
        first["items"][0]["lease_token"],
        again["items"][0]["lease_token"]
    );
    let task = create(&db.owner, json!({"title": "t"})).await?;
    let path = format!("/api/tasks/{task}/start");
    let (first, again) = (
        post(&http, &path, "s").await?,
        post(&http, &path, "s").await?,
    );
    assert_eq!(first["lease_token"], again["lease_token"]);
    Ok(())
}
