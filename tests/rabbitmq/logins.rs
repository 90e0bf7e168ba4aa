//! Agents at the broker, each with its own login: what they may do there, and who may not enter.

use anyhow::Result;
use devart_tests::broker::connect;
use lapin::options::{BasicConsumeOptions, BasicGetOptions, ExchangeDeclareOptions};
use lapin::options::{ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ExchangeKind};
use serde_json::json;

use super::start;
use crate::support::broker::Queues;
use crate::support::own_logins::OwnLogins;
use crate::support::queue::create;

const REFUSED: &str = "ACCESS_REFUSED";

/// What the broker says to something that it does not allow, over a channel of its own.
async fn refusal(
    connection: &Connection,
    work: impl AsyncFnOnce(&Channel) -> lapin::Result<()>,
) -> String {
    let channel = connection.create_channel().await.expect("a channel");
    let refused = work(&channel).await.expect_err("it was allowed");
    refused.to_string()
}

/// What the broker says to a login that it does not accept.
async fn turned_away(url: &str) -> String {
    let refused = connect(url).await.expect_err("it was let in");
    refused.to_string()
}

#[tokio::test]
async fn an_agent_takes_what_its_lanes_invite_to_and_may_do_nothing_else() -> Result<()> {
    let own = OwnLogins::start().await?;
    let (agent, other) = (own.db.agent(&["a"]).await?, own.db.agent(&["b"]).await?);
    let mut ids = Vec::new();
    for capability in ["a", "b"] {
        let task = json!({"title": "t", "required_capabilities": [capability]});
        ids.push(create(&own.db.owner, task).await?);
    }
    let operator = Queues::open(&own.broker.url()).await?;
    operator.wait_for_count("tasks.todo.a", 1).await;
    operator.wait_for_count("tasks.todo.b", 1).await;

    let connection = connect(&own.url_for(&agent)).await?;
    for queue in [
        "tasks.todo.b",
        "tasks.dead",
        "tasks.retry.1",
        "tasks.nobodys",
    ] {
        let said = refusal(&connection, async |channel| {
            let options = BasicGetOptions::default();
            channel.basic_get(queue.into(), options).await.map(drop)
        });
        assert!(said.await.contains(REFUSED), "{queue}");
    }
    let said = refusal(&connection, async |channel| {
        let (options, table) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer = channel.basic_consume("tasks.todo.b".into(), "".into(), options, table);
        consumer.await.map(drop)
    });
    assert!(said.await.contains(REFUSED));
    for queue in ["tasks.todo.a", "tasks.mine", ""] {
        let said = refusal(&connection, async |channel| {
            let (options, table) = (QueueDeclareOptions::default(), FieldTable::default());
            let declared = channel.queue_declare(queue.into(), options, table);
            declared.await.map(drop)
        });
        assert!(said.await.contains(REFUSED), "declaring {queue}");
    }
    let said = refusal(&connection, async |channel| {
        let (options, table) = (ExchangeDeclareOptions::default(), FieldTable::default());
        let declared = channel.exchange_declare("x".into(), ExchangeKind::Direct, options, table);
        declared.await
    });
    assert!(said.await.contains(REFUSED));
    let said = refusal(&connection, async |channel| {
        let deleted = channel.queue_delete("tasks.todo.a".into(), Default::default());
        deleted.await.map(drop)
    });
    assert!(said.await.contains(REFUSED));
    for exchange in ["", "devart.tasks", "devart.dead"] {
        refusal(&connection, async |channel| {
            publish(channel, exchange).await
        })
        .await;
    }
    for queue in ["tasks.todo.a", "tasks.todo.b"] {
        assert_eq!(operator.count(queue).await, Some(1), "{queue}");
    }

    // All that was refused has harmed nobody, and its own work goes on.
    for ((agent, queue), id) in [(&agent, "tasks.todo.a"), (&other, "tasks.todo.b")]
        .into_iter()
        .zip(&ids)
    {
        let queues = Queues::open(&own.url_for(agent)).await?;
        let invitation = queues.get(queue).await?.expect("an invitation");
        assert_eq!(invitation.task_id(), *id);
        start(&own.api.agent(agent), *id).await?;
        invitation.acknowledge().await?;
    }
    assert_eq!(own.bridge.connections().await, Some(1));
    Ok(())
}

/// Publishes and waits for the confirm, which a refused message does not get.
async fn publish(channel: &Channel, exchange: &str) -> lapin::Result<()> {
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    let (key, options, properties) = (
        "todo.a".into(),
        Default::default(),
        BasicProperties::default(),
    );
    let sent = channel.basic_publish(exchange.into(), key, options, b"{}", properties);
    sent.await?.await.map(drop)
}

#[tokio::test]
async fn only_agents_in_service_are_let_in_and_each_with_its_own_key() -> Result<()> {
    let own = OwnLogins::start().await?;
    let (agent, other) = (own.db.agent(&[]).await?, own.db.agent(&[]).await?);
    let id = agent.id.to_string();
    drop(connect(&own.url_for(&agent)).await?);
    for (user, password) in [
        (id.as_str(), other.key.as_str()),
        (&id, &agent.key[..agent.key.len() - 1]),
        (&id, ""),
        (&agent.key_id, &agent.key),
        ("devart", &agent.key),
        ("guest", "guest"),
    ] {
        let said = turned_away(&own.broker.url_for(user, password)).await;
        assert!(said.contains(REFUSED), "{user}: {said}");
    }

    own.broker.control(&["add_vhost", "elsewhere"])?;
    let elsewhere = own.url_for(&agent).replace("/%2f", "/elsewhere");
    assert!(turned_away(&elsewhere).await.contains("elsewhere"));

    sqlx::query("select devart.revoke_agent_key($1, $2)")
        .bind(other.id)
        .bind(&other.key_id)
        .execute(&own.db.owner)
        .await?;
    assert!(turned_away(&own.url_for(&other)).await.contains(REFUSED));

    // Who was let in before is refused the next queue, too.
    let connection = connect(&own.url_for(&agent)).await?;
    sqlx::query("select devart.set_agent_activation($1, false)")
        .bind(agent.id)
        .execute(&own.db.owner)
        .await?;
    assert!(turned_away(&own.url_for(&agent)).await.contains(REFUSED));
    let said = refusal(&connection, async |channel| {
        let options = BasicGetOptions::default();
        channel
            .basic_get("tasks.todo".into(), options)
            .await
            .map(drop)
    });
    assert!(said.await.contains(REFUSED));
    Ok(())
}
