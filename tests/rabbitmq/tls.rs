//! The bridge over TLS.

use anyhow::{Context, Result};
use devart_cli::ports;
use serde_json::json;

use super::database;
use crate::support::bridge::Bridge;
use crate::support::broker::{Broker, Queues};
use crate::support::certificate::Certificate;
use crate::support::queue::create;

#[tokio::test]
async fn the_broker_can_be_reached_over_tls_by_those_who_trust_its_authority() -> Result<()> {
    let port = ports::any_free()?;
    let broker = Broker::start_with(|dir| {
        let made = Certificate::make(dir)?;
        Ok(format!(
            "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {}\nssl_options.certfile = {}\nssl_options.keyfile = {}\n",
            made.authority.display(),
            made.certificate.display(),
            made.key.display(),
        ))
    })
    .await?;
    let db = database().await?;
    let url = broker.url().replace("amqp://", "amqps://");
    let url = url.replace(&format!(":{}/", broker.port()), &format!(":{port}/"));
    let authority = broker.dir().join("authority.pem");
    let trusting = [("SSL_CERT_FILE", authority.to_str().context("a path")?)];
    let mut bridge = Bridge::launch(&db.bridge_url("rabbitmq"), &url, &trusting)?;
    bridge.wait_until_ready().await;
    create(&db.owner, json!({"title": "t"})).await?;
    let queues = Queues::open(&broker.url()).await?;
    queues.wait_for_count("tasks.todo", 1).await;

    // Whoever does not trust the authority gets no answer that they would believe.
    let distrusting = Bridge::launch(&db.bridge_url("rabbitmq"), &url, &[])?;
    distrusting.wait_until_it_failed_to_connect().await;
    assert!(!distrusting.is_ready().await);
    Ok(())
}
