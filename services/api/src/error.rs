//! The one error of the API, answered as RFC 9457 `application/problem+json`.

mod auth;
mod database;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// Media type of every error this API answers.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What handlers return.
pub type ApiResult<T> = Result<T, ApiError>;

/// A refused or failed request: a status, a stable code, and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    detail: String,
    field: Option<String>,
    extensions: Map<String, Value>,
}

impl ApiError {
    /// An error with a code that clients may rely on.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            field: None,
            extensions: Map::new(),
        }
    }

    /// 401: who is asking is not known.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }

    /// 403: who is asking may not do this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404: there is no such thing, or not for this caller.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 404: this API has nothing at the path.
    pub fn no_such_path() -> Self {
        Self::not_found("there is nothing at this path; see /api/docs")
    }

    /// 400: the request is not well-formed.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed_request", detail)
    }

    /// 422: a field has a value that it cannot have.
    pub fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::new(status, "invalid_argument", detail).with_field(field)
    }

    /// 503: the database cannot answer just now; trying again is right.
    pub fn unavailable() -> Self {
        Self::unavailable_because("the database cannot answer just now; try again")
    }

    /// 503 for a reason that people can do something about.
    pub fn unavailable_because(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", reason)
    }

    /// 500: our fault. The reason is in the log, not in the answer.
    pub fn internal() -> Self {
        let detail = "the request failed for a reason that is not yours; it is in the log";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// Names the field that is wrong.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Adds a member to the problem document.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extensions.insert(name.to_owned(), value.into());
        self
    }

    /// The HTTP status this error is answered with.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The problem document.
    pub fn document(&self) -> Value {
        let mut document = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if let Some(field) = &self.field {
            document["field"] = json!(field);
        }
        for (name, value) in &self.extensions {
            document[name] = value.clone();
        }
        document
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = problem(self.status, self.document().to_string());
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

/// A response that carries a problem document.
pub fn problem(status: StatusCode, document: String) -> Response {
    let content_type = [(header::CONTENT_TYPE, PROBLEM_JSON)];
    (status, content_type, document).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_code_detail_and_field() {
        let document = ApiError::invalid("title", "title must not be empty").document();
        assert_eq!(document["status"], 422);
        assert_eq!(document["code"], "invalid_argument");
        assert_eq!(document["field"], "title");
        assert_eq!(document["title"], "Unprocessable Entity");
    }

    #[test]
    fn extensions_become_members() {
        let document = ApiError::forbidden("no")
            .with("remaining_usd", 3)
            .document();
        assert_eq!(document["remaining_usd"], 3);
        assert!(document.get("field").is_none());
    }

    #[test]
    fn a_401_says_how_to_authenticate() {
        let response = ApiError::unauthenticated("no token").into_response();
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
    }
}
