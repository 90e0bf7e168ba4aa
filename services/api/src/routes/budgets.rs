//! Limits beside those of services.

use axum::Json;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Session;
use crate::data;
use crate::data::page::{Limit, Page};
use crate::error::ApiResult;
use crate::http::body::NoBody;
use crate::http::change::Change;
use crate::http::reply::Reply;
use crate::http::url::{Id, UrlQuery};
use crate::model::budget::{Budget, BudgetChanges, BudgetFilter, NewBudget};
use crate::openapi::Problems;
use crate::state::AppState;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(update, delete))
}

/// List budgets
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/budgets", tag = "services", params(BudgetFilter),
    responses((status = 200, body = Page<Budget>), Problems),
)]
async fn list(
    session: Session,
    UrlQuery(filter): UrlQuery<BudgetFilter>,
) -> ApiResult<Json<Page<Budget>>> {
    let limit = Limit::new(filter.limit)?;
    let page = data::budgets::list(&mut *session.begin().await?, &filter, limit).await?;
    Ok(Json(page))
}

/// Create a budget
///
/// Admins only. Limits what an agent, a task, a workflow run or a person may spend, beside the
/// budgets of services.
#[utoipa::path(
    post, path = "/api/budgets", tag = "services", request_body = NewBudget,
    responses((status = 201, body = Budget), Problems),
)]
async fn create(change: Change<NewBudget>) -> ApiResult<Response> {
    change
        .run(async |db, budget| Reply::created(&data::budgets::create(db, &budget).await?))
        .await
}

/// Edit a budget
///
/// Admins only. What is left out stays.
#[utoipa::path(
    put, path = "/api/budgets/{id}", tag = "services", params(("id" = Uuid, Path)),
    request_body = BudgetChanges, responses((status = 200, body = Budget), Problems),
)]
async fn update(Id(id): Id, change: Change<BudgetChanges>) -> ApiResult<Response> {
    change
        .run(async |db, changes| Reply::ok(&data::budgets::update(db, id, &changes).await?))
        .await
}

/// Delete a budget
///
/// Admins only. What was charged under it stays in the records.
#[utoipa::path(
    delete, path = "/api/budgets/{id}", tag = "services", params(("id" = Uuid, Path)),
    responses((status = 204), Problems),
)]
async fn delete(Id(id): Id, change: Change<NoBody>) -> ApiResult<Response> {
    change
        .run(async |db, _| {
            data::budgets::delete(db, id).await?;
            Ok(Reply::no_content())
        })
        .await
}
