//! A bridge for tests that need a process to kill: "delivers" by waiting, and hangs on messages that say so.

use clap::Parser;
use devart_kit::outbox::{Delivery, HandlerError, OutboxHandler};
use devart_kit::sidecar::{Sidecar, SidecarArgs};
use serde::Deserialize;

#[derive(Parser)]
struct Config {
    #[command(flatten)]
    sidecar: SidecarArgs,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    hang: bool,
}

struct Nowhere;

impl OutboxHandler for Nowhere {
    const TOPIC: &'static str = "rabbitmq.test";
    type Message = Message;

    async fn handle(&self, delivery: Delivery<Message>) -> Result<(), HandlerError> {
        if delivery.message.hang {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let sidecar = Sidecar::start(Config::parse().sidecar, "outbox-sidecar")?;
    sidecar.run(Nowhere).await
}
