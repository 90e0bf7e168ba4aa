//! Queues that somebody deletes.

use anyhow::Result;
use serde_json::json;

use super::{Push, database};
use crate::support::bridge::Bridge;
use crate::support::broker::{Broker, Queues};
use crate::support::queue::{create, create_many};

#[tokio::test]
async fn a_deleted_queue_comes_back_with_its_invitations_before_anybody_looks_for_it() -> Result<()>
{
    let db = database().await?;
    let broker = Broker::start().await?;
    // Lanes and queues are compared at the beginning, and then an hour later.
    let variables = [("BRIDGE_LANE_CHECK_INTERVAL_MS", "3600000")];
    let mut bridge = Bridge::launch(&db.bridge_url("rabbitmq"), &broker.url(), &variables)?;
    bridge.wait_until_ready().await;
    bridge.wait_until_it_looked().await;
    let task = json!({"title": "t", "required_capabilities": ["a"]});
    create(&db.owner, task).await?;
    create_many(&db.owner, 3).await?;
    let queues = Queues::open(&broker.url()).await?;
    queues.wait_for_count("tasks.todo", 3).await;
    queues.wait_for_count("tasks.todo.a", 1).await;

    for _ in 0..2 {
        queues.delete("tasks.todo").await?;
        queues.wait_for_count("tasks.todo", 3).await;
    }
    // Another lane is left alone, and a queue that is nobody's lane stays deleted.
    assert_eq!(queues.count("tasks.todo.a").await, Some(1));
    queues.make_quorum_queue("tasks.nobodys").await?;
    queues.delete("tasks.nobodys").await?;
    queues.delete("tasks.todo.a").await?;
    queues.wait_for_count("tasks.todo.a", 1).await;
    assert_eq!(queues.count("tasks.nobodys").await, None);
    assert_eq!(bridge.connections().await, Some(1), "no reconnect");
    Ok(())
}

/// The virtual hosts of the shared broker have no exchange of events.
#[tokio::test]
async fn a_broker_that_tells_nothing_harms_nothing_and_the_next_look_finds_the_queue_gone()
-> Result<()> {
    let push = Push::start().await?;
    create_many(&push.db.owner, 3).await?;
    push.queues.wait_for_count("tasks.todo", 3).await;
    push.queues.delete("tasks.todo").await?;
    push.queues.wait_for_count("tasks.todo", 3).await;
    assert_eq!(push.bridge.connections().await, Some(1), "no reconnect");
    assert!(push.bridge.is_ready().await);
    Ok(())
}
