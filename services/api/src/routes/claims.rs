//! The agent's side of a task.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, sleep_until};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Session;
use crate::data;
use crate::error::{ApiError, ApiResult};
use crate::http::body::{JsonBody, NoBody};
use crate::http::change::Change;
use crate::http::reply::Reply;
use crate::http::url::Id;
use crate::model::claim::{
    ClaimRequest, ClaimedTask, ClaimedTasks, FailureReport, Lease, LeaseExtension, StatusChange,
    TaskStanding,
};
use crate::openapi::Problems;
use crate::state::AppState;
use crate::waiting_room::Seat;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(claim))
        .routes(routes!(start))
        .routes(routes!(set_status))
        .routes(routes!(report_failure))
        .routes(routes!(extend_lease))
}

/// Claim tasks
///
/// The most urgent ones that the calling agent can do. With `wait_seconds`, the request is held
/// until there is one or the time is up.
#[utoipa::path(
    post, path = "/api/tasks/claim", tag = "agent work", request_body = ClaimRequest,
    responses((status = 200, body = ClaimedTasks), (status = 204, description = "Nothing to do"), Problems),
)]
async fn claim(
    State(state): State<AppState>,
    session: Session,
    JsonBody(request): JsonBody<ClaimRequest>,
) -> ApiResult<Response> {
    let deadline = Instant::now() + request.patience();
    let calls_before = state.waiting_room.calls();
    let mut items = try_claim(&state, &session, &request).await?;
    if items.is_empty() && !request.patience().is_zero() {
        let seat = sit_down(&state, &session).await?;
        if state.waiting_room.calls() != calls_before {
            seat.call_again();
        }
        items = wait_and_claim(&state, &session, &request, &seat, deadline).await?;
    }
    if items.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(Json(ClaimedTasks { items }).into_response())
}

/// A claim is committed only if the client is still there: when it goes away, hyper drops this
/// future, and with it the transaction and the turn.
async fn try_claim(
    state: &AppState,
    session: &Session,
    request: &ClaimRequest,
) -> ApiResult<Vec<ClaimedTask>> {
    let _slot = state
        .claim_slots
        .acquire()
        .await
        .map_err(|_| ApiError::internal())?;
    let mut transaction = session.begin().await?;
    let tasks = data::claims::claim(&mut transaction, request.max_tasks).await?;
    transaction.commit().await?;
    Ok(tasks)
}

/// With the agents that can take the same tasks; alone when the capabilities cannot be read.
async fn sit_down(state: &AppState, session: &Session) -> ApiResult<Seat> {
    let id = session.identity.id();
    let capabilities = data::agents::capabilities(&mut *session.begin().await?, id).await?;
    Ok(state
        .waiting_room
        .take_seat(capabilities.unwrap_or_else(|| vec![id.to_string()])))
}

async fn wait_and_claim(
    state: &AppState,
    session: &Session,
    request: &ClaimRequest,
    seat: &Seat,
    deadline: Instant,
) -> ApiResult<Vec<ClaimedTask>> {
    loop {
        let turn = tokio::select! {
            () = state.shutdown.cancelled() => return Ok(Vec::new()),
            () = sleep_until(deadline) => return Ok(Vec::new()),
            turn = seat.called() => turn,
        };
        match recheck_and_claim(state, session, request).await {
            Ok(tasks) if !tasks.is_empty() => {
                turn.found_tasks();
                return Ok(tasks);
            }
            // Waits out a restart of the database: the room calls again within a second.
            Err(error) if error.status() != StatusCode::SERVICE_UNAVAILABLE => return Err(error),
            _ => turn.found_nothing(),
        }
    }
}

/// The key may have been revoked since the request came in.
async fn recheck_and_claim(
    state: &AppState,
    session: &Session,
    request: &ClaimRequest,
) -> ApiResult<Vec<ClaimedTask>> {
    session.recheck().await?;
    try_claim(state, session, request).await
}

/// Start a task
///
/// Claims one particular task that arrived by message. 409 when it is no longer to be had, or when it cannot be paid and
/// therefore waits for budget.
#[utoipa::path(
    post, path = "/api/tasks/{id}/start", tag = "agent work", params(("id" = Uuid, Path)),
    responses((status = 200, body = ClaimedTask), Problems),
)]
async fn start(Id(id): Id, change: Change<NoBody>) -> ApiResult<Response> {
    change
        .run(async |db, _| {
            // A result and not an error: a task that cannot be paid waits for budget from now on, which must stay.
            match data::claims::start(db, id).await? {
                Some(task) => Reply::ok(&task),
                None => Ok(Reply::refused(&no_longer_available())),
            }
        })
        .await
}

/// Finish a task
///
/// DONE with its result, or FAILED for good. Needs the current lease.
#[utoipa::path(
    put, path = "/api/tasks/{id}/status", tag = "agent work", params(("id" = Uuid, Path)),
    request_body = StatusChange, responses((status = 200, body = TaskStanding), Problems),
)]
async fn set_status(Id(id): Id, change: Change<StatusChange>) -> ApiResult<Response> {
    change
        .run(async |db, body| Reply::ok(&data::claims::set_status(db, id, &body).await?))
        .await
}

/// Report a failed attempt
///
/// The task is tried again after a while, unless it is not retryable or its retries are used up.
#[utoipa::path(
    post, path = "/api/tasks/{id}/report-failure", tag = "agent work", params(("id" = Uuid, Path)),
    request_body = FailureReport, responses((status = 200, body = TaskStanding), Problems),
)]
async fn report_failure(Id(id): Id, change: Change<FailureReport>) -> ApiResult<Response> {
    change
        .run(async |db, body| Reply::ok(&data::claims::report_failure(db, id, &body).await?))
        .await
}

/// Extend a lease
///
/// Heartbeats do this for all tasks of an agent; this does it for one.
#[utoipa::path(
    post, path = "/api/tasks/{id}/extend-lease", tag = "agent work", params(("id" = Uuid, Path)),
    request_body = LeaseExtension, responses((status = 200, body = Lease), Problems),
)]
async fn extend_lease(Id(id): Id, change: Change<LeaseExtension>) -> ApiResult<Response> {
    change
        .run(async |db, body| Reply::ok(&data::claims::extend_lease(db, id, &body).await?))
        .await
}

fn no_longer_available() -> ApiError {
    let detail = "the task is no longer to be had";
    ApiError::new(StatusCode::CONFLICT, "wrong_state", detail)
}
