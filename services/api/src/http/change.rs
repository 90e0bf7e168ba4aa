//! A request that changes something: one transaction, at most once per Idempotency-Key.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use devart_kit::db::{self, AsCaller, OneTrip};
use serde::de::DeserializeOwned;
use sqlx::PgConnection;

use super::body::{self, Bounds};
use super::idempotency_key::{IdempotencyKey, Reservation};
use super::reply::Reply;
use crate::auth::Session;
use crate::error::{ApiError, ApiResult};
use crate::model::Validate;
use crate::state::AppState;

/// Who wants the change, its body, and the key under which it happens at most once.
pub struct Change<T> {
    session: Session,
    key: Option<IdempotencyKey>,
    body: T,
}

impl<T: DeserializeOwned + Validate> FromRequest<AppState> for Change<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> ApiResult<Self> {
        let (mut parts, raw_body) = request.into_parts();
        let session = Session::from_request_parts(&mut parts, state).await?;
        let target = format!("{} {}\n", parts.method, parts.uri);
        let bytes = body::read(raw_body, Bounds::USUAL).await?;
        Ok(Self {
            session,
            key: IdempotencyKey::of(&parts.headers, &target, &bytes)?,
            body: body::parse(&parts.headers, &bytes)?,
        })
    }
}

impl<T> Change<T> {
    /// The key under which the change happens at most once.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.key.as_ref().map(IdempotencyKey::as_str)
    }

    /// Runs the change as the caller in a transaction of any number of statements, and commits it
    /// before anything is answered. An error rolls everything back, the key's reservation
    /// included, so that the request can be repeated.
    ///
    /// # Errors
    /// What the change answers, or 409 when the key was used for another request.
    pub async fn run<F>(self, work: F) -> ApiResult<Response>
    where
        F: AsyncFnOnce(&mut PgConnection, T) -> ApiResult<Reply>,
    {
        let Some(key) = self.key else {
            let mut transaction = self.session.begin().await?;
            let reply = work(&mut transaction, self.body).await?;
            transaction.commit().await?;
            return Ok(reply.into_response());
        };
        let mut reserved = match key.reserve(&self.session).await? {
            Reservation::New(reserved) => reserved,
            Reservation::Done(answer) => return Ok(answer),
        };
        db::assume(&mut reserved.transaction, &self.session.caller).await?;
        let reply = work(&mut reserved.transaction, self.body).await?;
        reserved.commit(reply).await
    }

    /// Makes the change by one call of a function that takes the caller on itself. Without a key
    /// that is the whole transaction, in one round trip: it has committed when the call returns.
    /// A client that goes away meanwhile does not stop it.
    ///
    /// # Errors
    /// What the change answers, or 409 when the key was used for another request.
    pub async fn call<F>(self, work: F) -> ApiResult<Response>
    where
        F: AsyncFnOnce(AsCaller<'_>, T) -> ApiResult<Reply>,
    {
        let caller = &self.session.caller;
        let Some(key) = self.key else {
            let connection = OneTrip::Alone(&self.session.pool);
            let reply = work(AsCaller { connection, caller }, self.body).await?;
            return Ok(reply.into_response());
        };
        let mut reserved = match key.reserve(&self.session).await? {
            Reservation::New(reserved) => reserved,
            Reservation::Done(answer) => return Ok(answer),
        };
        let connection = OneTrip::Within(&mut reserved.transaction);
        let reply = work(AsCaller { connection, caller }, self.body).await?;
        reserved.commit(reply).await
    }
}
