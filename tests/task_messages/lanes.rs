//! Sets of capabilities, their routing keys and their queues.

use anyhow::Result;
use serde_json::{Value, json};
use uuid::Uuid;

use super::TOPIC;
use crate::support::Database;
use crate::support::queue::create;

#[tokio::test]
async fn each_set_of_capabilities_has_a_routing_key_of_its_own() -> Result<()> {
    let db = Database::create().await?;
    let mut keys = Vec::new();
    for capabilities in [
        vec![],
        vec!["code-review".to_owned()],
        vec!["a".to_owned(), "b".to_owned()],
        // What could be mistaken for others.
        vec!["a+b".to_owned()],
        vec!["ü".to_owned()],
        vec![String::new()],
        vec!["x".repeat(300)],
        vec!["sha256-00000000000000000000000000000000".to_owned()],
    ] {
        let key: String = sqlx::query_scalar("select devart_private.task_routing_key($1)")
            .bind(&capabilities)
            .fetch_one(&db.owner)
            .await?;
        assert!(
            key.len() <= 249,
            "a queue's name has at most 255 bytes: {key}"
        );
        keys.push(key);
    }
    assert_eq!(keys[..3], ["todo", "todo.code-review", "todo.a+b"]);
    assert!(
        keys[3..]
            .iter()
            .all(|key| key.starts_with("todo.sha256-") && key.len() == 44),
        "{keys:?}"
    );
    let different: std::collections::BTreeSet<&String> = keys.iter().collect();
    assert_eq!(different.len(), keys.len());
    Ok(())
}

#[tokio::test]
async fn a_lane_with_waiting_tasks_is_known_unless_messages_wait_as_long() -> Result<()> {
    let db = Database::create().await?;
    create(
        &db.owner,
        json!({"title": "t", "required_capabilities": ["a"]}),
    )
    .await?;
    let lanes = async |seconds: f64| {
        sqlx::query_as::<_, (String, bool)>(
            "select * from devart_private.task_lanes($1) order by 1",
        )
        .bind(seconds)
        .fetch_all(&db.owner)
        .await
    };
    let all = |waiting| vec![("todo".to_owned(), false), ("todo.a".to_owned(), waiting)];
    assert_eq!(lanes(0.0).await?, all(true));
    assert_eq!(lanes(60.0).await?, all(false), "not for so long");
    db.set("outbox_topics", json!([TOPIC])).await?;
    create(&db.owner, json!({"title": "u"})).await?;
    assert_eq!(
        lanes(0.0).await?,
        [("todo".to_owned(), false), ("todo.a".to_owned(), false)]
    );
    Ok(())
}

#[tokio::test]
async fn a_heartbeat_tells_the_queues_that_the_agent_can_serve() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&["a", "b"]).await?;
    for capabilities in [
        json!(["a"]),
        json!(["b", "a"]),
        json!(["c"]),
        json!(["a", "c"]),
    ] {
        create(
            &db.owner,
            json!({"title": "t", "required_capabilities": capabilities}),
        )
        .await?;
    }
    assert_eq!(
        queues(&db, agent.id).await?,
        [
            "tasks.todo",
            "tasks.todo.a",
            "tasks.todo.b",
            "tasks.todo.a+b"
        ]
    );
    Ok(())
}

#[tokio::test]
async fn an_agent_hears_of_its_capabilities_queues_before_a_task_asks_for_one() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&["a", "b"]).await?;
    assert_eq!(
        queues(&db, agent.id).await?,
        ["tasks.todo", "tasks.todo.a", "tasks.todo.b"]
    );
    sqlx::query("update devart.agents set capabilities = '{b,c}' where id = $1")
        .bind(agent.id)
        .execute(&db.owner)
        .await?;
    assert_eq!(
        queues(&db, agent.id).await?,
        ["tasks.todo", "tasks.todo.b", "tasks.todo.c"]
    );
    Ok(())
}

/// What a heartbeat says.
async fn queues(db: &Database, agent_id: Uuid) -> Result<Vec<String>> {
    let answer: Value = sqlx::query_scalar("select devart.agent_heartbeat($1)")
        .bind(agent_id)
        .fetch_one(&db.owner)
        .await?;
    Ok(serde_json::from_value(answer["queues"].clone())?)
}
