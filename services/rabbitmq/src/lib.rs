//! The bridge to RabbitMQ: each message about a task that the database writes to the outbox becomes
//! a message in a queue. It decides nothing: a message is an invitation, and the database accepts
//! or refuses whoever follows it.

pub mod config;
mod connection;
mod deletions;
mod failure;
mod greeting;
mod handler;
mod lanes;
mod message;
mod priority;
mod publisher;
mod questions;
mod queue_type;
mod route;
mod topology;

use devart_kit::sidecar::Sidecar;

use config::Config;
use handler::TaskMessages;

/// Delivers messages until the process is asked to stop. Needs neither broker nor database to be
/// up.
///
/// # Errors
/// When RABBITMQ_URL is no AMQP URL, the address of health and metrics is taken, or the database
/// role may not deliver the topic.
pub async fn run(config: &Config, sidecar: Sidecar) -> anyhow::Result<()> {
    let address = config.broker_address()?;
    let broker = connection::keep(address, config.confirm_timeout);
    let lanes = lanes::keep(
        sidecar.database.pool.clone(),
        broker.subscribe(),
        config.lane_check_interval,
    );
    let outcome = sidecar
        .run(TaskMessages::new(broker.subscribe(), lanes.lost()))
        .await;
    // The worker has drained: nobody publishes any more.
    broker.close().await;
    outcome
}
