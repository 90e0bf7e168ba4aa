//! From the outbox to the broker: one message at a time, however long the broker is away.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use devart_kit::outbox::{Delivery, HandlerError, OutboxHandler};
use time::OffsetDateTime;
use tokio::time::timeout;

use crate::connection::{Broker, BrokerWatch};
use crate::lanes::LostLanes;
use crate::message::TaskMessage;
use crate::publisher::{Outcome, Publication};
use crate::topology::Route;

const AFTER_RETURN: Duration = Duration::from_millis(100);

/// A broker that does not answer for so long is left, and connected to anew.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(20);

/// Delivers messages about tasks.
pub struct TaskMessages {
    broker: BrokerWatch,
    lost_lanes: LostLanes,
}

impl TaskMessages {
    pub fn new(broker: BrokerWatch, lost_lanes: LostLanes) -> Self {
        Self { broker, lost_lanes }
    }

    /// The broker, as soon as there is one. Meanwhile the worker keeps the message's lease, so that a broker
    /// that is away for minutes costs no attempt.
    async fn broker(&self) -> Option<Arc<Broker>> {
        let mut brokers = self.broker.clone();
        let is_usable =
            |broker: &Option<Arc<Broker>>| broker.as_ref().is_some_and(|it| !it.is_lost());
        let broker = brokers.wait_for(is_usable).await.ok()?;
        broker.clone()
    }

    async fn deliver(&self, broker: &Broker, route: &Route, message: &TaskMessage) -> Outcome {
        match ensure(broker, route).await {
            Ok(false) => {}
            Ok(true) => self.lost_lanes.report(message.routing_key.clone()),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(
                    error,
                    "cannot see to the queue of {}: {error}",
                    route.routing_key()
                );
                return Outcome::Unknown;
            }
        }
        let publication = Publication {
            exchange: route.exchange(),
            routing_key: route.routing_key().to_owned(),
            properties: message.properties(broker.topology.queue_type()),
            body: message.body(),
        };
        broker.publisher.publish(publication).await
    }
}

impl OutboxHandler for TaskMessages {
    const TOPIC: &'static str = "rabbitmq.task";
    type Message = TaskMessage;

    async fn handle(&self, delivery: Delivery<TaskMessage>) -> Result<(), HandlerError> {
        let message = delivery.message;
        while let Some(broker) = self.broker().await {
            let route = message.route(OffsetDateTime::now_utc());
            match self.deliver(&broker, &route, &message).await {
                Outcome::Confirmed => return Ok(()),
                Outcome::Returned => {
                    broker.topology.doubt(&route);
                    return Err(returned(&route, delivery.attempt));
                }
                Outcome::Refused => return Err(refused(&route)),
                // Sent again by the next connection: perhaps for the second time, which costs nothing.
                Outcome::Unknown => broker.give_up(),
            }
        }
        // The process is ending, and the worker with it.
        std::future::pending().await
    }

    async fn is_ready(&self) -> bool {
        let broker = self.broker.borrow();
        broker.as_ref().is_some_and(|broker| broker.is_ready())
    }
}

async fn ensure(broker: &Broker, route: &Route) -> anyhow::Result<bool> {
    let ensured = broker.topology.ensure(route);
    Ok(timeout(QUEUE_TIMEOUT, ensured)
        .await
        .context("no answer")??)
}

/// The first time, it is tried again as soon as the queue can have been made again.
fn returned(route: &Route, attempt: u32) -> HandlerError {
    HandlerError::Retry {
        error: format!("no queue is bound to exchange {}", route.exchange()),
        after: (attempt == 1).then_some(AFTER_RETURN),
    }
}

fn refused(route: &Route) -> HandlerError {
    HandlerError::retry(format!(
        "the broker did not take the message for exchange {}",
        route.exchange()
    ))
}
