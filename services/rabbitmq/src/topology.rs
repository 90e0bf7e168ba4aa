//! Exchanges and queues: ensures that they are there.
//!
//! A queue is first looked for and only made when it is missing: one that exists is used as it is,
//! so that an operator may make it otherwise, and a newer broker keeps the queues of its
//! predecessor. It is bound in any case: a broker that crashes may keep a queue and lose its
//! binding.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lapin::options::{
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ErrorKind};

use crate::queue_type::QueueType;
use crate::route::Route;

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
    /// Held while looking: of many messages for a queue, the first one does it.
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

    /// Makes the queues on the route unless they are known to be there. Gives whether the lane's
    /// queue had been there before and was lost, with all that was in it.
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

    /// Deletes the route's last queue and declares it again, with nothing in it.
    ///
    /// # Errors
    /// When the broker refuses or is gone: some end all connections that wait for the queue's
    /// confirms.
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
