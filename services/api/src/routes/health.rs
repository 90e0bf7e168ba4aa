//! For supervisors and monitors.

use axum::Json;
use axum::extract::State;
use devart_kit::health::database_is_ready;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::{ApiError, ApiResult};
use crate::state::AppState;

/// How this process is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    #[schema(example = "ok")]
    pub status: &'static str,
}

const OK: Json<Health> = Json(Health { status: "ok" });

pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
}

/// Liveness
///
/// The process answers. Says nothing about the database: restarting this would not mend that.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = Health)))]
async fn healthz() -> Json<Health> {
    OK
}

/// Readiness
///
/// The database answers and its schema is complete.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses(
        (status = 200, body = Health),
        (status = 503, description = "Not ready", body = crate::openapi::Problem),
    ),
)]
async fn readyz(State(state): State<AppState>) -> ApiResult<Json<Health>> {
    let ready = !state.shutdown.is_cancelled() && database_is_ready(&state.pool).await;
    if ready {
        Ok(OK)
    } else {
        Err(ApiError::unavailable())
    }
}

/// Metrics
///
/// In the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, body = String)))]
async fn metrics(State(state): State<AppState>) -> String {
    metrics::gauge!("devart_waiting_claims").set(state.waiting_room.waiting() as f64);
    metrics::gauge!("devart_database_connections").set(f64::from(state.pool.size()));
    metrics::gauge!("devart_database_idle_connections").set(state.pool.num_idle() as f64);
    state.metrics.render()
}
