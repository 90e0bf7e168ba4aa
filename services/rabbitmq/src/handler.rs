//! From the outbox to the broker: one message at a time, however long the broker is away.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use devart_kit::outbox::{Delivery, HandlerError, OutboxHandler};
use time::OffsetDateTime;
use tokio::time::timeout;

use crate::connection::{Broker, BrokerWatch};
use crate::failure::{Harm, harm};
use crate::lanes::LostLanes;
use crate::message::TaskMessage;
use crate::publisher::{Outcome, Publication};
use crate::route::Route;

const AFTER_RETURN: Duration = Duration::from_millis(100);

/// A broker that does not answer for so long is left, and a new connection made.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(20);

/// Connections that may be lost with a message under way. One more, and it counts as a failure: it
/// may be the message that ends them.
const CONNECTIONS: u32 = 3;

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
        if let Some(obstacle) = message.obstacle(route) {
            return Outcome::Impossible(obstacle);
        }
        if let Some(outcome) = self.ensure(broker, route, message).await {
            return outcome;
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
            Outcome::Doubtful => {
                // Perhaps an exchange is gone, which can be made again.
                broker.topology.doubt(route);
                match self.ensure(broker, route, message).await {
                    Some(outcome) => outcome,
                    None => self.publish_alone(broker, &publication).await,
                }
            }
            outcome => outcome,
        }
    }

    /// Makes the queues on the route; gives an outcome when that cannot be done.
    async fn ensure(
        &self,
        broker: &Broker,
        route: &Route,
        message: &TaskMessage,
    ) -> Option<Outcome> {
        match in_time(broker, broker.topology.ensure(route)).await {
            Some(Ok(false)) => None,
            Some(Ok(true)) => {
                self.lost_lanes.report(message.routing_key.clone());
                None
            }
            Some(Err(error)) => Some(failed(broker, &error)),
            None => Some(Outcome::Unknown),
        }
    }

    /// Over a channel of the message's own: should the broker close it, we know for what. One at a
    /// time, for channels are few.
    async fn publish_alone(&self, broker: &Broker, publication: &Publication) -> Outcome {
        let _one_at_a_time = self.unconfirmed.lock().await;
        let published = broker.publisher.publish_alone(publication).await;
        published.unwrap_or_else(|error| failed(broker, &error))
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
        let outcome = outcome.unwrap_or_else(|error| failed(broker, &error));
        if outcome == Outcome::Unconfirmed {
            self.replace_queue(broker, route).await;
        }
        outcome
    }

    async fn replace_queue(&self, broker: &Broker, route: &Route) {
        let replaced = in_time(broker, broker.topology.replace(route)).await;
        let replaced = replaced.context("no answer").and_then(|it| Ok(it?));
        // Also after an error, which may have come when the queue was already deleted.
        match route {
            Route::Lane(lane) => self.lost_lanes.report(lane.clone()),
            // Messages of all lanes wait in it.
            Route::Delay { .. } => self.lost_lanes.report_all(),
            // Nobody is invited by those.
            Route::Dead => {}
        }
        if let Err(error) = replaced {
            let error = format!("{error:#}");
            let key = route.routing_key();
            tracing::warn!(error, "cannot recreate the queue of {key}: {error}");
            broker.give_up();
        }
    }
}

impl OutboxHandler for TaskMessages {
    const TOPIC: &'static str = "rabbitmq.task";
    type Message = TaskMessage;

    async fn handle(&self, delivery: Delivery<TaskMessage>) -> Result<(), HandlerError> {
        let message = delivery.message;
        let mut connections = 0;
        while let Some(broker) = self.broker().await {
            let route = message.route(OffsetDateTime::now_utc());
            match self.deliver(&broker, &route, &message).await {
                Outcome::Confirmed => return Ok(()),
                Outcome::Returned => {
                    broker.topology.doubt(&route);
                    return Err(returned(&route, delivery.attempt));
                }
                Outcome::Refused => return Err(refused(&route)),
                Outcome::Impossible(reason) => return Err(HandlerError::Permanent(reason)),
                Outcome::Failed(reason) => return Err(HandlerError::retry(reason)),
                // Its queue was recreated meanwhile, or the broker is given up.
                Outcome::Unconfirmed | Outcome::Doubtful => {}
                // Sent again by the next connection: perhaps for the second time, which costs
                // nothing.
                Outcome::Unknown => {
                    broker.give_up();
                    connections += 1;
                    if connections == CONNECTIONS {
                        return Err(lost_with_it());
                    }
                }
            }
        }
        // The process is ending, and the worker with it.
        std::future::pending().await
    }

    async fn trouble(&self) -> Option<String> {
        let trouble = match self.broker.borrow().as_ref() {
            Some(broker) if broker.is_lost() => "the connection to RabbitMQ was lost",
            Some(broker) if broker.is_blocked() => {
                "RabbitMQ takes no messages: it is short of memory or disk space"
            }
            Some(_) => return None,
            None => "RabbitMQ cannot be reached",
        };
        Some(trouble.to_owned())
    }
}

/// What the work gives; none when the broker does not answer. One out of memory or disk space may
/// answer nothing for as long as that lasts, and one that answers others has many to answer.
async fn in_time<T>(
    broker: &Broker,
    work: impl Future<Output = lapin::Result<T>>,
) -> Option<lapin::Result<T>> {
    let mut work = pin!(work);
    loop {
        match timeout(QUEUE_TIMEOUT, work.as_mut()).await {
            Ok(done) => return Some(done),
            Err(_) if broker.is_lost() => return None,
            Err(_) if broker.is_blocked() => {}
            Err(_) if broker.topology.has_answered_within(QUEUE_TIMEOUT) => {}
            Err(_) => return None,
        }
    }
}

/// What an error means for the message that met it. Only a lost connection is everybody's.
fn failed(broker: &Broker, error: &lapin::Error) -> Outcome {
    let said = || format!("RabbitMQ: {error}");
    match harm(error, broker.is_connected()) {
        Harm::Message => Outcome::Impossible(said()),
        Harm::Attempt => Outcome::Failed(said()),
        Harm::Connection => Outcome::Unknown,
    }
}

fn lost_with_it() -> HandlerError {
    HandlerError::retry(format!(
        "{CONNECTIONS} connections to RabbitMQ were lost while the message was under way"
    ))
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
