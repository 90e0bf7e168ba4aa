//! From the outbox to the broker: one message at a time, however long the broker is away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use devart_kit::outbox::{Delivery, HandlerError, OutboxHandler};
use time::OffsetDateTime;
use tokio::time::timeout;

use crate::connection::{Broker, BrokerWatch};
use crate::lanes::LostLanes;
use crate::message::TaskMessage;
use crate::publisher::{Outcome, Publication};
use crate::route::Route;

const AFTER_RETURN: Duration = Duration::from_millis(100);

/// A broker that does not answer for so long is left, and a new connection made.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(20);

/// Delivers messages about tasks.
pub struct TaskMessages {
    broker: BrokerWatch,
    lost_lanes: LostLanes,
    /// Held while looking into a message that was not confirmed: of many for a queue, the first one
    /// does it.
    unconfirmed: tokio::sync::Mutex<()>,
}

impl TaskMessages {
    pub fn new(broker: BrokerWatch, lost_lanes: LostLanes) -> Self {
        Self {
            broker,
            lost_lanes,
            unconfirmed: tokio::sync::Mutex::default(),
        }
    }

    /// The broker, as soon as there is one. Meanwhile the worker keeps the message's lease, so that
    /// a broker that is away for minutes costs no attempt.
    async fn broker(&self) -> Option<Arc<Broker>> {
        let mut brokers = self.broker.clone();
        let is_usable =
            |broker: &Option<Arc<Broker>>| broker.as_ref().is_some_and(|it| !it.is_lost());
        let broker = brokers.wait_for(is_usable).await.ok()?;
        broker.clone()
    }

    async fn deliver(&self, broker: &Broker, route: &Route, message: &TaskMessage) -> Outcome {
        match in_time(broker.topology.ensure(route)).await {
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
            properties: message.properties(),
            body: message.body(),
        };
        let published_at = Instant::now();
        match broker.publisher.publish(publication.clone()).await {
            Outcome::Unconfirmed => {
                self.try_again(broker, route, &publication, published_at)
                    .await
            }
            outcome => outcome,
        }
    }

    /// After no word came: publishes once more, by itself, and if no word comes to that either,
    /// recreates the queue.
    ///
    /// A quorum queue whose broker was killed in the moment in which it was made stays without a
    /// leader for good (github.com/rabbitmq/rabbitmq-server/issues/15725).
    async fn try_again(
        &self,
        broker: &Broker,
        route: &Route,
        publication: &Publication,
        published_at: Instant,
    ) -> Outcome {
        let _one_at_a_time = self.unconfirmed.lock().await;
        if broker.is_lost() || broker.topology.was_made_after(route, published_at) {
            return Outcome::Unconfirmed;
        }
        let outcome = broker.publisher.publish_alone(publication).await;
        let outcome = outcome.unwrap_or(Outcome::Unknown);
        if outcome == Outcome::Unconfirmed {
            self.replace_queue(broker, route).await;
        }
        outcome
    }

    async fn replace_queue(&self, broker: &Broker, route: &Route) {
        let replaced = in_time(broker.topology.replace(route)).await;
        // Also after an error, which may have come when the queue was already deleted.
        if let Route::Lane(lane) = route {
            self.lost_lanes.report(lane.clone());
        }
        if let Err(error) = replaced {
            let error = format!("{error:#}");
            let key = route.routing_key();
            tracing::warn!(error, "cannot make the queue of {key} anew: {error}");
            broker.give_up();
        }
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
                // Its queue was recreated meanwhile, or the broker is given up.
                Outcome::Unconfirmed => {}
                // Sent again by the next connection: perhaps for the second time, which costs
                // nothing.
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

async fn in_time<T>(work: impl Future<Output = lapin::Result<T>>) -> anyhow::Result<T> {
    Ok(timeout(QUEUE_TIMEOUT, work).await.context("no answer")??)
}

/// The first time, it is tried again as soon as the queue can have been recreated.
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
