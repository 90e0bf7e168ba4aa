//! A broker that is away, lost what it had, or takes nothing.

use anyhow::Result;
use serde_json::json;

use super::{database, outbox, wait_for_delivery};
use crate::support::bridge::Bridge;
use crate::support::broker::{Broker, Queues, nobodys_url};
use crate::support::queue::{create, create_many};
use crate::support::wait::eventually;

#[tokio::test]
async fn a_broker_that_is_away_costs_delay_and_nothing_else() -> Result<()> {
    let db = database().await?;
    let mut broker = Broker::start().await?;
    let mut bridge = Bridge::start(&db, &broker.url()).await?;
    broker.kill().await;
    eventually("the bridge notices", async || {
        (!bridge.is_ready().await).then_some(())
    })
    .await;
    create_many(&db.owner, 500).await?;
    eventually("the bridge has taken what it can", async || {
        let leased: i64 =
            sqlx::query_scalar("select count(lease_token) from devart_private.outbox")
                .fetch_one(&db.owner)
                .await
                .ok()?;
        (leased > 0).then_some(())
    })
    .await;
    assert_eq!(outbox(&db.owner).await?, (500, 0, 0));
    broker.resume().await?;
    bridge.wait_until_ready().await;
    let queues = Queues::open(&broker.url()).await?;
    queues.wait_for_count("tasks.todo", 500).await;
    wait_for_delivery(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_broker_that_lost_everything_is_told_again() -> Result<()> {
    let db = database().await?;
    let mut broker = Broker::start().await?;
    let mut bridge = Bridge::start(&db, &broker.url()).await?;
    create_many(&db.owner, 20).await?;
    create(
        &db.owner,
        json!({"title": "t", "required_capabilities": ["a"]}),
    )
    .await?;
    let queues = Queues::open(&broker.url()).await?;
    queues.wait_for_count("tasks.todo", 20).await;
    eventually("the lane has its queue", async || {
        queues.count("tasks.todo.a").await
    })
    .await;
    broker.stop().await;
    broker.lose_everything()?;
    broker.resume().await?;
    bridge.wait_until_ready().await;
    let queues = Queues::open(&broker.url()).await?;
    queues.wait_for_count("tasks.todo", 20).await;
    queues.wait_for_count("tasks.todo.a", 1).await;
    Ok(())
}

#[tokio::test]
async fn a_bridge_that_is_stopped_while_the_broker_is_away_returns_its_messages() -> Result<()> {
    let db = database().await?;
    let variables = [("OUTBOX_SHUTDOWN_GRACE_MS", "200")];
    let bridge = Bridge::launch(&db.bridge_url("rabbitmq"), &nobodys_url()?, &variables)?;
    create_many(&db.owner, 10).await?;
    let leased = async || -> Option<i64> {
        sqlx::query_scalar("select count(lease_token) from devart_private.outbox")
            .fetch_one(&db.owner)
            .await
            .ok()
    };
    eventually("the bridge takes them", async || {
        (leased().await? == 10).then_some(())
    })
    .await;
    assert!(bridge.stop().await.success());
    assert_eq!(leased().await, Some(0));
    assert_eq!(outbox(&db.owner).await?, (10, 0, 0));
    Ok(())
}

#[tokio::test]
async fn messages_survive_a_broker_that_crashes() -> Result<()> {
    let db = database().await?;
    let mut broker = Broker::start().await?;
    let _bridge = Bridge::start(&db, &broker.url()).await?;
    create_many(&db.owner, 200).await?;
    wait_for_delivery(&db.owner).await;
    broker.kill().await;
    broker.resume().await?;
    let queues = Queues::open(&broker.url()).await?;
    let mut ids = std::collections::BTreeSet::new();
    while let Some(message) = queues.get("tasks.todo").await? {
        ids.insert(message.task_id());
    }
    assert_eq!(ids.len(), 200);
    Ok(())
}

#[tokio::test]
async fn a_queue_that_takes_nothing_is_made_anew_and_no_other_one() -> Result<()> {
    let db = database().await?;
    let mut broker = Broker::start().await?;
    let queues = Queues::open(&broker.url()).await?;
    queues.make_quorum_queue("tasks.todo").await?;
    broker.kill_at_once().await;
    broker.resume().await?;
    let variables = [("BRIDGE_CONFIRM_TIMEOUT_MS", "3000"), ("RUST_LOG", "info")];
    let mut bridge = Bridge::launch(&db.bridge_url("rabbitmq"), &broker.url(), &variables)?;
    bridge.wait_until_ready().await;
    let other = json!({"title": "t", "required_capabilities": ["a"]});
    create_many(&db.owner, 20).await?;
    create(&db.owner, other).await?;
    wait_for_delivery(&db.owner).await;
    assert_eq!(bridge.replaced_queues().await, Some(1));
    let queues = Queues::open(&broker.url()).await?;
    let mut ids = std::collections::BTreeSet::new();
    eventually("each task has its invitation", async || {
        let message = queues
            .get("tasks.todo")
            .await
            .expect("the queue is there")?;
        ids.insert(message.task_id());
        (ids.len() == 20).then_some(())
    })
    .await;
    // Perhaps more than once: its confirm may have come too late.
    assert!(queues.count("tasks.todo.a").await >= Some(1));
    Ok(())
}
