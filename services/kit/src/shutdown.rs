//! Stopping when asked to.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by SIGTERM (a supervisor) or SIGINT (Ctrl-C).
///
/// # Errors
/// When the process cannot install signal handlers.
pub fn on_signal() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // First of all: a log pipe that nobody reads any more must not keep the process from
        // stopping.
        stop.cancel();
        tracing::info!("stopping: nothing new is begun, what is under way is finished");
    });
    Ok(token)
}
