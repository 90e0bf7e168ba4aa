//! A request that changes something: one transaction, at most once per Idempotency-Key.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use devart_kit::db;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::body::{self, Validate};
use super::reply::Reply;
use crate::auth::Session;
use crate::data::idempotency;
use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const KEY_MAX_CHARS: usize = 200;

/// Who wants the change, its body, and the key under which it happens at most once.
pub struct Change<T> {
    session: Session,
    key: Option<IdempotencyKey>,
    body: T,
}

struct IdempotencyKey {
    key: String,
    /// Tells a repeated request from another one under the same key.
    request_hash: [u8; 32],
}

impl<T: DeserializeOwned + Validate> FromRequest<AppState> for Change<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> ApiResult<Self> {
        let (mut parts, raw_body) = request.into_parts();
        let session = Session::from_request_parts(&mut parts, state).await?;
        let target = format!("{} {}\n", parts.method, parts.uri);
        let bytes = body::read(raw_body).await?;
        let key = idempotency_key(&parts.headers)?.map(|key| IdempotencyKey {
            key,
            request_hash: Sha256::new()
                .chain_update(target)
                .chain_update(&bytes)
                .finalize()
                .into(),
        });
        Ok(Self {
            session,
            key,
            body: body::parse(&parts.headers, &bytes)?,
        })
    }
}

impl<T> Change<T> {
    /// Runs the change as the caller and commits it together with the kept answer. An error rolls
    /// everything back, the key's reservation included, so that the request can be repeated.
    ///
    /// # Errors
    /// What the change answers, or 409 when the key was used for another request.
    pub async fn run<F>(self, work: F) -> ApiResult<Response>
    where
        F: AsyncFnOnce(&mut PgConnection, T) -> ApiResult<Reply>,
    {
        let mut transaction = db::begin(&self.session.pool).await?;
        let principal = self.session.identity.principal();
        if let Some(key) = &self.key {
            let kept =
                idempotency::begin(&mut transaction, &principal, &key.key, &key.request_hash);
            if let Some((status, body)) = kept.await? {
                return Ok(Reply::replayed(status, body));
            }
        }
        db::assume(&mut transaction, &self.session.caller).await?;
        let reply = work(&mut transaction, self.body).await?;
        if let Some(key) = &self.key {
            db::resign(&mut transaction).await?;
            idempotency::finish(&mut transaction, &principal, &key.key, &reply).await?;
        }
        transaction.commit().await?;
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
