//! The bridge over TLS.

use anyhow::{Context, Result};
use serde_json::json;

use super::database;
use crate::support::bridge::Bridge;
use crate::support::broker::{Broker, Queues};
use crate::support::queue::create;

#[tokio::test]
async fn the_broker_can_be_reached_over_tls_by_those_who_trust_its_authority() -> Result<()> {
    let broker = Broker::shared_with_tls().await?;
    let db = database().await?;
    let authority = broker.authority.to_str().context("a path")?;
    let trusting = [("SSL_CERT_FILE", authority)];
    let (database, url) = (db.bridge_url("rabbitmq"), &broker.tls_url);
    let mut bridge = Bridge::launch(&database, url, &trusting)?;
    bridge.wait_until_ready().await;
    bridge.wait_until_it_looked().await;
    create(&db.owner, json!({"title": "t"})).await?;
    let queues = Queues::open(&broker.url).await?;
    queues.wait_for_count("tasks.todo", 1).await;

    // Whoever does not trust the authority gets no answer that they would believe.
    let distrusting = Bridge::launch(&database, url, &[])?;
    distrusting.wait_until_it_failed_to_connect().await;
    assert!(!distrusting.is_ready().await);
    Ok(())
}
