//! What one bad lane, queue, exchange or message harms: itself.

use anyhow::Result;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Push, database, outbox};
use crate::support::Database;
use crate::support::bridge::Bridge;
use crate::support::broker::{Broker, Queues};
use crate::support::outbox::buried;
use crate::support::queue::{create, create_many};
use crate::support::wait::eventually;

/// Writes a message as the database would, with odd members.
async fn send(db: &Database, changes: Value) -> Result<()> {
    let mut payload = json!({
        "kind": "invite", "task_id": Uuid::now_v7(), "attempt": 1, "title": "t",
        "priority": "LOW", "routing_key": "todo.odd", "run_at": null, "reason": null,
        "traceparent": null,
    });
    let changes = changes.as_object().expect("an object").clone();
    payload.as_object_mut().expect("an object").extend(changes);
    sqlx::query("select devart_private.enqueue('rabbitmq.task', null, $1)")
        .bind(payload)
        .execute(&db.owner)
        .await?;
    Ok(())
}

/// Waits until so many rows are buried and no other is left; gives the reasons.
async fn wait_for_burials(db: &Database, count: usize) -> Result<Vec<String>> {
    eventually(
        "the bad ones are buried, the others delivered",
        async || {
            let (rows, buried, _) = outbox(&db.owner).await.ok()?;
            (rows == buried && buried as usize == count).then_some(())
        },
    )
    .await;
    let rows = buried(&db.owner).await?;
    Ok(rows.into_iter().map(|row| row.last_error).collect())
}

#[tokio::test]
async fn a_queue_that_somebody_holds_exclusively_harms_its_lane_alone() -> Result<()> {
    let push = Push::start().await?;
    let holder = Queues::open(&push.url).await?;
    holder.hold("tasks.todo.bad").await?;
    let bad = json!({"title": "t", "required_capabilities": ["bad"]});
    create(&push.db.owner, bad).await?;
    create_many(&push.db.owner, 300).await?;
    push.queues.wait_for_count("tasks.todo", 300).await;
    eventually("it has failed more than once", async || {
        let (rows, buried, attempts) = outbox(&push.db.owner).await.ok()?;
        (rows == 1 && buried == 0 && attempts >= 2).then_some(())
    })
    .await;
    assert_eq!(push.bridge.connections().await, Some(1), "no reconnect");
    assert!(push.bridge.is_ready().await);
    // As soon as nobody holds it any more, the same row is delivered.
    drop(holder);
    assert_eq!(wait_for_burials(&push.db, 0).await?, [""; 0]);
    push.queues.wait_for_some("tasks.todo.bad").await;
    Ok(())
}

#[tokio::test]
async fn an_exchange_of_another_kind_harms_its_messages_alone() -> Result<()> {
    let push = Push::start().await?;
    push.queues
        .make_exchange("devart.dead", lapin::ExchangeKind::Direct)
        .await?;
    send(&push.db, json!({"kind": "dead", "reason": "it broke"})).await?;
    create_many(&push.db.owner, 300).await?;
    push.queues.wait_for_count("tasks.todo", 300).await;
    let reasons = wait_for_burials(&push.db, 1).await?;
    assert!(reasons[0].contains("devart.dead"), "{reasons:?}");
    assert_eq!(push.bridge.connections().await, Some(1), "no reconnect");
    Ok(())
}

#[tokio::test]
async fn an_exchange_that_was_deleted_is_made_again_over_the_same_connection() -> Result<()> {
    let push = Push::start().await?;
    create_many(&push.db.owner, 10).await?;
    push.queues.wait_for_count("tasks.todo", 10).await;
    push.queues.delete_exchange("devart.tasks").await?;
    create_many(&push.db.owner, 300).await?;
    // Perhaps more: what may have been lost is invited to again.
    eventually("all are invited", async || {
        push.queues
            .count("tasks.todo")
            .await
            .filter(|it| *it >= 310)
    })
    .await;
    assert_eq!(wait_for_burials(&push.db, 0).await?, [""; 0]);
    assert_eq!(push.bridge.connections().await, Some(1), "no reconnect");
    Ok(())
}

#[tokio::test]
async fn names_and_headers_that_are_too_long_are_buried_with_the_reason() -> Result<()> {
    let push = Push::start().await?;
    send(&push.db, json!({"routing_key": "k".repeat(256)})).await?;
    send(&push.db, json!({"routing_key": "k".repeat(250)})).await?;
    send(&push.db, json!({"routing_key": "k".repeat(100_000)})).await?;
    send(&push.db, json!({"traceparent": "0".repeat(500_000)})).await?;
    send(
        &push.db,
        json!({"routing_key": "todo.long", "title": "t".repeat(500_000)}),
    )
    .await?;
    create_many(&push.db.owner, 300).await?;
    push.queues.wait_for_count("tasks.todo", 300).await;
    push.queues.wait_for_count("tasks.todo.long", 1).await;
    let reasons = wait_for_burials(&push.db, 4).await?;
    assert!(
        reasons.iter().any(|it| it.contains("traceparent")),
        "{reasons:?}"
    );
    assert_eq!(push.bridge.connections().await, Some(1), "no reconnect");
    Ok(())
}

#[tokio::test]
async fn many_new_lanes_take_no_more_channels_than_one() -> Result<()> {
    let db = database().await?;
    for n in 0..150 {
        let task = json!({"title": "t", "required_capabilities": [format!("c{n}")]});
        create(&db.owner, task).await?;
    }
    let broker = Broker::shared().await?;
    let few = format!("{broker}?channel_max=10");
    let mut bridge = Bridge::launch(&db.bridge_url("rabbitmq"), &few, &[])?;
    bridge.wait_until_ready().await;
    let queues = Queues::open(&broker).await?;
    for n in 0..150 {
        queues.wait_for_some(&format!("tasks.todo.c{n}")).await;
    }
    assert_eq!(bridge.connections().await, Some(1), "no reconnect");
    Ok(())
}

#[tokio::test]
async fn a_broker_short_of_memory_is_seen_and_costs_no_attempt() -> Result<()> {
    let db = database().await?;
    let broker = Broker::start().await?;
    let mut bridge = Bridge::start(&db, &broker.url()).await?;
    broker.control(&["set_vm_memory_high_watermark", "0.00001"])?;
    eventually(
        "the bridge says that the broker takes nothing",
        async || {
            let text = bridge.readiness().await?;
            text.contains("short of memory").then_some(())
        },
    )
    .await;
    assert_eq!(bridge.gauge("devart_rabbitmq_blocked").await, Some(1));
    create_many(&db.owner, 50).await?;
    broker.control(&["set_vm_memory_high_watermark", "0.9"])?;
    bridge.wait_until_ready().await;
    eventually("all are delivered", async || {
        (outbox(&db.owner).await.ok()? == (0, 0, 0)).then_some(())
    })
    .await;
    assert_eq!(bridge.connections().await, Some(1), "no reconnect");
    Ok(())
}

#[tokio::test]
async fn the_queue_of_a_lane_that_is_no_more_goes_when_it_is_empty() -> Result<()> {
    let push = Push::start().await?;
    let task = json!({"title": "t", "required_capabilities": ["old"]});
    let id = create(&push.db.owner, task).await?;
    push.queues.wait_for_count("tasks.todo.old", 1).await;
    sqlx::query("delete from devart.tasks where id = $1")
        .bind(id)
        .execute(&push.db.owner)
        .await?;
    sqlx::query("delete from devart_private.lanes where required_capabilities = '{old}'")
        .execute(&push.db.owner)
        .await?;
    // Retired, and looked at more than once: what is in it stays.
    create_many(&push.db.owner, 1).await?;
    push.queues.wait_for_count("tasks.todo", 1).await;
    assert_eq!(push.queues.count("tasks.todo.old").await, Some(1));
    push.queues
        .next("tasks.todo.old")
        .await
        .acknowledge()
        .await?;
    eventually("the queue is gone, and known to be", async || {
        let retired: i64 = sqlx::query_scalar("select count(*) from devart_private.retired_lanes")
            .fetch_one(&push.db.owner)
            .await
            .ok()?;
        let is_gone = push.queues.count("tasks.todo.old").await.is_none();
        (is_gone && retired == 0).then_some(())
    })
    .await;
    // The lane comes back.
    create(
        &push.db.owner,
        json!({"title": "t", "required_capabilities": ["old"]}),
    )
    .await?;
    push.queues.wait_for_some("tasks.todo.old").await;
    Ok(())
}
