//! Exchanges and queues: their names, what they are made of, and seeing to it that they are there.
//!
//! A queue is first looked for and only made when it is missing: one that exists is used as it is, so that
//! an operator may make it otherwise, and a newer broker keeps the queues of its predecessor. It is bound in any
//! case: a broker that crashes may keep a queue and lose its binding.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lapin::options::{
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

use crate::message::HIGHEST_PRIORITY;

const TASKS: &str = "devart.tasks";
const DEAD: &str = "devart.dead";

/// An invitation is forgotten after a day, so that a lane that nobody consumes, since its agents claim their
/// tasks, does not fill the broker. Tasks that still wait are then invited to again (see `lanes`).
const INVITATION_LIFETIME_MS: u32 = 24 * 60 * 60 * 1000;

/// The way of a message: an exchange, a routing key, and the queue that it ends up in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Route {
    /// To the agents of a lane, by its routing key.
    Lane(String),
    /// To the agents of a lane after so many seconds.
    Delay { lane: String, seconds: u64 },
    /// To whoever looks after what failed for good.
    Dead,
}

impl Route {
    pub fn exchange(&self) -> String {
        match self {
            Self::Lane(_) => TASKS.to_owned(),
            Self::Delay { seconds, .. } => format!("devart.retry.{seconds}"),
            Self::Dead => DEAD.to_owned(),
        }
    }

    /// A delayed message keeps its lane's key, by which it is routed on when its time has come.
    pub fn routing_key(&self) -> &str {
        match self {
            Self::Lane(lane) | Self::Delay { lane, .. } => lane,
            Self::Dead => "dead",
        }
    }

    fn queue(&self) -> String {
        match self {
            Self::Lane(lane) => format!("tasks.{lane}"),
            Self::Delay { seconds, .. } => format!("tasks.retry.{seconds}"),
            Self::Dead => "tasks.dead".to_owned(),
        }
    }

    fn exchange_kind(&self) -> ExchangeKind {
        match self {
            Self::Lane(_) => ExchangeKind::Direct,
            Self::Delay { .. } | Self::Dead => ExchangeKind::Fanout,
        }
    }
}

/// What queues are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueType {
    /// Before RabbitMQ 4, whose replicated queues have no priorities.
    Classic,
    /// Before RabbitMQ 4.3: they tell critical tasks from all others, and let others through now and then.
    QuorumOfTwoPriorities,
    /// From RabbitMQ 4.3 on: each priority goes before the lower ones.
    Quorum,
}

impl QueueType {
    /// The type for a broker of this version: its first two numbers.
    pub fn of(version: (u32, u32)) -> Self {
        match version {
            (..4, _) => Self::Classic,
            (4, ..3) => Self::QuorumOfTwoPriorities,
            _ => Self::Quorum,
        }
    }

    fn arguments(self, route: &Route) -> FieldTable {
        let mut arguments = Arguments::default();
        arguments.text("x-queue-type", self.name());
        match route {
            Route::Lane(_) => {
                arguments.number("x-message-ttl", INVITATION_LIFETIME_MS);
                if self != Self::QuorumOfTwoPriorities {
                    arguments.number("x-max-priority", HIGHEST_PRIORITY);
                }
                if self != Self::Classic {
                    // An agent without a free hand gives messages back, and that is no failure.
                    arguments.number("x-delivery-limit", -1);
                }
            }
            Route::Delay { seconds, .. } => {
                // Steps end well below the limit (devart_core::delay::LONGEST_STEP).
                let milliseconds = u32::try_from(seconds * 1000).unwrap_or(u32::MAX);
                arguments.number("x-message-ttl", milliseconds);
                arguments.text("x-dead-letter-exchange", TASKS);
                if self != Self::Classic {
                    arguments.text("x-dead-letter-strategy", "at-least-once");
                    arguments.text("x-overflow", "reject-publish");
                }
            }
            Route::Dead => {}
        }
        arguments.0
    }

    fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::QuorumOfTwoPriorities | Self::Quorum => "quorum",
        }
    }
}

#[derive(Default)]
struct Arguments(FieldTable);

impl Arguments {
    fn text(&mut self, name: &str, value: &str) {
        self.0
            .insert(name.into(), AMQPValue::LongString(value.into()));
    }

    fn number(&mut self, name: &str, value: impl Into<i64>) {
        self.0
            .insert(name.into(), AMQPValue::LongLongInt(value.into()));
    }
}

/// How a queue was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It was there, with so many messages that nobody has yet.
    Existing { messages: u32 },
    /// It was missing and had to be made.
    Missing,
}

/// What is known of a queue that has been there.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Whether there is no reason to doubt that it still is.
    certain: bool,
    /// When it was made, if that was over this connection.
    made_at: Option<Instant>,
}

/// The queues of one connection's broker.
pub struct Topology {
    connection: Arc<Connection>,
    queues: QueueType,
    /// Queues that have been there.
    known: Mutex<HashMap<String, Known>>,
    /// Held while looking: of many messages for a queue, the first one sees to it.
    looking: tokio::sync::Mutex<()>,
}

impl Topology {
    pub fn new(connection: Arc<Connection>, queues: QueueType) -> Self {
        Self {
            connection,
            queues,
            known: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
        }
    }

    /// What this broker's queues are made of.
    pub fn queue_type(&self) -> QueueType {
        self.queues
    }

    /// Makes the queues on the route unless they are known to be there. Gives whether the lane's queue had been
    /// there before and was lost, with all that was in it.
    ///
    /// # Errors
    /// When the broker refuses or is gone.
    pub async fn ensure(&self, route: &Route) -> lapin::Result<bool> {
        match route {
            Route::Lane(_) => self.ensure_queue(route).await,
            Route::Delay { lane, .. } => {
                self.ensure_queue(route).await?;
                self.ensure_queue(&Route::Lane(lane.clone())).await
            }
            Route::Dead => self.ensure_queue(route).await.map(|_| false),
        }
    }

    async fn ensure_queue(&self, route: &Route) -> lapin::Result<bool> {
        if self.is_certain(route) {
            return Ok(false);
        }
        let _looking = self.looking.lock().await;
        if self.is_certain(route) {
            return Ok(false);
        }
        let was_there = self.known().contains_key(&route.queue());
        let found = self.look(route).await?;
        Ok(was_there && found == Found::Missing)
    }

    /// Looks whether the route's last queue is there, and makes it if not.
    ///
    /// # Errors
    /// When the broker refuses or is gone.
    pub async fn look_at(&self, route: &Route) -> lapin::Result<Found> {
        let _looking = self.looking.lock().await;
        self.look(route).await
    }

    async fn look(&self, route: &Route) -> lapin::Result<Found> {
        let found = match self.find(route).await? {
            Some(messages) => Found::Existing { messages },
            None => {
                self.declare(route).await?;
                tracing::info!(queue = route.queue(), "made the queue {}", route.queue());
                Found::Missing
            }
        };
        self.known().entry(route.queue()).or_default().certain = true;
        Ok(found)
    }

    /// Whether the route's last queue was made over this connection and after that time.
    pub fn was_made_after(&self, route: &Route, time: Instant) -> bool {
        let made_at = self.known().get(&route.queue()).and_then(|it| it.made_at);
        made_at.is_some_and(|made_at| made_at > time)
    }

    /// Makes the route's last queue anew, with nothing in it.
    ///
    /// # Errors
    /// When the broker refuses or is gone: some end all connections that wait for the queue's confirms.
    pub async fn replace(&self, route: &Route) -> lapin::Result<()> {
        let _looking = self.looking.lock().await;
        let queue = route.queue();
        tracing::warn!(
            queue,
            "making the queue {queue} anew, since it takes nothing"
        );
        metrics::counter!("devart_rabbitmq_queues_replaced_total").increment(1);
        let channel = self.connection.create_channel().await?;
        channel
            .queue_delete(queue.into(), QueueDeleteOptions::default())
            .await?;
        channel.close(200, "done".into()).await?;
        self.declare(route).await
    }

    /// Notes that the queues on the route may be gone.
    pub fn doubt(&self, route: &Route) {
        let mut known = self.known();
        known.entry(route.queue()).or_default().certain = false;
        if let Route::Delay { lane, .. } = route {
            let lane = Route::Lane(lane.clone());
            known.entry(lane.queue()).or_default().certain = false;
        }
    }

    /// How many messages wait in the queue; none when it or its exchange is missing.
    async fn find(&self, route: &Route) -> lapin::Result<Option<u32>> {
        // A channel of its own, since the answer "no" closes it.
        let channel = self.connection.create_channel().await?;
        match Self::peek(&channel, route).await {
            Ok(messages) => {
                channel.close(200, "done".into()).await?;
                Ok(Some(messages))
            }
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn peek(channel: &Channel, route: &Route) -> lapin::Result<u32> {
        let queue = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let exchange = ExchangeDeclareOptions {
            passive: true,
            ..ExchangeDeclareOptions::default()
        };
        establish(channel, route, exchange, queue, FieldTable::default()).await
    }

    async fn declare(&self, route: &Route) -> lapin::Result<()> {
        let channel = self.connection.create_channel().await?;
        let queue = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let exchange = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        establish(
            &channel,
            route,
            exchange,
            queue,
            self.queues.arguments(route),
        )
        .await?;
        self.known().entry(route.queue()).or_default().made_at = Some(Instant::now());
        channel.close(200, "done".into()).await
    }

    fn is_certain(&self, route: &Route) -> bool {
        self.known()
            .get(&route.queue())
            .is_some_and(|known| known.certain)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Declares or looks for exchange and queue, and binds them. Gives how many messages wait.
async fn establish(
    channel: &Channel,
    route: &Route,
    exchange: ExchangeDeclareOptions,
    queue: QueueDeclareOptions,
    arguments: FieldTable,
) -> lapin::Result<u32> {
    channel
        .exchange_declare(
            route.exchange().into(),
            route.exchange_kind(),
            exchange,
            FieldTable::default(),
        )
        .await?;
    let queue = channel
        .queue_declare(route.queue().into(), queue, arguments)
        .await?;
    bind(channel, route).await?;
    Ok(queue.message_count())
}

async fn bind(channel: &Channel, route: &Route) -> lapin::Result<()> {
    channel
        .queue_bind(
            route.queue().into(),
            route.exchange().into(),
            route.routing_key().into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
}

fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error)
        if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay(seconds: u64) -> Route {
        Route::Delay {
            lane: "todo.a+b".into(),
            seconds,
        }
    }

    fn argument(queues: QueueType, route: &Route, name: &str) -> Option<AMQPValue> {
        queues.arguments(route).inner().get(name).cloned()
    }

    #[test]
    fn a_delayed_message_is_routed_on_by_the_key_of_its_lane() {
        let route = delay(12);
        assert_eq!(route.exchange(), "devart.retry.12");
        assert_eq!(route.queue(), "tasks.retry.12");
        assert_eq!(route.routing_key(), "todo.a+b");
        let target = argument(QueueType::Classic, &route, "x-dead-letter-exchange");
        assert_eq!(target, Some(AMQPValue::LongString(TASKS.into())));
        assert_eq!(
            argument(QueueType::Classic, &route, "x-dead-letter-routing-key"),
            None
        );
    }

    #[test]
    fn the_longest_delay_fits_into_a_time_to_live() {
        let route = delay(devart_core::delay::LONGEST_STEP);
        let ttl = argument(QueueType::Classic, &route, "x-message-ttl");
        assert_eq!(ttl, Some(AMQPValue::LongLongInt(4_000_000_000)));
    }

    #[test]
    fn lanes_have_priorities_in_the_way_of_the_brokers_version() {
        let lane = Route::Lane("todo".into());
        for (version, name, has_limit) in [
            ((3, 13), "classic", true),
            // A quorum queue of these refuses to be made with it.
            ((4, 0), "quorum", false),
            ((4, 2), "quorum", false),
            ((4, 3), "quorum", true),
            ((5, 0), "quorum", true),
        ] {
            let queues = QueueType::of(version);
            let made_of = argument(queues, &lane, "x-queue-type");
            assert_eq!(made_of, Some(AMQPValue::LongString(name.into())));
            let limit = argument(queues, &lane, "x-max-priority");
            assert_eq!(limit.is_some(), has_limit, "{version:?}");
        }
    }
}
