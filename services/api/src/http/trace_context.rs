//! The trace that a request belongs to.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use devart_core::traceparent;

/// The header `traceparent`. A malformed one counts as none, as W3C Trace Context demands.
pub struct Traceparent(pub Option<String>);

impl<S: Sync> FromRequestParts<S> for Traceparent {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let header = parts.headers.get("traceparent");
        let text = header.and_then(|value| value.to_str().ok());
        Ok(Self(
            text.filter(|text| traceparent::is_valid(text))
                .map(str::to_owned),
        ))
    }
}
