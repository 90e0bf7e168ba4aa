//! Runs pgbench, whose own cost is small, and reads what it says.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use devart_cli::postgres::Postgres;

use crate::cluster::BenchCluster;

/// One run of a script.
pub struct Run<'a> {
    pub script: &'a str,
    pub clients: u32,
    pub length: Length,
    /// The agent that claims, as a pgbench variable.
    pub agent: &'a str,
}

/// How long a run goes on.
#[derive(Clone, Copy)]
pub enum Length {
    Seconds(u32),
    /// So many runs of the script by each client.
    Transactions(u32),
}

/// What a run gave.
pub struct Measured {
    /// Transactions (runs of the script) per second.
    pub tps: f64,
    /// Latencies of all runs of the script in microseconds, sorted.
    latencies_us: Vec<u64>,
}

impl Measured {
    /// A percentile (0 to 100) of the latencies, in milliseconds.
    pub fn percentile_ms(&self, percentile: f64) -> f64 {
        percentile_of(&self.latencies_us, percentile) as f64 / 1e3
    }
}

/// A percentile (0 to 100) of sorted values, by the nearest rank; 0 for none.
pub fn percentile_of(sorted: &[u64], percentile: f64) -> u64 {
    let rank = (percentile / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.max(1) - 1)
        .or(sorted.last())
        .copied()
        .unwrap_or(0)
}

impl Run<'_> {
    /// Runs the script with prepared statements, two threads and a log of every latency.
    pub fn measure(&self, cluster: &BenchCluster) -> Result<Measured> {
        self.measure_at(&cluster.url())
    }

    /// The same as whoever the URL says.
    pub fn measure_at(&self, url: &str) -> Result<Measured> {
        let dir = std::env::temp_dir().join(format!("devart-bench-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let script = dir.join("script.sql");
        fs::write(&script, self.script)?;
        let output = Command::new(Postgres::require()?.bin("pgbench"))
            .args(["--no-vacuum", "--protocol=prepared", "--log", "--jobs=2"])
            .arg(format!("--log-prefix={}", dir.join("latency").display()))
            .arg(format!("--client={}", self.clients))
            .arg(match self.length {
                Length::Seconds(seconds) => format!("--time={seconds}"),
                Length::Transactions(count) => format!("--transactions={count}"),
            })
            .arg(format!("--define=agent={}", self.agent))
            .arg(format!("--file={}", script.display()))
            .arg(url)
            .output()
            .context("running pgbench")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!(
                "pgbench failed: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let measured = Measured {
            tps: tps_of(&text)?,
            latencies_us: latencies(&dir)?,
        };
        fs::remove_dir_all(&dir)?;
        Ok(measured)
    }
}

fn tps_of(output: &str) -> Result<f64> {
    let line = output.lines().find_map(|line| line.strip_prefix("tps = "));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number
        .context("pgbench printed no tps")?
        .parse()
        .context("reading tps")
}

/// The third column of pgbench's logs, one file per thread.
fn latencies(dir: &std::path::Path) -> Result<Vec<u64>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("latency"))
        {
            let log = fs::read_to_string(path)?;
            all.extend(
                log.lines()
                    .filter_map(|line| line.split(' ').nth(2)?.parse::<u64>().ok()),
            );
        }
    }
    all.sort_unstable();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile_of(&values, 50.0), 50);
        assert_eq!(percentile_of(&values, 99.0), 99);
        assert_eq!(percentile_of(&values, 100.0), 100);
        assert_eq!(percentile_of(&[], 99.0), 0);
    }
}
