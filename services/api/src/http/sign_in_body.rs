//! The body of somebody who wants to log in.

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;

use super::body::{self, Bounds};
use super::client_address::ClientAddress;
use crate::error::{ApiError, ApiResult};
use crate::model::Validate;
use crate::state::AppState;

/// A JSON body, parsed and validated, of which there is room before anybody is known.
pub struct SignInBody<T>(pub T);

impl<T: DeserializeOwned + Validate> FromRequest<AppState> for SignInBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> ApiResult<Self> {
        let (parts, body) = request.into_parts();
        let from = parts.extensions.get::<ClientAddress>().copied();
        let from = from.ok_or_else(ApiError::internal)?;
        let bounds = Bounds::SIGN_IN;
        let reading = state.limits.bodies.read(from, body, bounds, |_| ());
        let bytes = reading.await?;
        let bytes = bytes.ok_or_else(|| body::too_large(bounds))?;
        body::parse(&parts.headers, &bytes).map(Self)
    }
}
