//! The key under which a claim can be asked for again.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::idempotency_key::idempotency_key;
use crate::error::{ApiError, ApiResult};

/// The request's Idempotency-Key in the form that the database wants. Claims keep no answers: the
/// leases remember the key, so that a repeated claim gives what is still held of the first one.
pub struct ClaimKey(pub Option<Uuid>);

impl<S: Sync> FromRequestParts<S> for ClaimKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        Ok(Self(
            idempotency_key(&parts.headers)?.as_deref().map(uuid_of),
        ))
    }
}

fn uuid_of(key: &str) -> Uuid {
    let hash: [u8; 32] = Sha256::digest(key).into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    Uuid::from_bytes(bytes)
}
