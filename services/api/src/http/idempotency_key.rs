//! Idempotency-Key: a change happens at most once per key, and its answer is kept with it.

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use devart_kit::db::{self, Transaction};
use sha2::{Digest, Sha256};

use super::reply::Reply;
use crate::auth::Session;
use crate::data::idempotency;
use crate::error::{ApiError, ApiResult};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const KEY_MAX_CHARS: usize = 200;

/// A key, and what tells a repeated request from another one under the same key.
pub struct IdempotencyKey {
    key: String,
    request_hash: [u8; 32],
}

/// Whether the change is still to be done.
pub enum Reservation {
    /// It is, in this transaction.
    New(Reserved),
    /// It was done; this was its answer.
    Done(Response),
}

/// A transaction as the login role that holds the key.
pub struct Reserved {
    /// For the change.
    pub transaction: Transaction,
    principal: String,
    key: String,
}

impl IdempotencyKey {
    /// The key of a request to `target` (method and URI), if it has one.
    ///
    /// # Errors
    /// 400 when the key is empty, too long or not visible ASCII.
    pub fn of(headers: &HeaderMap, target: &str, body: &[u8]) -> ApiResult<Option<Self>> {
        let keyed = idempotency_key(headers)?.map(|key| Self {
            key,
            request_hash: Sha256::new()
                .chain_update(target)
                .chain_update(body)
                .finalize()
                .into(),
        });
        Ok(keyed)
    }

    pub fn as_str(&self) -> &str {
        &self.key
    }

    /// Reserves the key, or finds the answer that was given under it.
    ///
    /// # Errors
    /// 409 when the key was used for another request, 403 when the answer is for somebody who may do
    /// more than the caller may now.
    pub async fn reserve(self, session: &Session) -> ApiResult<Reservation> {
        let mut transaction = db::begin(&session.pool).await?;
        let principal = session.identity.principal();
        let kept = idempotency::begin(&mut transaction, &principal, &self.key, &self.request_hash);
        if let Some((status, body)) = kept.await? {
            idempotency::require_may_ask(&mut transaction, &session.caller).await?;
            return Ok(Reservation::Done(Reply::replayed(status, &body)));
        }
        Ok(Reservation::New(Reserved {
            transaction,
            principal,
            key: self.key,
        }))
    }
}

impl Reserved {
    /// Commits the change together with its answer.
    ///
    /// # Errors
    /// 503 when the database is gone: then neither is kept, and the request can be repeated.
    pub async fn commit(mut self, reply: Reply) -> ApiResult<Response> {
        db::resign(&mut self.transaction).await?;
        idempotency::finish(
            &mut self.transaction,
            &self.principal,
            &self.key,
            reply.status(),
            &reply.storable_body()?,
        )
        .await?;
        self.transaction.commit().await?;
        Ok(reply.into_response())
    }
}

/// The request's Idempotency-Key, if it has one.
///
/// # Errors
/// 400 when it is empty, too long or not visible ASCII.
pub fn idempotency_key(headers: &HeaderMap) -> ApiResult<Option<String>> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(key) if (1..=KEY_MAX_CHARS).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => {
            let detail = "Idempotency-Key must be 1 to 200 visible ASCII characters";
            Err(ApiError::malformed(detail).with_field("Idempotency-Key"))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn key(value: &str) -> ApiResult<Option<String>> {
        let mut headers = HeaderMap::new();
        headers.insert(
            IDEMPOTENCY_KEY,
            HeaderValue::from_str(value).expect("a header value"),
        );
        idempotency_key(&headers)
    }

    #[test]
    fn the_key_is_optional_and_bounded() {
        assert_eq!(idempotency_key(&HeaderMap::new()), Ok(None));
        assert_eq!(key("abc"), Ok(Some("abc".to_owned())));
        assert!(key("").is_err());
        assert!(key(&"a".repeat(201)).is_err());
        assert!(key("schlüssel").is_err());
    }
}
