//! How much memory the API takes while nothing happens.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cluster::BenchCluster;
use crate::report::Report;

pub async fn run(cluster: &BenchCluster, report: &mut Report) -> Result<()> {
    let api = BenchApi::start(cluster).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let megabytes = api.resident_megabytes()?;
    report.judge(
        "memory of the idle API",
        format!("{megabytes:.0} MB"),
        "under 60 MB",
        megabytes < 60.0,
    );
    Ok(())
}

/// What the API of the bench checks tokens with.
pub const JWT_SECRET: &str = "a secret of the benchmark, long enough";

/// A running API on the bench's database; dropping it ends it.
pub struct BenchApi {
    child: Child,
    pub url: String,
}

impl BenchApi {
    pub async fn start(cluster: &BenchCluster) -> Result<Self> {
        Self::start_with(cluster, &[]).await
    }

    /// With further environment variables.
    pub async fn start_with(cluster: &BenchCluster, variables: &[(&str, &str)]) -> Result<Self> {
        let bind = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let program = std::env::current_exe()?.with_file_name("devart-api");
        let child = Command::new(program)
            .env("API_BIND", &bind)
            .env("API_DATABASE_URL", cluster.authenticator_url())
            .env("SUPABASE_JWT_SECRET", JWT_SECRET)
            .env("RUST_LOG", "warn")
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .spawn()
            .context("starting devart-api; was it built?")?;
        let api = BenchApi {
            child,
            url: format!("http://{bind}"),
        };
        api.wait_until_ready().await?;
        Ok(api)
    }

    async fn wait_until_ready(&self) -> Result<()> {
        let mut last_error = None;
        for _ in 0..200 {
            match reqwest::get(format!("{}/readyz", self.url)).await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => {
                    last_error = Some(anyhow::anyhow!("readyz answers {}", answer.status()))
                }
                Err(error) => last_error = Some(error.into()),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(last_error.context("no answer")?).context("the API does not become ready")
    }

    fn resident_megabytes(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes: f64 = line
            .and_then(|rest| rest.split_whitespace().next())
            .context("no VmRSS")?
            .parse()?;
        Ok(kilobytes / 1024.0)
    }
}

impl Drop for BenchApi {
    fn drop(&mut self) {
        // Nothing can be done about a child that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
