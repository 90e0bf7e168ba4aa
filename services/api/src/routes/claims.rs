//! The agent's side of a task.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, sleep_until};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::auth::Session;
use crate::data;
use crate::error::{ApiError, ApiResult};
use crate::http::body::{JsonBody, NoBody};
use crate::http::change::Change;
use crate::http::claim_key::ClaimKey;
use crate::http::reply::Reply;
use crate::http::url::Id;
use crate::model::claim::{
    ClaimRequest, ClaimedTask, ClaimedTasks, FailureReport, Lease, LeaseExtension, StatusChange,
    TaskRelease, TaskStanding,
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
        .routes(routes!(release))
}

/// Claim tasks
///
/// The most urgent ones that the calling agent can do. With `wait_seconds`, the request is held
/// until there is one or the time is up. Asked again under the same `Idempotency-Key`, it gives
/// what the agent still holds of the first answer, if that has any tasks.
#[utoipa::path(
    post, path = "/api/tasks/claim", tag = "agent work", request_body = ClaimRequest,
    responses(
        (status = 200, body = ClaimedTasks),
        (status = 204, description = "Nothing to do"),
        Problems,
    ),
)]
async fn claim(
    State(state): State<AppState>,
    session: Session,
    ClaimKey(key): ClaimKey,
    JsonBody(request): JsonBody<ClaimRequest>,
) -> ApiResult<Response> {
    let deadline = Instant::now() + request.patience();
    let calls_before = state.waiting_room.calls();
    let mut claim = Claim {
        state: &state,
        session,
        max_tasks: request.max_tasks,
        key,
    };
    let mut items = claim.attempt().await?;
    if items.is_empty() && !request.patience().is_zero() {
        let seat = claim.sit_down().await?;
        claim.session.leave_turn();
        if state.waiting_room.calls() != calls_before {
            seat.call_again();
        }
        items = claim.wait(&seat, deadline).await?;
    }
    if items.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(Json(ClaimedTasks { items }).into_response())
}

/// A claim that is tried until there is something to claim.
struct Claim<'a> {
    state: &'a AppState,
    session: Session,
    max_tasks: i32,
    key: Option<Uuid>,
}

impl Claim<'_> {
    /// A claim is committed only if the client is still there: when it goes away, hyper drops this
    /// future, and with it the transaction and the turn.
    async fn attempt(&self) -> ApiResult<Vec<ClaimedTask>> {
        let _slot = self
            .state
            .claim_slots
            .acquire()
            .await
            .map_err(|_| ApiError::internal())?;
        let mut transaction = self.session.begin().await?;
        let tasks = data::claims::claim(&mut transaction, self.max_tasks, self.key).await?;
        transaction.commit().await?;
        Ok(tasks)
    }

    /// With the agents that can take the same tasks; alone when the capabilities cannot be read.
    async fn sit_down(&self) -> ApiResult<Seat> {
        let id = self.session.identity.id();
        let capabilities =
            data::agents::capabilities(&mut *self.session.begin().await?, id).await?;
        Ok(self
            .state
            .waiting_room
            .take_seat(capabilities.unwrap_or_else(|| vec![id.to_string()])))
    }

    async fn wait(&self, seat: &Seat, deadline: Instant) -> ApiResult<Vec<ClaimedTask>> {
        loop {
            let turn = tokio::select! {
                () = self.state.shutdown.cancelled() => return Ok(Vec::new()),
                () = sleep_until(deadline) => return Ok(Vec::new()),
                turn = seat.called() => turn,
            };
            match self.recheck_and_attempt().await {
                Ok(tasks) if !tasks.is_empty() => {
                    turn.found_tasks();
                    return Ok(tasks);
                }
                Ok(_) => match self.has_room().await? {
                    true => turn.found_nothing(),
                    false => turn.could_take_none(),
                },
                // Waits out a restart of the database: the room calls again within a second.
                Err(error) if error.status() != StatusCode::SERVICE_UNAVAILABLE => {
                    return Err(error);
                }
                Err(_) => turn.found_nothing(),
            }
        }
    }

    /// Whether the agent may take more tasks than it has. Yes while the database cannot say.
    async fn has_room(&self) -> ApiResult<bool> {
        let has_room = async || {
            let mut transaction = self.session.begin().await?;
            ApiResult::Ok(data::claims::has_room(&mut transaction).await?)
        };
        match has_room().await {
            Err(error) if error.status() == StatusCode::SERVICE_UNAVAILABLE => Ok(true),
            known => known,
        }
    }

    /// The key may have been revoked since the request came in.
    async fn recheck_and_attempt(&self) -> ApiResult<Vec<ClaimedTask>> {
        self.session.recheck().await?;
        self.attempt().await
    }
}

/// Start a task
///
/// Claims one particular task that arrived by message. 409 when it is no longer to be had, or when
/// it cannot be paid and therefore waits for budget. Asked again under the same `Idempotency-Key`,
/// it gives the same lease, if the agent still has it.
#[utoipa::path(
    post, path = "/api/tasks/{id}/start", tag = "agent work", params(("id" = Uuid, Path)),
    responses((status = 200, body = ClaimedTask), Problems),
)]
async fn start(
    Id(id): Id,
    session: Session,
    ClaimKey(key): ClaimKey,
    JsonBody(NoBody {}): JsonBody<NoBody>,
) -> ApiResult<Json<ClaimedTask>> {
    let mut transaction = session.begin().await?;
    let started = data::claims::start(&mut transaction, id, key).await?;
    // Without a task as well: one that cannot be paid waits for budget from now on.
    transaction.commit().await?;
    started.map(Json).ok_or_else(no_longer_available)
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
        .call(async |db, body| Reply::ok(&data::claims::set_status(db, id, &body).await?))
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
        .call(async |db, body| Reply::ok(&data::claims::report_failure(db, id, &body).await?))
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
        .call(async |db, body| Reply::ok(&data::claims::extend_lease(db, id, &body).await?))
        .await
}

/// Give a task back
///
/// For an agent that has to leave: the task is to be had again at once, and no retry is used up.
#[utoipa::path(
    post, path = "/api/tasks/{id}/release", tag = "agent work", params(("id" = Uuid, Path)),
    request_body = TaskRelease, responses((status = 200, body = TaskStanding), Problems),
)]
async fn release(Id(id): Id, change: Change<TaskRelease>) -> ApiResult<Response> {
    change
        .call(async |db, body| Reply::ok(&data::claims::release(db, id, &body).await?))
        .await
}

fn no_longer_available() -> ApiError {
    let detail = "the task is no longer to be had";
    ApiError::new(StatusCode::CONFLICT, "wrong_state", detail)
}
