//! What waits for a person.

use axum::Json;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Session;
use crate::data;
use crate::data::page::{Limit, Page};
use crate::error::ApiResult;
use crate::http::change::Change;
use crate::http::reply::Reply;
use crate::http::url::{Id, UrlQuery};
use crate::model::approval::{Approval, ApprovalFilter, Decision};
use crate::openapi::Problems;
use crate::state::AppState;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(decide))
}

/// List approvals
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/approvals", tag = "approvals", params(ApprovalFilter),
    responses((status = 200, body = Page<Approval>), Problems),
)]
async fn list(
    session: Session,
    UrlQuery(filter): UrlQuery<ApprovalFilter>,
) -> ApiResult<Json<Page<Approval>>> {
    let limit = Limit::new(filter.limit)?;
    let page = data::approvals::list(&mut *session.begin().await?, &filter, limit).await?;
    Ok(Json(page))
}

/// Decide an approval
///
/// One vote per person, and nobody approves their own request. A task that waits for budget goes on
/// when the budget is raised (`approve`) or another service pays (`substitute`), and is cancelled
/// otherwise (`reject`).
#[utoipa::path(
    post, path = "/api/approvals/{id}/decision", tag = "approvals", params(("id" = Uuid, Path)),
    request_body = Decision, responses((status = 200, body = Approval), Problems),
)]
async fn decide(Id(id): Id, change: Change<Decision>) -> ApiResult<Response> {
    change
        .run(async |db, decision| Reply::ok(&data::approvals::decide(db, id, &decision).await?))
        .await
}
