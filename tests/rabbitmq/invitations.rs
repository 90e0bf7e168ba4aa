//! Tasks whose message is missing are invited again.

use anyhow::Result;
use serde_json::json;

use super::{Push, outbox};
use crate::support::Database;
use crate::support::bridge::Bridge;
use crate::support::broker::{Broker, Queues};
use crate::support::queue::{create, create_many};
use crate::support::wait::eventually;

#[tokio::test]
async fn tasks_that_waited_before_anybody_delivered_messages_are_invited() -> Result<()> {
    let db = Database::create().await?;
    create_many(&db.owner, 100).await?;
    create(
        &db.owner,
        json!({"title": "t", "required_capabilities": ["a"]}),
    )
    .await?;
    db.set("outbox_topics", json!(["rabbitmq.task"])).await?;
    let broker = Broker::shared().await?;
    let _bridge = Bridge::start(&db, &broker).await?;
    let queues = Queues::open(&broker).await?;
    queues.wait_for_count("tasks.todo", 100).await;
    queues.wait_for_count("tasks.todo.a", 1).await;
    Ok(())
}

#[tokio::test]
async fn a_queue_that_was_deleted_is_made_again_and_its_tasks_invited_again() -> Result<()> {
    let push = Push::start().await?;
    create_many(&push.db.owner, 10).await?;
    push.queues.wait_for_count("tasks.todo", 10).await;
    push.queues.delete("tasks.todo").await?;
    // Whether by the message that came back or by the next look at the lanes.
    create(&push.db.owner, json!({"title": "one more"})).await?;
    let invited = eventually("all are invited", async || {
        push.queues
            .count("tasks.todo")
            .await
            .filter(|count| *count >= 11)
    })
    .await;
    assert!(invited <= 22, "{invited} messages for 11 tasks");
    assert_eq!(outbox(&push.db.owner).await?.1, 0, "nothing is buried");
    Ok(())
}

#[tokio::test]
async fn a_waiting_task_beside_an_empty_queue_is_invited_again() -> Result<()> {
    let push = Push::start().await?;
    let id = create(&push.db.owner, json!({"title": "t"})).await?;
    push.queues.next("tasks.todo").await.acknowledge().await?;
    assert_eq!(
        push.queues.count("tasks.todo").await,
        Some(0),
        "somebody took the message and did nothing"
    );
    sqlx::query("update devart.tasks set ready_at = now() - interval '61 seconds' where id = $1")
        .bind(id)
        .execute(&push.db.owner)
        .await?;
    assert_eq!(push.queues.next("tasks.todo").await.task_id(), id);
    Ok(())
}
