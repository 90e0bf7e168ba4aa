//! The small HTTP endpoint of a sidecar, for supervisors and monitors.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use futures::future::BoxFuture;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::connections::{self, Door, Places, Times};
use crate::descriptors;

/// Connections, in all and from one address: there are few who ask, and they ask seldom. Who finds
/// no place is answered at the side door.
const PLACES: (usize, usize) = (128, 64);

const TIMES: Times = Times {
    head: Duration::from_secs(10),
    idle: Duration::from_secs(75),
    write: Duration::from_secs(30),
};

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
    let door = Door {
        router: router(metrics, ready),
        turned_away: || StatusCode::SERVICE_UNAVAILABLE.into_response(),
    };
    let places = Arc::new(Places::new(PLACES.0, PLACES.1, descriptors::raise_limit()));
    let never = CancellationToken::new();
    let server = connections::serve(socket, door, places, TIMES, never);
    Ok(AbortOnDropHandle::new(tokio::spawn(server)))
}

/// Whether a path is one of those that say how a process is. They are answered while everything
/// else is refused.
pub fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/metrics")
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

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    /// How many of one address are held: those with a place, and those at the side door.
    const HELD: usize = PLACES.1 + 32;

    async fn serving() -> (AbortOnDropHandle<()>, SocketAddr) {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("bound");
        drop(free);
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let ready: ReadyCheck = Arc::new(|| Box::pin(async { None }));
        let endpoint = serve(address, metrics, ready).await.expect("serving");
        (endpoint, address)
    }

    async fn send(address: SocketAddr, head: &str) -> TcpStream {
        let mut connection = TcpStream::connect(address).await.expect("connected");
        let sent = connection.write_all(head.as_bytes()).await;
        sent.expect("sent");
        connection
    }

    #[tokio::test]
    async fn half_sent_heads_are_held_up_to_a_number_and_health_is_answered_beside_them() {
        let (_endpoint, address) = serving().await;
        let mut half_sent = Vec::new();
        for _ in 0..2 * HELD {
            half_sent.push(send(address, "GET /healthz HTTP/1.1\r\nx-half: ").await);
        }
        let mut answer = String::new();
        let head = "GET /healthz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
        let mut probe = send(address, head).await;
        probe.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        // Those between the first, who have places, and the last, who are at the side door.
        for connection in &mut half_sent[PLACES.1..HELD] {
            let mut rest = Vec::new();
            let cut = timeout(Duration::from_secs(30), connection.read_to_end(&mut rest));
            let _ = cut.await.expect("the eldest gave way");
        }
    }
}
