//! How many tasks an agent with one task in hand gets done through SDK and API.

use anyhow::{Context, Result, ensure};

use super::memory::BenchApi;
use super::pickup::python_agent;
use crate::cluster::BenchCluster;
use crate::report::Report;

/// More than an agent can do in a measurement.
const TASKS: u32 = 100_000;

pub async fn run(cluster: &BenchCluster, seconds: u32, report: &mut Report) -> Result<()> {
    cluster.fill(TASKS)?;
    let api = BenchApi::start(cluster).await?;
    let (_, key) = cluster.register_agent("round trips")?;
    let output = python_agent("round_trip_agent.py", &api.url, &key)
        .arg(seconds.to_string())
        .output()
        .context("starting the agent; did `devart setup` run?")?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tasks: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
    report.note(
        "claim and complete by SDK and API, one agent",
        format!("{tasks:.0} tasks/s, {:.0} round trips/s", 2.0 * tasks),
    );
    Ok(())
}
