//! The gate before a call that costs money, and what follows it.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::data;
use crate::error::{ApiError, ApiResult};
use crate::http::body::NoBody;
use crate::http::change::Change;
use crate::http::reply::Reply;
use crate::http::url::HoldId;
use crate::model::hold::{Dispatch, DispatchOutcome, Release, SettleRequest, Settlement};
use crate::openapi::{Problem, Problems};
use crate::state::AppState;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(dispatch))
        .routes(routes!(settle))
        .routes(routes!(release))
}

/// Ask for money before a call
///
/// Sets it aside, with this service or a substitute, and answers the hold. Refused with 402,
/// `reason`, `remaining_usd` and `max_affordable_units`; the task, if one was named, then waits for
/// budget unless `ask` is false. One whose service is deferred (`service_deferred`) stays with its
/// agent; `deferred_until` says until when.
#[utoipa::path(
    post, path = "/api/tasks/dispatch", tag = "agent work", request_body = Dispatch,
    responses(
        (status = 200, body = DispatchOutcome),
        (status = 402,
         description = "Refused; `reason`, `remaining_usd` and `max_affordable_units` say why and \
                        what would do",
         body = Problem, content_type = "application/problem+json"),
        Problems,
    ),
)]
async fn dispatch(change: Change<Dispatch>) -> ApiResult<Response> {
    change
        .call(async |db, dispatch| {
            let outcome = data::holds::dispatch(db, &dispatch).await?;
            if outcome.admitted {
                Reply::ok(&outcome)
            } else {
                Ok(Reply::refused(&refusal(&outcome)))
            }
        })
        .await
}

/// Settle a hold
///
/// The real cost replaces it, above the hold as well; whatever was not needed is given back.
#[utoipa::path(
    post, path = "/api/charges/{hold_id}/settle", tag = "agent work",
    params(("hold_id" = Uuid, Path)), request_body = SettleRequest,
    responses((status = 200, body = Settlement), Problems),
)]
async fn settle(HoldId(id): HoldId, change: Change<SettleRequest>) -> ApiResult<Response> {
    change
        .call(async |db, cost| Reply::ok(&data::holds::settle(db, id, &cost).await?))
        .await
}

/// Release a hold
///
/// Its money is given back unspent. An agent releases its own holds, supervisors any.
#[utoipa::path(
    post, path = "/api/charges/{hold_id}/release", tag = "agent work",
    params(("hold_id" = Uuid, Path)),
    responses((status = 200, body = Release), Problems),
)]
async fn release(HoldId(id): HoldId, change: Change<NoBody>) -> ApiResult<Response> {
    change
        .call(async |db, _| {
            let released = data::holds::release(db, id).await?;
            Reply::ok(&Release { released })
        })
        .await
}

fn refusal(outcome: &DispatchOutcome) -> ApiError {
    let reason = outcome
        .reason
        .as_deref()
        .unwrap_or("the budget does not allow this");
    let code = match outcome.code.as_deref() {
        Some("price_unknown") => "price_unknown",
        Some("service_deferred") => "service_deferred",
        Some("no_estimate") => "no_estimate",
        _ => "budget_exceeded",
    };
    ApiError::new(StatusCode::PAYMENT_REQUIRED, code, reason)
        .with("reason", reason)
        .with("scope", outcome.scope.clone())
        .with("needed_usd", json!(outcome.needed_usd))
        .with("remaining_usd", json!(outcome.remaining_usd))
        .with("max_affordable_units", json!(outcome.max_affordable_units))
        .with("deferred_until", outcome.deferred_until.clone())
        .with("task_status", outcome.task_status.clone())
        .with("approval_id", json!(outcome.approval_id))
}
