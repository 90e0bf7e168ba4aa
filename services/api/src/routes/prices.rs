//! Mending prices that are wrong.

use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::data;
use crate::error::ApiResult;
use crate::http::change::Change;
use crate::http::reply::Reply;
use crate::http::url::{Id, PriceId};
use crate::model::price::{PriceCorrection, PriceEnd};
use crate::model::service::ServicePrice;
use crate::openapi::Problems;
use crate::state::AppState;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(correct))
        .routes(routes!(end))
}

/// Correct a price
///
/// Admins only: what a unit costs, from when on, or both. The price before it ends when it begins.
/// Holds that are already made keep theirs; what was charged wrongly is corrected by itself.
#[utoipa::path(
    put, path = "/api/services/{id}/prices/{price_id}", tag = "services",
    params(("id" = Uuid, Path), ("price_id" = Uuid, Path)), request_body = PriceCorrection,
    responses((status = 200, body = ServicePrice), Problems),
)]
async fn correct(
    Id(id): Id,
    PriceId(price_id): PriceId,
    change: Change<PriceCorrection>,
) -> ApiResult<Response> {
    change
        .run(async |db, correction| {
            Reply::ok(&data::prices::correct(db, id, price_id, &correction).await?)
        })
        .await
}

/// End a price
///
/// Admins only. From then on its unit has no price and is refused. One that ends before it begins
/// is taken back, and the price before it goes on.
#[utoipa::path(
    post, path = "/api/services/{id}/prices/{price_id}/end", tag = "services",
    params(("id" = Uuid, Path), ("price_id" = Uuid, Path)), request_body = PriceEnd,
    responses((status = 200, body = ServicePrice), Problems),
)]
async fn end(
    Id(id): Id,
    PriceId(price_id): PriceId,
    change: Change<PriceEnd>,
) -> ApiResult<Response> {
    change
        .run(async |db, end| Reply::ok(&data::prices::end(db, id, price_id, &end).await?))
        .await
}
