//! Stop and pause, for everything and for an agent, a service, a run or a task.

use axum::Json;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::auth::Session;
use crate::data;
use crate::error::ApiResult;
use crate::http::body::NoBody;
use crate::http::change::Change;
use crate::http::reply::Reply;
use crate::http::url::Id;
use crate::model::stop::{NewPause, NewStop, Resumption, Stop, StopScope, Stops};
use crate::openapi::Problems;
use crate::state::AppState;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, stop))
        .routes(routes!(release))
        .routes(routes!(pause_agent))
        .routes(routes!(resume_agent))
        .routes(routes!(pause_service))
        .routes(routes!(resume_service))
        .routes(routes!(pause_run))
        .routes(routes!(resume_run))
        .routes(routes!(pause_task))
        .routes(routes!(resume_task))
}

/// List stops and pauses
///
/// What is in force now.
#[utoipa::path(
    get, path = "/api/stop", tag = "stops", responses((status = 200, body = Stops), Problems),
)]
async fn list(session: Session) -> ApiResult<Json<Stops>> {
    Ok(Json(data::stops::list(&mut *session.begin().await?).await?))
}

/// Stop everything
///
/// From now on nothing is handed out, and no money is set aside or spent. What is in hand may be
/// completed, what was set aside and used may be settled. Agents are told with their next heartbeat.
/// Supervisors only. Repeated: another reason.
#[utoipa::path(
    post, path = "/api/stop", tag = "stops", request_body = NewStop,
    responses((status = 200, body = Stop), Problems),
)]
async fn stop(change: Change<NewStop>) -> ApiResult<Response> {
    change
        .run(async |db, body| Reply::ok(&data::stops::stop(db, &body.reason).await?))
        .await
}

/// Let everything go on
///
/// What is paused by itself stays so. Supervisors only.
#[utoipa::path(
    post, path = "/api/stop/release", tag = "stops",
    responses((status = 200, body = Resumption), Problems),
)]
async fn release(change: Change<NoBody>) -> ApiResult<Response> {
    change
        .run(async |db, _| {
            let resumed = data::stops::resume_work(db).await?;
            Reply::ok(&Resumption { resumed })
        })
        .await
}

/// Pause an agent
///
/// It is given no task and no money. Supervisors only.
#[utoipa::path(
    post, path = "/api/agents/{id}/pause", tag = "stops", params(("id" = Uuid, Path)),
    request_body = NewPause, responses((status = 200, body = Stop), Problems),
)]
async fn pause_agent(Id(id): Id, change: Change<NewPause>) -> ApiResult<Response> {
    pause(StopScope::Agent, id, change).await
}

/// Resume an agent
///
/// Ends its pause. Supervisors only.
#[utoipa::path(
    post, path = "/api/agents/{id}/resume", tag = "stops", params(("id" = Uuid, Path)),
    responses((status = 200, body = Resumption), Problems),
)]
async fn resume_agent(Id(id): Id, change: Change<NoBody>) -> ApiResult<Response> {
    resume(StopScope::Agent, id, change).await
}

/// Pause a service
///
/// None of its tasks is handed out, and it is billed for nothing, nor in place of another.
/// Supervisors only.
#[utoipa::path(
    post, path = "/api/services/{id}/pause", tag = "stops", params(("id" = Uuid, Path)),
    request_body = NewPause, responses((status = 200, body = Stop), Problems),
)]
async fn pause_service(Id(id): Id, change: Change<NewPause>) -> ApiResult<Response> {
    pause(StopScope::Service, id, change).await
}

/// Resume a service
///
/// Ends its pause. Supervisors only.
#[utoipa::path(
    post, path = "/api/services/{id}/resume", tag = "stops", params(("id" = Uuid, Path)),
    responses((status = 200, body = Resumption), Problems),
)]
async fn resume_service(Id(id): Id, change: Change<NoBody>) -> ApiResult<Response> {
    resume(StopScope::Service, id, change).await
}

/// Pause a run
///
/// None of its tasks is handed out or given money, nor what descends from them. Supervisors only.
#[utoipa::path(
    post, path = "/api/workflow-runs/{id}/pause", tag = "stops", params(("id" = Uuid, Path)),
    request_body = NewPause, responses((status = 200, body = Stop), Problems),
)]
async fn pause_run(Id(id): Id, change: Change<NewPause>) -> ApiResult<Response> {
    pause(StopScope::Run, id, change).await
}

/// Resume a run
///
/// Ends its pause. Supervisors only.
#[utoipa::path(
    post, path = "/api/workflow-runs/{id}/resume", tag = "stops", params(("id" = Uuid, Path)),
    responses((status = 200, body = Resumption), Problems),
)]
async fn resume_run(Id(id): Id, change: Change<NoBody>) -> ApiResult<Response> {
    resume(StopScope::Run, id, change).await
}

/// Pause a task
///
/// It is not handed out or given money, nor what descends from it. Supervisors only.
#[utoipa::path(
    post, path = "/api/tasks/{id}/pause", tag = "stops", params(("id" = Uuid, Path)),
    request_body = NewPause, responses((status = 200, body = Stop), Problems),
)]
async fn pause_task(Id(id): Id, change: Change<NewPause>) -> ApiResult<Response> {
    pause(StopScope::Task, id, change).await
}

/// Resume a task
///
/// Ends its pause. Supervisors only.
#[utoipa::path(
    post, path = "/api/tasks/{id}/resume", tag = "stops", params(("id" = Uuid, Path)),
    responses((status = 200, body = Resumption), Problems),
)]
async fn resume_task(Id(id): Id, change: Change<NoBody>) -> ApiResult<Response> {
    resume(StopScope::Task, id, change).await
}

async fn pause(scope: StopScope, id: Uuid, change: Change<NewPause>) -> ApiResult<Response> {
    change
        .run(async |db, body| {
            let reason = body.reason.as_deref();
            Reply::ok(&data::stops::pause(db, scope, id, reason).await?)
        })
        .await
}

async fn resume(scope: StopScope, id: Uuid, change: Change<NoBody>) -> ApiResult<Response> {
    change
        .run(async |db, _| {
            let resumed = data::stops::resume(db, scope, id).await?;
            Reply::ok(&Resumption { resumed })
        })
        .await
}
