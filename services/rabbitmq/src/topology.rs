//! Exchanges and queues: their names, what they are made of, and seeing to it that they are there.
//!
//! A queue is first looked for and only made when it is missing: one that exists is used as it is, so that
//! an operator may make it otherwise, and a newer broker keeps the queues of its predecessor. It is bound in any
//! case: a broker that crashes may keep a queue and lose its binding.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

use crate::message::Priority;

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
    /// From RabbitMQ 4 on.
    Quorum,
}

impl QueueType {
    /// The type for a broker of this major version.
    pub fn of(major: u32) -> Self {
        if major < 4 {
            Self::Classic
        } else {
            Self::Quorum
        }
    }

    /// The priority of a message. Quorum queues tell apart up to 4 and above, newer ones each number.
    pub fn priority(self, priority: Priority) -> u8 {
        let rank = match priority {
            Priority::Critical => 4,
            Priority::High => 3,
            Priority::Medium => 2,
            Priority::Low => 1,
        };
        match self {
            Self::Classic => rank,
            Self::Quorum => 2 * rank,
        }
    }

    fn arguments(self, route: &Route) -> FieldTable {
        let mut arguments = Arguments::default();
        arguments.text("x-queue-type", self.name());
        match route {
            Route::Lane(_) => {
                arguments.number("x-message-ttl", INVITATION_LIFETIME_MS);
                match self {
                    Self::Classic => arguments.number("x-max-priority", 4),
                    // An agent without a free hand gives messages back, and that is no failure.
                    Self::Quorum => arguments.number("x-delivery-limit", -1),
                }
            }
            Route::Delay { seconds, .. } => {
                // Steps end well below the limit (devart_core::delay::LONGEST_STEP).
                let milliseconds = u32::try_from(seconds * 1000).unwrap_or(u32::MAX);
                arguments.number("x-message-ttl", milliseconds);
                arguments.text("x-dead-letter-exchange", TASKS);
                if self == Self::Quorum {
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
            Self::Quorum => "quorum",
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

/// The queues of one connection's broker.
pub struct Topology {
    connection: Arc<Connection>,
    queues: QueueType,
    /// Queues that have been there, and whether there is no reason to doubt that they still are.
    known: Mutex<HashMap<String, bool>>,
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
        self.known().insert(route.queue(), true);
        Ok(found)
    }

    /// Notes that the queues on the route may be gone.
    pub fn doubt(&self, route: &Route) {
        let mut known = self.known();
        known.insert(route.queue(), false);
        if let Route::Delay { lane, .. } = route {
            known.insert(Route::Lane(lane.clone()).queue(), false);
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
        channel.close(200, "done".into()).await
    }

    fn is_certain(&self, route: &Route) -> bool {
        self.known().get(&route.queue()).copied().unwrap_or(false)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, bool>> {
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
        assert_eq!(QueueType::of(3), QueueType::Classic);
        assert_eq!(QueueType::of(4), QueueType::Quorum);
        assert!(argument(QueueType::Classic, &lane, "x-max-priority").is_some());
        // A quorum queue refuses to be made with it.
        assert!(argument(QueueType::Quorum, &lane, "x-max-priority").is_none());
    }

    #[test]
    fn priorities_fall_from_critical_to_low() {
        let all = [
            Priority::Critical,
            Priority::High,
            Priority::Medium,
            Priority::Low,
        ];
        assert_eq!(all.map(|it| QueueType::Classic.priority(it)), [4, 3, 2, 1]);
        let quorum = all.map(|it| QueueType::Quorum.priority(it));
        assert!(
            quorum[1] > 4 && quorum[2] <= 4,
            "two of them are high: {quorum:?}"
        );
        assert!(quorum.is_sorted_by(|one, other| one > other));
    }
}
