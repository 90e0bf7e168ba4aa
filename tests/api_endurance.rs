//! The API while many wait: others are served, and one can see what happens.

use anyhow::{Context, Result};
use futures::future::try_join_all;
use serde_json::json;

use crate::support::Database;
use crate::support::api::Api;
use crate::support::queue::create_many;
use crate::support::wait::eventually;

const WAITING: usize = 30;

#[tokio::test]
async fn thirty_waiting_claims_leave_a_pool_of_five_to_others() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start_with(
        &db.authenticator_url(),
        &[("DATABASE_MAX_CONNECTIONS", "5")],
    )
    .await?;
    let agents = try_join_all((0..WAITING).map(|_| db.agent(&[]))).await?;
    let waiting: Vec<_> = agents
        .iter()
        .map(|agent| {
            let client = api.agent(agent);
            tokio::spawn(async move {
                client
                    .post("/api/tasks/claim", json!({"wait_seconds": 30}))
                    .await
            })
        })
        .collect();
    eventually("all wait", async || {
        (api.metric("devart_waiting_claims").await.ok()? >= WAITING as f64).then_some(())
    })
    .await;

    let viewer = api.client(db.person("viewer").await?);
    for answer in try_join_all((0..50).map(|_| viewer.get("/api/tasks"))).await? {
        answer.expect(200);
    }
    let connections: i64 =
        sqlx::query_scalar("select count(*) from pg_stat_activity where datname = current_database() and usename = 'authenticator'")
            .fetch_one(&db.owner)
            .await?;
    assert!(
        connections <= 13,
        "{connections}: five each for agents and people, one for upkeep, one for readiness, one to listen"
    );

    create_many(&db.owner, WAITING as i32).await?;
    for claim in waiting {
        claim.await??.expect(200);
    }
    Ok(())
}

#[tokio::test]
async fn metrics_count_requests_by_route_and_not_by_path() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let id = "00000000-0000-7000-8000-000000000000";
    let viewer = api.client(db.person("viewer").await?);
    viewer.get(&format!("/api/tasks/{id}")).await?.problem(404);
    let metrics = api.anonymous.get("/metrics").await?;
    assert!(metrics.header("content-type").starts_with("text/plain"));
    let line = metrics
        .text
        .lines()
        .find(|line| line.starts_with("devart_http_requests_total{") && line.contains("404"));
    let line = line.context("the request was counted")?;
    assert!(
        line.contains("/api/tasks/{id}") && line.ends_with(" 1"),
        "{line}"
    );
    assert!(!metrics.text.contains(id));
    Ok(())
}

#[tokio::test]
async fn every_documented_path_answers() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let document = api.anonymous.get("/api/openapi.json").await?.expect(200);
    for (path, methods) in document["paths"].as_object().context("paths")? {
        for method in methods.as_object().context("methods")?.keys() {
            let answer = api
                .anonymous
                .call(&method.to_uppercase(), path, None)
                .await?;
            assert!(
                ![404, 405, 500].contains(&answer.status),
                "{method} {path}: {}",
                answer.text
            );
        }
    }
    Ok(())
}
