//! Tasks over RabbitMQ, with a real broker, the real bridge and the real API.

mod deletions;
mod harm;
mod invitations;
mod lanes;
mod logins;
mod messages;
mod outages;
mod outcomes;
mod tls;

use anyhow::Result;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::bridge::Bridge;
use crate::support::broker::{Broker, Queues};
use crate::support::http::Http;
use crate::support::wait::eventually;
use crate::support::{Agent, Database};

/// A database whose messages a bridge carries to a virtual host of its own.
struct Push {
    db: Database,
    queues: Queues,
    bridge: Bridge,
    /// The virtual host.
    url: String,
}

impl Push {
    async fn start() -> Result<Self> {
        let db = database().await?;
        let broker = Broker::shared().await?;
        let bridge = Bridge::start(&db, &broker).await?;
        let queues = Queues::open(&broker).await?;
        Ok(Self {
            db,
            queues,
            bridge,
            url: broker,
        })
    }

    /// An API that does nothing by itself, and an agent's client of it.
    async fn agent(&self, capabilities: &[&str]) -> Result<(Api, Http, Agent)> {
        let variables = [("API_MAINTAIN_INTERVAL_MS", "0")];
        let api = Api::start_with(&self.db.authenticator_url(), &variables).await?;
        let agent = self.db.agent(capabilities).await?;
        let client = api.agent(&agent);
        Ok((api, client, agent))
    }
}

async fn database() -> Result<Database> {
    let db = Database::create().await?;
    db.set("outbox_topics", json!(["rabbitmq.task"])).await?;
    Ok(db)
}

async fn start(agent: &Http, task_id: Uuid) -> Result<Value> {
    let started = agent
        .post(&format!("/api/tasks/{task_id}/start"), json!({}))
        .await?;
    Ok(started.expect(200))
}

/// Rows of the outbox: how many there are, how many are buried, and how often delivering one has failed.
async fn outbox(pool: &PgPool) -> Result<(i64, i64, i32)> {
    Ok(sqlx::query_as(
        "select count(*), count(buried_at), coalesce(max(attempt), 0) from devart_private.outbox",
    )
    .fetch_one(pool)
    .await?)
}

/// Waits until the outbox is empty.
async fn wait_for_delivery(pool: &PgPool) {
    eventually("all messages are delivered", async || {
        (outbox(pool).await.ok()? == (0, 0, 0)).then_some(())
    })
    .await;
}
