//! The small HTTP endpoint of a sidecar, for supervisors and monitors.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use futures::future::BoxFuture;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// Says why the process cannot do its work at this moment; none when it can.
pub type ReadyCheck = Arc<dyn Fn() -> BoxFuture<'static, Option<String>> + Send + Sync>;

/// Serves `/healthz`, `/readyz` and `/metrics` on `bind` until the handle is dropped.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    bind: SocketAddr,
    metrics: PrometheusHandle,
    ready: ReadyCheck,
) -> anyhow::Result<AbortOnDropHandle<()>> {
    let socket = TcpListener::bind(bind)
        .await
        .with_context(|| format!("cannot listen on {bind}: is the port already taken?"))?;
    tracing::info!(bind = %socket.local_addr()?, "health and metrics on http://{}", socket.local_addr()?);
    let server = axum::serve(socket, router(metrics, ready));
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the health endpoint failed");
        }
    })))
}

fn router(metrics: PrometheusHandle, ready: ReadyCheck) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(async move || readiness(ready().await)))
        .route("/metrics", get(async move || metrics.render()))
}

fn readiness(trouble: Option<String>) -> (StatusCode, String) {
    match trouble {
        None => (StatusCode::OK, "ok".to_owned()),
        Some(trouble) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {trouble}"),
        ),
    }
}
