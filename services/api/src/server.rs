//! From settings to a running server, and to its orderly end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use devart_kit::config::comma_separated;
use devart_kit::connections::{self, Door};
use devart_kit::listener::Listener;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app;
use crate::config::Config;
use crate::error::ApiError;
use crate::pools;
use crate::state::AppState;

/// Fires when tasks became claimable.
const TASKS_CHANNEL: &str = "devart_tasks";

/// How long requests under way may take after the order to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves until `shutdown`, then finishes what is under way. Does not need the database to be up.
///
/// # Errors
/// When a setting is unusable or the address cannot be bound.
pub async fn serve(
    config: Config,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let listening = pools::listen_options(&config)?;
    let state = AppState::new(&config, metrics, shutdown.clone())?;
    let socket = TcpListener::bind(config.bind).await.with_context(|| {
        format!(
            "cannot listen on {}: is the port already taken?",
            config.bind
        )
    })?;
    let wakeups = Listener::spawn(listening, shutdown.clone()).subscribe(TASKS_CHANNEL);
    tokio::spawn(Arc::clone(&state.waiting_room).serve(wakeups, shutdown.clone()));
    Arc::clone(&state.limits).forget_quiet_keys(shutdown.clone());
    if !config.maintain_interval.is_zero() {
        let (state, shutdown) = (state.clone(), shutdown.clone());
        tokio::spawn(async move {
            let pool = state.pools.upkeep.clone();
            state.maintenance.run(pool, shutdown).await;
        });
    }
    let door = Door {
        router: app::router(state.clone(), &comma_separated(&config.cors_origins)),
        turned_away: too_many_connections,
    };
    tracing::info!(bind = %socket.local_addr()?, "serving on http://{}", socket.local_addr()?);
    let server = connections::serve(
        socket,
        door,
        Arc::clone(&state.places),
        config.connections.times(),
        shutdown.clone(),
    );
    tokio::select! {
        () = server => {}
        () = drain_deadline(&shutdown) => {
            tracing::warn!("requests were still under way after {DRAIN_TIMEOUT:?}");
        }
    }
    state.pools.close().await;
    tracing::info!("stopped");
    Ok(())
}

fn too_many_connections() -> Response {
    let detail = "there are too many connections, in all or from your address; close some";
    let status = StatusCode::SERVICE_UNAVAILABLE;
    ApiError::new(status, "too_many_connections", detail).into_response()
}

async fn drain_deadline(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(DRAIN_TIMEOUT).await;
}
