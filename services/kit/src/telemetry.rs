//! Logs on standard output and metrics for Prometheus.

use std::time::Duration;

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, TelemetryArgs};

/// Seconds; from one round trip to the database to the longest long poll.
const DURATION_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// How often the recorder folds its samples; without it they pile up between scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Installs the log subscriber of this process.
///
/// # Errors
/// When the filter is malformed or a subscriber is already installed.
pub fn init_logs(args: &TelemetryArgs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter_or_default(&args.log_filter))
        .with_context(|| format!("RUST_LOG is not a valid filter: {:?}", args.log_filter))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A log pipe that nobody reads any more must not end the process, as a failing eprintln! would.
        .log_internal_errors(false);
    let installed = match args.log_format {
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .try_init(),
        LogFormat::Text => builder.with_ansi(false).try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!("cannot install the log subscriber: {error}"))
}

/// Installs the metrics recorder of this process and keeps it small. Call from within tokio.
///
/// # Errors
/// When a recorder is already installed.
pub fn init_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), DURATION_BUCKETS)?
        .install_recorder()
        .context("cannot install the metrics recorder")?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            interval.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

/// `RUST_LOG=` in an environment file means "not set", not "log nothing".
fn filter_or_default(filter: &str) -> &str {
    match filter.trim() {
        "" => "info",
        filter => filter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_filter_means_info() {
        assert_eq!(filter_or_default(" "), "info");
        assert_eq!(filter_or_default("devart_api=debug"), "devart_api=debug");
    }
}
