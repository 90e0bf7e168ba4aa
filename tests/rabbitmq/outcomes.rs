//! What becomes of a task that was started by its message.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::{Push, start};
use crate::support::http::Http;
use crate::support::queue::{create, history, status};

async fn fail(agent: &Http, started: &Value) -> Result<Value> {
    let path = format!(
        "/api/tasks/{}/report-failure",
        started["task_id"].as_str().context("an id")?
    );
    let report = json!({"lease_token": started["lease_token"], "error": "it broke"});
    Ok(agent.post(&path, report).await?.expect(200))
}

async fn complete(agent: &Http, started: &Value) -> Result<u16> {
    let path = format!(
        "/api/tasks/{}/status",
        started["task_id"].as_str().context("an id")?
    );
    let change = json!({"status": "DONE", "lease_token": started["lease_token"]});
    Ok(agent.put(&path, change).await?.status)
}

#[tokio::test]
async fn a_failed_task_is_offered_again_after_its_backoff_and_no_earlier() -> Result<()> {
    let push = Push::start().await?;
    push.db.set("retry_base_seconds", json!(1)).await?;
    let (_api, client, _) = push.agent(&["a"]).await?;
    create(
        &push.db.owner,
        json!({"title": "t", "required_capabilities": ["a"]}),
    )
    .await?;
    let mut message = push.queues.next("tasks.todo.a").await;
    for attempt in 1..=2 {
        assert_eq!(message.body["attempt"], attempt);
        let started = start(&client, message.task_id()).await?;
        let failed = fail(&client, &started).await?;
        assert_eq!(failed["status"], "SCHEDULED");
        message.acknowledge().await?;
        let run_at = OffsetDateTime::parse(failed["run_at"].as_str().context("a time")?, &Rfc3339)?;
        // Nobody promotes the task, so this is the delayed message.
        message = push.queues.next("tasks.todo.a").await;
        assert!(OffsetDateTime::now_utc() >= run_at, "never before its time");
    }
    assert_eq!(start(&client, message.task_id()).await?["attempt"], 3);
    Ok(())
}

#[tokio::test]
async fn an_exhausted_task_is_failed_and_goes_to_the_dead_with_its_reason() -> Result<()> {
    let push = Push::start().await?;
    let (_api, client, _) = push.agent(&[]).await?;
    let id = create(&push.db.owner, json!({"title": "t", "max_retries": 0})).await?;
    let message = push.queues.next("tasks.todo").await;
    let started = start(&client, message.task_id()).await?;
    assert_eq!(fail(&client, &started).await?["status"], "FAILED");
    let dead = push.queues.next("tasks.dead").await;
    assert_eq!(dead.task_id(), id);
    assert_eq!(dead.body["reason"], "it broke");
    assert_eq!(dead.body["attempt"], 1);
    assert_eq!(dead.header("x-devart-reason").as_deref(), Some("it broke"));
    assert_eq!(status(&push.db.owner, id).await?, "FAILED");
    Ok(())
}

#[tokio::test]
async fn duplicate_and_stale_messages_do_nothing() -> Result<()> {
    let push = Push::start().await?;
    let (_api, client, agent) = push.agent(&[]).await?;
    let id = create(&push.db.owner, json!({"title": "t"})).await?;
    let message = push.queues.next("tasks.todo").await;
    push.queues.put("tasks.todo", &message.body).await?;
    push.queues
        .put(
            "tasks.todo",
            &json!({"task_id": Uuid::now_v7(), "attempt": 1}),
        )
        .await?;
    let started = start(&client, id).await?;
    let path = format!("/api/tasks/{id}/start");
    let duplicate = push.queues.next("tasks.todo").await;
    assert_eq!(
        client.post(&path, json!({})).await?.status,
        409,
        "in progress"
    );
    assert_eq!(complete(&client, &started).await?, 200);
    assert_eq!(client.post(&path, json!({})).await?.status, 409, "done");
    duplicate.acknowledge().await?;
    let unknown = push.queues.next("tasks.todo").await;
    let path = format!("/api/tasks/{}/start", unknown.task_id());
    assert_eq!(
        client.post(&path, json!({})).await?.status,
        409,
        "never existed"
    );
    assert_eq!(
        history(&push.db.owner, id).await?,
        ["TODO", "IN_PROGRESS", "DONE"]
    );
    let attempts: i32 = sqlx::query_scalar("select attempt from devart.tasks where agent_id = $1")
        .bind(agent.id)
        .fetch_one(&push.db.owner)
        .await?;
    assert_eq!(attempts, 1);
    Ok(())
}
