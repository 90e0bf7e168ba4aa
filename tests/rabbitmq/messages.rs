//! What a message carries to agents, and in which order they get it.

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Push, start, wait_for_delivery};
use crate::support::broker::tells_all_priorities;
use crate::support::http::send;
use crate::support::queue::create;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn with_a_full_queue_a_critical_task_created_last_is_started_next() -> Result<()> {
    let push = Push::start().await?;
    let (_api, client, agent) = push.agent(&[]).await?;
    for priority in ["LOW", "MEDIUM", "HIGH"] {
        for n in 0..20 {
            let task = json!({"title": format!("{priority} {n}"), "priority": priority});
            create(&push.db.owner, task).await?;
        }
    }
    push.queues.wait_for_count("tasks.todo", 60).await;
    let critical = json!({"title": "now", "priority": "CRITICAL"});
    let id = create(&push.db.owner, critical).await?;
    push.queues.wait_for_count("tasks.todo", 61).await;
    let message = push.queues.next("tasks.todo").await;
    assert_eq!(message.task_id(), id);
    let started = start(&client, id).await?;
    assert_eq!(started["attempt"], message.body["attempt"]);
    let holder: Uuid = sqlx::query_scalar("select agent_id from devart.tasks where id = $1")
        .bind(id)
        .fetch_one(&push.db.owner)
        .await?;
    assert_eq!(holder, agent.id);
    let mut priorities = vec!["CRITICAL".to_owned()];
    while let Some(message) = push.queues.get("tasks.todo").await? {
        priorities.push(
            message.body["priority"]
                .as_str()
                .context("a string")?
                .to_owned(),
        );
    }
    priorities.dedup();
    if tells_all_priorities()? {
        assert_eq!(priorities, ["CRITICAL", "HIGH", "MEDIUM", "LOW"]);
    } else {
        assert_eq!(priorities, ["CRITICAL", "LOW", "MEDIUM", "HIGH"], "as made");
    }
    Ok(())
}

#[tokio::test]
async fn a_message_is_persistent_and_says_what_an_agent_needs() -> Result<()> {
    let push = Push::start().await?;
    let id = create(
        &push.db.owner,
        json!({"title": "Weigh it", "priority": "HIGH"}),
    )
    .await?;
    let message = push.queues.next("tasks.todo").await;
    let expected = json!({"task_id": id, "attempt": 1, "title": "Weigh it", "priority": "HIGH"});
    assert_eq!(message.body, expected);
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(ToString::to_string);
    let properties = &message.properties;
    assert_eq!(*properties.delivery_mode(), Some(2));
    assert_eq!(
        text(properties.content_type()).as_deref(),
        Some("application/json")
    );
    assert_eq!(text(properties.message_id()), Some(format!("{id}:1")));
    assert_eq!(message.header("traceparent"), None);
    wait_for_delivery(&push.db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_trace_goes_from_the_request_into_message_and_task() -> Result<()> {
    let push = Push::start().await?;
    let (api, client, _) = push.agent(&[]).await?;
    let supervisor = api.client(push.db.person("supervisor").await?);
    let create = supervisor
        .request(Method::POST, "/api/tasks")
        .header("traceparent", TRACE)
        .json(&json!({"title": "t"}));
    let created = send(create).await?.expect(201);
    assert_eq!(created["traceparent"], TRACE);
    let message = push.queues.next("tasks.todo").await;
    assert_eq!(message.header("traceparent").as_deref(), Some(TRACE));
    assert_eq!(
        start(&client, message.task_id()).await?["traceparent"],
        TRACE
    );

    let malformed = supervisor
        .request(Method::POST, "/api/tasks")
        .header("traceparent", "00-abc")
        .json(&json!({"title": "t"}));
    assert_eq!(
        send(malformed).await?.expect(201)["traceparent"],
        Value::Null
    );
    let refused = supervisor.post("/api/tasks", json!({"title": "t", "traceparent": "00-abc"}));
    let refused = refused.await?;
    assert_eq!(refused.problem(422), "invalid_argument");
    assert_eq!(refused.body["field"], "traceparent");
    Ok(())
}
