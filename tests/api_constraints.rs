//! What a constraint of the database refuses, the API says in words of its own.

use anyhow::Result;
use serde_json::json;
use uuid::Uuid;

use crate::support::Database;
use crate::support::api::Api;
use crate::support::queue::create;

#[tokio::test]
async fn no_answer_names_a_constraint() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let admin = api.client(db.person("admin").await?);
    let names: Vec<String> = sqlx::query_scalar(
        "select conname::text from pg_constraint c
         where c.connamespace in ('devart'::regnamespace, 'devart_private'::regnamespace)
         union
         select relname::text from pg_class
         where relkind = 'i' and relnamespace in ('devart'::regnamespace, 'devart_private'::regnamespace)",
    )
    .fetch_all(&db.owner)
    .await?;
    let task = create(&db.owner, json!({"title": "t", "needs_approval": true})).await?;
    let approval: Uuid =
        sqlx::query_scalar("select id from devart.approvals where subject_id = $1")
            .bind(task)
            .fetch_one(&db.owner)
            .await?;
    let nobody = Uuid::nil();
    admin
        .post("/api/services", json!({"name": "model"}))
        .await?
        .expect(201);
    admin
        .post("/api/agents/register", json!({"name": "worker"}))
        .await?
        .expect(201);
    let vote = format!("/api/approvals/{approval}/decision");
    for (path, body) in [
        ("/api/services", json!({"name": "model"})),
        ("/api/services", json!({"name": "x".repeat(300)})),
        ("/api/services", json!({"name": "a", "budget_usd": -1})),
        (
            "/api/services",
            json!({"name": "b", "alert_thresholds": [0]}),
        ),
        (
            "/api/services",
            json!({"name": "c", "time_zone": "Nowhere"}),
        ),
        (
            "/api/services",
            json!({"name": "d", "substitute_service_id": nobody}),
        ),
        ("/api/agents/register", json!({"name": "worker"})),
        ("/api/agents/register", json!({"name": "x".repeat(300)})),
        (
            "/api/agents/register",
            json!({"name": "v", "version": "x".repeat(300)}),
        ),
        ("/api/tasks", json!({"title": "t", "max_retries": 1000})),
        (
            "/api/tasks",
            json!({"title": "t", "estimated_cost_usd": -1}),
        ),
        (
            "/api/tasks",
            json!({"title": "t", "parent_task_id": nobody}),
        ),
        ("/api/tasks", json!({"title": "t", "service_id": nobody})),
        ("/api/tasks", json!({"title": "t", "depends_on": [nobody]})),
        (
            "/api/budgets",
            json!({"scope": "task", "scope_id": nobody, "budget_usd": -1}),
        ),
        (
            vote.as_str(),
            json!({"decision": "approve", "comment": "x".repeat(3000)}),
        ),
    ] {
        let answer = admin.post(path, body.clone()).await?;
        assert!(
            (400..500).contains(&answer.status),
            "{path} {body}: {}",
            answer.text
        );
        let named = names
            .iter()
            .find(|name| answer.text.contains(name.as_str()));
        assert_eq!(named, None, "{path} {body}: {}", answer.text);
        assert!(!answer.text.contains("constraint"), "{}", answer.text);
    }
    Ok(())
}
