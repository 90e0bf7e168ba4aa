//! The answer of a change, in a form that can be kept for a repeated request.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use crate::error::{ApiError, ApiResult, problem};

const JSON: &str = "application/json";

/// What a change answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    status: StatusCode,
    /// JSON, written out at once: few answers have to be kept.
    body: String,
    secret: Option<&'static str>,
}

impl Reply {
    /// 200 with a body.
    ///
    /// # Errors
    /// 500 when the body is not serializable.
    pub fn ok(body: &impl Serialize) -> ApiResult<Self> {
        Self::with_body(StatusCode::OK, body)
    }

    /// 201 with the created row.
    ///
    /// # Errors
    /// 500 when the body is not serializable.
    pub fn created(body: &impl Serialize) -> ApiResult<Self> {
        Self::with_body(StatusCode::CREATED, body)
    }

    /// 204.
    pub fn no_content() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            body: Value::Null.to_string(),
            secret: None,
        }
    }

    /// A refusal that is a result: what happened in the transaction stays.
    pub fn refused(error: &ApiError) -> Self {
        Self {
            status: error.status(),
            body: error.document().to_string(),
            secret: None,
        }
    }

    /// Names a member that is shown this once and never stored.
    #[must_use]
    pub fn showing_once(mut self, member: &'static str) -> Self {
        self.secret = Some(member);
        self
    }

    /// The status to keep for a repeated request.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The body to keep for a repeated request: without the secret.
    ///
    /// # Errors
    /// 500 when it is not JSON.
    pub fn storable_body(&self) -> ApiResult<Value> {
        let mut body: Value = serde_json::from_str(&self.body).map_err(not_json)?;
        if let Some(member) = self.secret {
            body[member] = Value::Null;
        }
        Ok(body)
    }

    /// A kept answer, given again.
    pub fn replayed(status: StatusCode, body: &Value) -> Response {
        let mut response = Self {
            status,
            body: body.to_string(),
            secret: None,
        }
        .into_response();
        let replayed = HeaderValue::from_static("true");
        response
            .headers_mut()
            .insert("idempotency-replayed", replayed);
        response
    }

    fn with_body(status: StatusCode, body: &impl Serialize) -> ApiResult<Self> {
        let body = serde_json::to_string(body).map_err(not_json)?;
        Ok(Self {
            status,
            body,
            secret: None,
        })
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        if self.status == StatusCode::NO_CONTENT {
            self.status.into_response()
        } else if self.status.is_success() {
            let content_type = [(header::CONTENT_TYPE, JSON)];
            (self.status, content_type, self.body).into_response()
        } else {
            problem(self.status, self.body)
        }
    }
}

fn not_json(error: serde_json::Error) -> ApiError {
    tracing::error!(%error, "an answer could not be serialized: {error}");
    ApiError::internal()
}

#[cfg(test)]
mod tests {
    use axum::http::header::CONTENT_TYPE;
    use serde_json::json;

    use super::*;
    use crate::error::PROBLEM_JSON;

    #[test]
    fn a_secret_is_answered_but_not_stored() {
        let reply = Reply::created(&json!({"id": 1, "api_key": "dva_x"})).expect("serializable");
        let reply = reply.showing_once("api_key");
        assert_eq!(reply.storable_body(), Ok(json!({"id": 1, "api_key": null})));
        assert!(reply.body.contains(r#""api_key":"dva_x""#));
    }

    #[test]
    fn a_replayed_refusal_is_still_a_problem() {
        let response = Reply::replayed(
            StatusCode::PAYMENT_REQUIRED,
            &json!({"code": "budget_exceeded"}),
        );
        assert_eq!(response.status(), 402);
        assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
        assert_eq!(response.headers()["idempotency-replayed"], "true");
    }
}
