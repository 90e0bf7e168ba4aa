//! Settings that operators may change while devart runs.

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
use crate::http::url::{Key, UrlQuery};
use crate::model::setting::{Setting, SettingFilter, SettingValue};
use crate::openapi::Problems;
use crate::state::AppState;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, put))
}

/// List settings
///
/// By key.
#[utoipa::path(
    get, path = "/api/settings", tag = "settings", params(SettingFilter),
    responses((status = 200, body = Page<Setting>), Problems),
)]
async fn list(
    session: Session,
    UrlQuery(filter): UrlQuery<SettingFilter>,
) -> ApiResult<Json<Page<Setting>>> {
    let limit = Limit::new(filter.limit)?;
    let page = data::settings::list(&mut *session.begin().await?, filter, limit).await?;
    Ok(Json(page))
}

/// Get a setting
#[utoipa::path(
    get, path = "/api/settings/{key}", tag = "settings", params(("key" = String, Path)),
    responses((status = 200, body = Setting), Problems),
)]
async fn get(session: Session, Key(key): Key) -> ApiResult<Json<Setting>> {
    Ok(Json(
        data::settings::get(&mut *session.begin().await?, &key).await?,
    ))
}

/// Change a setting
///
/// Admins only. The value must satisfy the setting's schema.
#[utoipa::path(
    put, path = "/api/settings/{key}", tag = "settings", params(("key" = String, Path)),
    request_body = SettingValue, responses((status = 200, body = Setting), Problems),
)]
async fn put(Key(key): Key, change: Change<SettingValue>) -> ApiResult<Response> {
    change
        .run(async |db, body| Reply::ok(&data::settings::set(db, &key, &body.value).await?))
        .await
}
