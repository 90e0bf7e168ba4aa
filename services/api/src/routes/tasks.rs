//! Tasks as people see and manage them.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use devart_kit::auth::Identity;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Session;
use crate::data;
use crate::data::page::{Limit, Page};
use crate::error::ApiResult;
use crate::http::body::NoBody;
use crate::http::change::Change;
use crate::http::reply::Reply;
use crate::http::trace_context::Traceparent;
use crate::http::url::{Id, UrlQuery};
use crate::model::history::{HistoryQuery, TaskHistory};
use crate::model::task::{Cancellation, NewTask, Task, TaskChanges, TaskFilter};
use crate::openapi::Problems;
use crate::state::AppState;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, delete))
        .routes(routes!(events))
        .routes(routes!(cancel))
        .routes(routes!(retry))
}

/// Create a task
///
/// Supervisors create any task; an agent creates children of the task it is working on. The task
/// belongs to the trace of the header `traceparent`, if there is one.
#[utoipa::path(
    post, path = "/api/tasks", tag = "tasks", request_body = NewTask,
    responses((status = 201, body = Task), Problems),
)]
async fn create(Traceparent(trace): Traceparent, change: Change<NewTask>) -> ApiResult<Response> {
    // The row remembers its key, so that a repetition finds it also when the kept answer is gone.
    let key = change.idempotency_key().map(str::to_owned);
    change
        .call(async |db, mut task| {
            task.idempotency_key = key;
            task.traceparent = task.traceparent.or(trace);
            Reply::created(&data::tasks::create(db, &task).await?)
        })
        .await
}

/// List tasks
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/tasks", tag = "tasks", params(TaskFilter),
    responses((status = 200, body = Page<Task>), Problems),
)]
async fn list(
    State(state): State<AppState>,
    session: Session,
    UrlQuery(filter): UrlQuery<TaskFilter>,
) -> ApiResult<Json<Page<Task>>> {
    let limit = Limit::new(filter.limit)?;
    let page = match (&session.identity, filter.words()) {
        (Identity::Agent { .. }, _) => {
            data::tasks::list(&mut *session.begin().await?, &filter, true, limit).await?
        }
        (Identity::Person { .. }, None) => {
            data::tasks::list(&mut *session.begin().await?, &filter, false, limit).await?
        }
        (Identity::Person { id, .. }, Some(_)) => {
            let _turn = state.limits.searches.take(*id).await?;
            let mut search = session.begin_in(&state.pools.searches).await?;
            data::tasks::list(&mut search, &filter, false, limit).await?
        }
    };
    Ok(Json(page))
}

/// Get a task
#[utoipa::path(
    get, path = "/api/tasks/{id}", tag = "tasks", params(("id" = Uuid, Path)),
    responses((status = 200, body = Task), Problems),
)]
async fn get(session: Session, Id(id): Id) -> ApiResult<Json<Task>> {
    Ok(Json(
        data::tasks::get(&mut *session.begin().await?, id).await?,
    ))
}

/// Get a task's history
///
/// Every change of its status, oldest first, and what it was charged.
#[utoipa::path(
    get, path = "/api/tasks/{id}/events", tag = "tasks", params(("id" = Uuid, Path), HistoryQuery),
    responses((status = 200, body = TaskHistory), Problems),
)]
async fn events(
    session: Session,
    Id(id): Id,
    UrlQuery(query): UrlQuery<HistoryQuery>,
) -> ApiResult<Json<TaskHistory>> {
    let limit = Limit::new(query.limit)?;
    let mut db = session.begin().await?;
    let page = data::tasks::events(&mut db, id, query.cursor, limit).await?;
    if page.items.is_empty() {
        // Nobody's history is empty: either there is no such task, or the caller may not see it.
        data::tasks::get(&mut db, id).await?;
    }
    let charges = data::tasks::charges(&mut db, id).await?;
    Ok(Json(TaskHistory {
        items: page.items,
        next_cursor: page.next_cursor,
        charges,
    }))
}

/// Edit a task
///
/// One that nobody works on and that is not finished.
#[utoipa::path(
    put, path = "/api/tasks/{id}", tag = "tasks", params(("id" = Uuid, Path)),
    request_body = TaskChanges, responses((status = 200, body = Task), Problems),
)]
async fn update(Id(id): Id, change: Change<TaskChanges>) -> ApiResult<Response> {
    change
        .run(async |db, changes| Reply::ok(&data::tasks::update(db, id, &changes).await?))
        .await
}

/// Delete a task
///
/// Its history stays. Refused while somebody works on it.
#[utoipa::path(
    delete, path = "/api/tasks/{id}", tag = "tasks", params(("id" = Uuid, Path)),
    responses((status = 204), Problems),
)]
async fn delete(Id(id): Id, change: Change<NoBody>) -> ApiResult<Response> {
    change
        .run(async |db, _| {
            data::tasks::delete(db, id).await?;
            Ok(Reply::no_content())
        })
        .await
}

/// Cancel a task
///
/// In any state but a finished one. An agent that has it is refused from then on.
#[utoipa::path(
    post, path = "/api/tasks/{id}/cancel", tag = "tasks", params(("id" = Uuid, Path)),
    request_body = Cancellation, responses((status = 200, body = Task), Problems),
)]
async fn cancel(Id(id): Id, change: Change<Cancellation>) -> ApiResult<Response> {
    change
        .run(async |db, body| {
            Reply::ok(&data::tasks::cancel(db, id, body.reason.as_deref()).await?)
        })
        .await
}

/// Retry a task
///
/// Gives a failed or cancelled task another life, with all its retries.
#[utoipa::path(
    post, path = "/api/tasks/{id}/retry", tag = "tasks", params(("id" = Uuid, Path)),
    responses((status = 200, body = Task), Problems),
)]
async fn retry(Id(id): Id, change: Change<NoBody>) -> ApiResult<Response> {
    change
        .run(async |db, _| Reply::ok(&data::tasks::retry(db, id).await?))
        .await
}
