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
use crate::http::url::{ChargeId, HoldId};
use crate::model::hold::{
    Correction, CorrectionRequest, Dispatch, DispatchOutcome, Dispatched, DispatchedRequest,
    ExtendRequest, Release, SettleRequest, Settlement,
};
use crate::openapi::{Problem, Problems};
use crate::state::AppState;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(dispatch))
        .routes(routes!(mark_dispatched))
        .routes(routes!(extend))
        .routes(routes!(settle))
        .routes(routes!(release))
        .routes(routes!(correct))
}

/// Ask for money before a call
///
/// Sets it aside, with this service or a substitute, and answers the hold. Refused with 402,
/// `reason`, `remaining_usd` and `max_affordable_units`; the task, if one was named, then waits for
/// budget unless `ask` is false. What people stopped or paused is refused with 402 too, `code`
/// `stopped` or `paused`, and the task stays as it is.
/// One whose service is deferred (`service_deferred`) stays with its agent; `deferred_until` says
/// until when.
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

/// Say that a hold's call goes out
///
/// For a claim's hold, or one that was made with `dispatched` false. From then on the end of its
/// time does not give the money back. `dispatched` is false in the answer when the hold is over.
/// What people stopped or paused is refused with 402, `code` `stopped` or `paused`.
#[utoipa::path(
    post, path = "/api/charges/{hold_id}/dispatched", tag = "agent work",
    params(("hold_id" = Uuid, Path)), request_body = DispatchedRequest,
    responses(
        (status = 200, body = Dispatched),
        (status = 402, description = "Stopped or paused", body = Problem,
         content_type = "application/problem+json"),
        Problems,
    ),
)]
async fn mark_dispatched(
    HoldId(id): HoldId,
    change: Change<DispatchedRequest>,
) -> ApiResult<Response> {
    change
        .call(async |db, request| {
            let dispatched = data::holds::mark_dispatched(db, id, request.lease_token).await?;
            Reply::ok(&Dispatched { dispatched })
        })
        .await
}

/// Extend a hold
///
/// For work that takes longer or costs more than was thought. Refused with 402 as a new hold would
/// be; the hold then stays as it is.
#[utoipa::path(
    post, path = "/api/charges/{hold_id}/extend", tag = "agent work",
    params(("hold_id" = Uuid, Path)), request_body = ExtendRequest,
    responses(
        (status = 200, body = DispatchOutcome),
        (status = 402,
         description = "Refused; `reason`, `remaining_usd` and `max_affordable_units` say why and \
                        what would do",
         body = Problem, content_type = "application/problem+json"),
        Problems,
    ),
)]
async fn extend(HoldId(id): HoldId, change: Change<ExtendRequest>) -> ApiResult<Response> {
    change
        .call(async |db, more| {
            let outcome = data::holds::extend(db, id, &more).await?;
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
/// The real cost replaces it, above the hold as well; whatever was not needed is given back. After
/// the end of its time all of it counted as spent: the real cost replaces that, once.
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

/// Correct a charge
///
/// Admins only. Says what a charge of the ledger really came to; the difference becomes an
/// adjustment in the windows of the charge, and a service that it had suspended is in service
/// again.
#[utoipa::path(
    post, path = "/api/charges/{charge_id}/correct", tag = "services",
    params(("charge_id" = Uuid, Path)), request_body = CorrectionRequest,
    responses((status = 200, body = Correction), Problems),
)]
async fn correct(ChargeId(id): ChargeId, change: Change<CorrectionRequest>) -> ApiResult<Response> {
    change
        .run(async |db, correction| Reply::ok(&data::holds::correct(db, id, &correction).await?))
        .await
}

fn refusal(outcome: &DispatchOutcome) -> ApiError {
    let reason = outcome
        .reason
        .as_deref()
        .unwrap_or("the budget does not allow this");
    let code = match outcome.code.as_deref() {
        Some("price_unknown") => "price_unknown",
        Some("too_much_held") => "too_much_held",
        Some("hold_over") => "hold_over",
        Some("reserve_anew") => "reserve_anew",
        Some("stopped") => "stopped",
        Some("paused") => "paused",
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
