//! A broker that asks the API which agents to let in, as `devart up` sets it up.

use anyhow::Result;
use devart_cli::rabbitmq::AgentLogins;
use serde_json::json;

use super::api::Api;
use super::bridge::Bridge;
use super::broker::Broker;
use super::database::{Agent, Database};

/// What the API knows the broker by.
pub const SECRET: &str = "a-secret-of-broker-and-api";

/// An installation in which agents log in to the broker as themselves.
pub struct OwnLogins {
    pub db: Database,
    pub api: Api,
    pub broker: Broker,
    pub bridge: Bridge,
}

impl OwnLogins {
    /// With a node of its own.
    pub async fn start() -> Result<Self> {
        let db = Database::create().await?;
        db.set("outbox_topics", json!(["rabbitmq.task"])).await?;
        let variables = [("API_BROKER_SECRET", SECRET)];
        let api = Api::start_with(&db.authenticator_url(), &variables).await?;
        let logins = AgentLogins {
            api_url: api.url.clone(),
            secret: SECRET.to_owned(),
        };
        let broker = Broker::start_asking(&logins).await?;
        let bridge = Bridge::start(&db, &broker.url()).await?;
        Ok(Self {
            db,
            api,
            broker,
            bridge,
        })
    }

    /// The broker's address for an agent with its own login.
    pub fn url_for(&self, agent: &Agent) -> String {
        self.broker.url_for(&agent.id.to_string(), &agent.key)
    }
}
