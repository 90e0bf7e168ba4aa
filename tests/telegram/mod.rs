//! Alerts of budgets, from the charge that causes them to a stand-in for Telegram, through the real
//! bridge.

mod delivery;
mod rate;
mod refusals;
mod secrecy;
mod wording;

use std::time::Duration;

use anyhow::Result;
use devart_cli::demo::telegram::{StandIn, Trouble};
use serde_json::json;
use uuid::Uuid;

use crate::support::Database;
use crate::support::budget::{charge, service};
use crate::support::telegram::Bridge;
use crate::support::wait::within;

/// A database that writes alerts, and what stands in for Telegram.
struct Alerting {
    db: Database,
    telegram: StandIn,
}

impl Alerting {
    async fn start() -> Result<Self> {
        let db = Database::create().await?;
        db.set("outbox_topics", json!(["telegram.alert"])).await?;
        let telegram = StandIn::start().await?;
        Ok(Self { db, telegram })
    }

    async fn bridge(&self) -> Result<Bridge> {
        Bridge::start(&self.db.bridge_url("telegram"), &self.telegram.url()).await
    }

    /// A new service whose whole budget is charged at once, so that it is suspended.
    async fn exhaust(&self, name: &str) -> Result<Uuid> {
        let id = service(&self.db.owner, name, "10").await?;
        charge(&self.db.owner, id, "10", None).await?;
        Ok(id)
    }

    /// Waits until nothing waits any more, and so many alerts are buried.
    async fn wait_until_all_is_told(&self, buried: i64) {
        within(Duration::from_secs(60), "all alerts are told", async || {
            let all: (i64, i64) =
                sqlx::query_as("select count(*), count(buried_at) from devart_private.outbox")
                    .fetch_one(&self.db.owner)
                    .await
                    .ok()?;
            (all == (buried, buried)).then_some(())
        })
        .await;
    }
}

fn answer(status: u16, description: &str) -> Trouble {
    Trouble::Answer {
        status,
        description: description.to_owned(),
    }
}
