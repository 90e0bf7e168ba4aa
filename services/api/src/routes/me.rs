//! Who is asking.

use axum::Json;
use devart_kit::auth::Identity;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Session;
use crate::data;
use crate::error::ApiResult;
use crate::model::session::Me;
use crate::openapi::Problems;
use crate::state::AppState;

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(me))
}

/// Who am I
#[utoipa::path(
    get, path = "/api/me", tag = "sessions",
    responses((status = 200, body = Me), Problems),
)]
async fn me(session: Session) -> ApiResult<Json<Me>> {
    let me = match &session.identity {
        Identity::Agent { id } => Me {
            id: *id,
            email: None,
            role: Some("agent".to_owned()),
        },
        Identity::Person { id, email } => Me {
            id: *id,
            email: email.clone(),
            role: data::identity::my_role(&mut *session.begin().await?).await?,
        },
    };
    Ok(Json(me))
}
