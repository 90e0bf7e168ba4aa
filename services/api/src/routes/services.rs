//! Services that cost money.

use axum::Json;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Session;
use crate::data;
use crate::data::page::{Limit, Page};
use crate::error::{ApiError, ApiResult};
use crate::http::change::Change;
use crate::http::reply::Reply;
use crate::http::url::{Id, UrlQuery};
use crate::model::service::{
    BudgetIncrease, ChargeOutcome, Deferral, NewCharge, NewService, NewServicePrice, Service,
    ServiceChanges, ServiceFilter, ServicePrice, ServiceStatus,
};
use crate::openapi::{Problem, Problems};
use crate::state::AppState;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(status))
        .routes(routes!(update))
        .routes(routes!(increase_budget))
        .routes(routes!(defer))
        .routes(routes!(prices, set_price))
        .routes(routes!(charge))
}

/// List services
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/services", tag = "services", params(ServiceFilter),
    responses((status = 200, body = Page<Service>), Problems),
)]
async fn list(
    session: Session,
    UrlQuery(filter): UrlQuery<ServiceFilter>,
) -> ApiResult<Json<Page<Service>>> {
    let limit = Limit::new(filter.limit)?;
    let page = data::services::list(&mut *session.begin().await?, &filter, limit).await?;
    Ok(Json(page))
}

/// List services with their budgets
///
/// What is spent and what is left, newest service first.
#[utoipa::path(
    get, path = "/api/services/status", tag = "services", params(ServiceFilter),
    responses((status = 200, body = Page<ServiceStatus>), Problems),
)]
async fn status(
    session: Session,
    UrlQuery(filter): UrlQuery<ServiceFilter>,
) -> ApiResult<Json<Page<ServiceStatus>>> {
    let limit = Limit::new(filter.limit)?;
    let page = data::services::status(&mut *session.begin().await?, &filter, limit).await?;
    Ok(Json(page))
}

/// Create a service
///
/// Admins only.
#[utoipa::path(
    post, path = "/api/services", tag = "services", request_body = NewService,
    responses((status = 201, body = Service), Problems),
)]
async fn create(change: Change<NewService>) -> ApiResult<Response> {
    change
        .run(async |db, service| Reply::created(&data::services::create(db, &service).await?))
        .await
}

/// Edit a service
///
/// Admins only. What is left out stays.
#[utoipa::path(
    put, path = "/api/services/{id}", tag = "services", params(("id" = Uuid, Path)),
    request_body = ServiceChanges,
    responses((status = 200, body = Service), Problems),
)]
async fn update(Id(id): Id, change: Change<ServiceChanges>) -> ApiResult<Response> {
    change
        .run(async |db, changes| Reply::ok(&data::services::update(db, id, &changes).await?))
        .await
}

/// Increase a service's budget
///
/// By `amount_usd`, or to `budget_usd`. Ends a suspension, and tasks that wait for the money go on.
#[utoipa::path(
    post, path = "/api/services/{id}/increase-budget", tag = "services",
    params(("id" = Uuid, Path)), request_body = BudgetIncrease,
    responses((status = 200, body = Service), Problems),
)]
async fn increase_budget(Id(id): Id, change: Change<BudgetIncrease>) -> ApiResult<Response> {
    change
        .run(async |db, increase| {
            Reply::ok(&data::services::increase_budget(db, id, &increase).await?)
        })
        .await
}

/// Put a service off
///
/// Until its provider serves again (a 429 with Retry-After, say). Until then none of its tasks is
/// handed out and no money is set aside for it, unless a substitute serves. It ends by itself, at
/// the latest after `max_defer_seconds`. Supervisors end it sooner, too; an agent that works with
/// the service only makes it longer.
#[utoipa::path(
    post, path = "/api/services/{id}/defer", tag = "agent work", params(("id" = Uuid, Path)),
    request_body = Deferral, responses((status = 200, body = Service), Problems),
)]
async fn defer(Id(id): Id, change: Change<Deferral>) -> ApiResult<Response> {
    change
        .run(async |db, deferral| Reply::ok(&data::services::defer(db, id, &deferral).await?))
        .await
}

/// List a service's prices
///
/// Those in force, those before them and those to come; newest first.
#[utoipa::path(
    get, path = "/api/services/{id}/prices", tag = "services",
    params(("id" = Uuid, Path), ServiceFilter),
    responses((status = 200, body = Page<ServicePrice>), Problems),
)]
async fn prices(
    session: Session,
    Id(id): Id,
    UrlQuery(filter): UrlQuery<ServiceFilter>,
) -> ApiResult<Json<Page<ServicePrice>>> {
    let limit = Limit::new(filter.limit)?;
    let page = data::services::prices(&mut *session.begin().await?, id, &filter, limit).await?;
    Ok(Json(page))
}

/// Set a price
///
/// Admins only. It ends the unit's price before it; holds that are already made keep theirs.
#[utoipa::path(
    post, path = "/api/services/{id}/prices", tag = "services", params(("id" = Uuid, Path)),
    request_body = NewServicePrice, responses((status = 201, body = ServicePrice), Problems),
)]
async fn set_price(Id(id): Id, change: Change<NewServicePrice>) -> ApiResult<Response> {
    change
        .run(async |db, price| Reply::created(&data::services::set_price(db, id, &price).await?))
        .await
}

/// Charge a service
///
/// For the calling agent and a cost already known. A substitute is billed when this service is
/// suspended or exhausted; 402 when none can pay.
#[utoipa::path(
    post, path = "/api/services/{id}/charges", tag = "agent work", params(("id" = Uuid, Path)),
    request_body = NewCharge,
    responses(
        (status = 200, body = ChargeOutcome),
        (status = 402, description = "Refused; `remaining_usd` and `reason` say why",
         body = Problem, content_type = "application/problem+json"),
        Problems,
    ),
)]
async fn charge(Id(id): Id, change: Change<NewCharge>) -> ApiResult<Response> {
    change
        .call(async |db, charge| {
            let outcome = data::services::charge(db, id, &charge).await?;
            if outcome.success {
                Reply::ok(&outcome)
            } else {
                Ok(Reply::refused(&refusal(&outcome)))
            }
        })
        .await
}

fn refusal(outcome: &ChargeOutcome) -> ApiError {
    let reason = outcome
        .reason
        .as_deref()
        .unwrap_or("the budget does not allow this");
    let code = match outcome.code.as_deref() {
        Some("stopped") => "stopped",
        Some("paused") => "paused",
        _ => "budget_exceeded",
    };
    ApiError::new(StatusCode::PAYMENT_REQUIRED, code, reason)
        .with("reason", reason)
        .with("remaining_usd", json!(outcome.remaining_usd))
        .with("spent_usd", json!(outcome.spent_usd))
        .with("suspended", outcome.suspended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_is_left_exactly() {
        let outcome: ChargeOutcome = serde_json::from_str(
            r#"{
                "success": false, "remaining_usd": 0.000001, "reason": "service is suspended",
                "suspended": true
            }"#,
        )
        .expect("an outcome");
        let document = refusal(&outcome).document();
        assert_eq!(document["status"], 402);
        assert_eq!(document["remaining_usd"].to_string(), "0.000001");
        assert_eq!(document["reason"], "service is suspended");
    }
}
