//! No request may take for ever.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;

use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

/// Middleware: gives up on a request, reading its body included, after the configured time.
///
/// # Errors
/// 408 when the time is up.
pub async fn limit_time(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> ApiResult<Response> {
    tokio::time::timeout(state.request_timeout, next.run(request))
        .await
        .map_err(|_| took_too_long())
}

/// 408.
pub fn took_too_long() -> ApiError {
    let detail = "the request took too long";
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail)
}
