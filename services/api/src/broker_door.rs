//! Where RabbitMQ asks whom to let in: who knows its secret is the broker, and which virtual host
//! agents may use.

use devart_core::api_key::sha256;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::{ApiError, ApiResult};

/// Questions that are looked up at the same time: when a broker starts, all agents come at once,
/// and claims need the same connections to the database.
const AT_ONCE: usize = 2;

/// The broker's way in.
pub struct BrokerDoor {
    /// Of the secret; none when there is no broker to answer to.
    secret_sha256: Option<[u8; 32]>,
    virtual_host: String,
    turns: Semaphore,
}

impl BrokerDoor {
    /// An empty secret lets nobody in.
    pub fn new(secret: &SecretString, virtual_host: &str) -> Self {
        let secret = Some(secret.expose_secret().trim()).filter(|it| !it.is_empty());
        Self {
            secret_sha256: secret.map(sha256),
            virtual_host: virtual_host.to_owned(),
            turns: Semaphore::new(AT_ONCE),
        }
    }

    /// Whether this is the broker's secret. Digests are compared, so that the time it takes tells
    /// nothing about the secret.
    pub fn opens_with(&self, secret: &str) -> bool {
        self.secret_sha256 == Some(sha256(secret))
    }

    /// Whether agents may use this virtual host.
    pub fn is_ours(&self, virtual_host: &str) -> bool {
        self.virtual_host == virtual_host
    }

    /// Waits for a turn to look something up.
    ///
    /// # Errors
    /// 500 when there are no turns any more, which does not happen.
    pub async fn turn(&self) -> ApiResult<SemaphorePermit<'_>> {
        let turn = self.turns.acquire().await;
        turn.map_err(|_| ApiError::internal())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_opens_and_none_does_when_there_is_none() {
        let door = BrokerDoor::new(&"s3cret".into(), "/");
        assert!(door.opens_with("s3cret"));
        assert!(!door.opens_with("s3cre") && !door.opens_with(""));
        for empty in ["", " "] {
            let closed = BrokerDoor::new(&empty.into(), "/");
            assert!(!closed.opens_with("") && !closed.opens_with(" "));
        }
    }
}
