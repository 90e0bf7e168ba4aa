//! Exchanges and queues: ensures that they are there.
//!
//! A queue is first looked for and only made when it is missing: one that exists is used as it is,
//! so that an operator may make it otherwise, and a newer broker keeps the queues of its
//! predecessor. It is bound in any case: a broker that crashes may keep a queue and lose its
//! binding.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lapin::Channel;
use lapin::options::{
    ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;

use crate::failure::is_not_found;
use crate::questions::Questions;
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
    queues: QueueType,
    /// Queues that have been there.
    known: Mutex<HashMap<String, Known>>,
    /// Held while looking: of many messages for a queue, the first one does it.
    looking: tokio::sync::Mutex<Questions>,
    /// When the broker last answered whoever looked.
    answered_at: Mutex<Instant>,
}

impl Topology {
    pub fn new(address: AMQPUri, queues: QueueType) -> Self {
        Self {
            queues,
            known: Mutex::default(),
            looking: tokio::sync::Mutex::new(Questions::to(address)),
            answered_at: Mutex::new(Instant::now()),
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
        let mut looking = self.looking.lock().await;
        if self.is_certain(route) {
            return Ok(false);
        }
        let was_there = self.known().contains_key(&route.queue());
        let found = self.look(&mut looking, route).await?;
        Ok(was_there && found == Found::Missing)
    }

    /// Looks whether the route's last queue is there, and makes it if not.
    ///
    /// # Errors
    /// When the broker refuses or is gone.
    pub async fn look_at(&self, route: &Route) -> lapin::Result<Found> {
        let mut looking = self.looking.lock().await;
        self.look(&mut looking, route).await
    }

    async fn look(&self, looking: &mut Questions, route: &Route) -> lapin::Result<Found> {
        let found = match self.find(looking, route).await? {
            Some(messages) => Found::Existing { messages },
            None => {
                self.declare(looking, route).await?;
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
        let mut looking = self.looking.lock().await;
        let queue = route.queue();
        tracing::warn!(
            queue,
            "recreating the queue {queue}, since it takes nothing"
        );
        metrics::counter!("devart_rabbitmq_queues_replaced_total").increment(1);
        let channel = looking.take().await?;
        channel
            .queue_delete(queue.into(), QueueDeleteOptions::default())
            .await?;
        looking.put_back(channel);
        self.declare(&mut looking, route).await
    }

    /// Deletes the lane's queue, unless something is in it or somebody consumes from it. Gives
    /// whether it is gone.
    ///
    /// # Errors
    /// When the broker refuses for another reason, or is gone.
    pub async fn remove_unused(&self, lane: &str) -> lapin::Result<bool> {
        let mut looking = self.looking.lock().await;
        let queue = Route::Lane(lane.to_owned()).queue();
        let options = QueueDeleteOptions {
            if_unused: true,
            if_empty: true,
            ..QueueDeleteOptions::default()
        };
        let channel = looking.take().await?;
        match channel.queue_delete(queue.clone().into(), options).await {
            Ok(_) => {
                looking.put_back(channel);
                // Should its lane come back: not lost, but to be made.
                self.known().remove(&queue);
                tracing::info!(
                    queue,
                    "deleted the queue {queue}, which nobody needs any more"
                );
                Ok(true)
            }
            Err(error) if is_in_use(&error) => Ok(false),
            Err(error) => Err(error),
        }
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
    async fn find(&self, looking: &mut Questions, route: &Route) -> lapin::Result<Option<u32>> {
        let channel = looking.take().await?;
        let peeked = Self::peek(&channel, route).await;
        *self.answered_at() = Instant::now();
        match peeked {
            Ok(messages) => {
                looking.put_back(channel);
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

    async fn declare(&self, looking: &mut Questions, route: &Route) -> lapin::Result<()> {
        let channel = looking.take().await?;
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
        looking.put_back(channel);
        Ok(())
    }

    fn is_certain(&self, route: &Route) -> bool {
        self.known()
            .get(&route.queue())
            .is_some_and(|known| known.certain)
    }

    /// Whether the broker has answered somebody within this time. Who waits behind many others waits
    /// for them, and not for a silent broker.
    pub fn has_answered_within(&self, time: Duration) -> bool {
        self.answered_at().elapsed() < time
    }

    fn answered_at(&self) -> MutexGuard<'_, Instant> {
        self.answered_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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

/// Whether a queue was not deleted since it has messages or consumers, or somebody holds it.
fn is_in_use(error: &lapin::Error) -> bool {
    use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
    matches!(error.kind(), lapin::ErrorKind::ProtocolError(error) if matches!(
        error.kind(),
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED | AMQPSoftError::RESOURCELOCKED)
    ))
}
