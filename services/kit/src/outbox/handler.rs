//! What a bridge is: something that carries messages of one topic outside.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use time::OffsetDateTime;

/// Delivers the messages of one topic.
pub trait OutboxHandler: Send + Sync + 'static {
    /// The topic, `<bridge>.<what>`. The process logs in as `devart_bridge_<bridge>`.
    const TOPIC: &'static str;

    /// What a payload of the topic says. A payload that is something else is buried.
    type Message: DeserializeOwned + Send;

    /// Carries one message outside. Called concurrently, but never for two messages of one key at a
    /// time.
    ///
    /// At least once: a message may come again after a crash, so pass its [`Delivery::id`] on as an
    /// idempotency key where the outside knows such a thing. The future is dropped when the lease
    /// is lost (the database was away for too long) and when the process has to stop. A panic
    /// counts as [`HandlerError::Retry`].
    fn handle(
        &self,
        delivery: Delivery<Self::Message>,
    ) -> impl Future<Output = Result<(), HandlerError>> + Send;

    /// Why messages do not get through at the moment, for `/readyz`; none while they do.
    fn trouble(&self) -> impl Future<Output = Option<String>> + Send {
        async { None }
    }
}

/// One message on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery<M> {
    /// The same at each attempt.
    pub id: i64,
    /// Messages of one key come one after the other, in order.
    pub key: Option<String>,
    /// 1 for the first attempt; counts failures, not crashes.
    pub attempt: u32,
    /// When the message was written.
    pub created_at: OffsetDateTime,
    /// What it says.
    pub message: M,
}

/// Why a message was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError {
    /// It may work later: after `after` (plus some jitter) when the outside said so, else after a
    /// backoff.
    #[error("{error}")]
    Retry {
        /// What went wrong.
        error: String,
        /// When the outside wants to be asked again.
        after: Option<Duration>,
    },
    /// It will never work. The message is buried, and messages of its key behind it go on.
    #[error("{0}")]
    Permanent(String),
}

impl HandlerError {
    /// A failure that is tried again after a backoff.
    pub fn retry(error: impl ToString) -> Self {
        Self::Retry {
            error: error.to_string(),
            after: None,
        }
    }
}

impl<H: OutboxHandler> OutboxHandler for Arc<H> {
    const TOPIC: &'static str = H::TOPIC;
    type Message = H::Message;

    fn handle(
        &self,
        delivery: Delivery<Self::Message>,
    ) -> impl Future<Output = Result<(), HandlerError>> + Send {
        H::handle(self, delivery)
    }

    fn trouble(&self) -> impl Future<Output = Option<String>> + Send {
        H::trouble(self)
    }
}
