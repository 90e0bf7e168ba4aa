//! For supervisors and monitors.

use axum::Json;
use axum::extract::State;
use devart_kit::health::database_problem;
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
/// The database answers, can be written, has room, and has the schema of this program; and
/// time-driven work (due tasks, expired leases and holds) has been done lately. If not, the answer
/// says why.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses(
        (status = 200, body = Health),
        (status = 503, description = "Not ready", body = crate::openapi::Problem),
    ),
)]
async fn readyz(State(state): State<AppState>) -> ApiResult<Json<Health>> {
    let problem = if state.shutdown.is_cancelled() {
        Some("this process is stopping".to_owned())
    } else {
        database_problem(&state.pools.readiness).await
    };
    if let Some(problem) = problem {
        return Err(ApiError::unavailable_because(problem));
    }
    if let Some(age) = state.maintenance.stands_still() {
        let seconds = age.as_secs();
        let problem = format!("time-driven work has not been done for {seconds} seconds");
        return Err(ApiError::unavailable_because(problem));
    }
    Ok(OK)
}

/// Metrics
///
/// In the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, body = String)))]
async fn metrics(State(state): State<AppState>) -> String {
    metrics::gauge!("devart_waiting_claims").set(state.waiting_room.waiting() as f64);
    metrics::gauge!("devart_http_connections").set(state.places.taken() as f64);
    let (open, idle) = state.pools.size();
    metrics::gauge!("devart_database_connections").set(f64::from(open));
    metrics::gauge!("devart_database_idle_connections").set(idle as f64);
    if let Some(age) = state.maintenance.known_age() {
        metrics::gauge!("devart_maintenance_age_seconds").set(age.as_secs_f64());
    }
    state.metrics.render()
}
