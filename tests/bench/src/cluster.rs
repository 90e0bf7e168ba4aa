//! The cluster that is measured: private, durable, with Postgres' own defaults.

use anyhow::{Context, Result};
use devart_cli::cluster::{Cluster, ClusterOptions};
use devart_cli::migrate;

const DATABASE: &str = "devart";
const AUTHENTICATOR_PASSWORD: &str = "authenticator";
const BRIDGE_ROLE: &str = "devart_bridge_rabbitmq";
const BRIDGE_PASSWORD: &str = "bridge";

/// A migrated database with the bare tables beside it.
pub struct BenchCluster {
    cluster: Cluster,
}

impl BenchCluster {
    pub async fn start() -> Result<Self> {
        let cluster = Cluster::temporary(ClusterOptions::default())?;
        let url = cluster.url(DATABASE);
        migrate::migrate(&url).await?;
        migrate::set_login_password(&url, "authenticator", AUTHENTICATOR_PASSWORD).await?;
        migrate::set_login_password(&url, BRIDGE_ROLE, BRIDGE_PASSWORD).await?;
        let bench = BenchCluster { cluster };
        bench.sql(include_str!("../sql/bare.sql"))?;
        Ok(bench)
    }

    pub fn url(&self) -> String {
        self.cluster.url(DATABASE)
    }

    pub fn authenticator_url(&self) -> String {
        self.cluster
            .url_as("authenticator", AUTHENTICATOR_PASSWORD, DATABASE)
    }

    pub fn bridge_url(&self) -> String {
        self.cluster.url_as(BRIDGE_ROLE, BRIDGE_PASSWORD, DATABASE)
    }

    /// Runs SQL as the owner and gives what it prints.
    pub fn sql(&self, sql: &str) -> Result<String> {
        let output = self
            .cluster
            .psql(DATABASE, sql)
            .with_context(|| format!("running {sql}"))?;
        Ok(output.trim().to_owned())
    }

    /// Empties the queues and fills them with `tasks` waiting ones each, then lets the server settle,
    /// so that no measurement pays for the preparation of another.
    pub fn fill(&self, tasks: u32) -> Result<()> {
        self.sql("truncate devart.tasks, devart.task_dependencies, devart.task_events, bare.queue, bare.plain")?;
        self.sql(&format!(
            "insert into bare.queue select from generate_series(1, {tasks})"
        ))?;
        self.sql(&format!(
            "insert into devart.tasks (title) select 'bench' from generate_series(1, {tasks})"
        ))?;
        self.settle()
    }

    /// Vacuums, analyzes and checkpoints.
    pub fn settle(&self) -> Result<()> {
        for table in [
            "devart.tasks",
            "devart.task_events",
            "bare.queue",
            "bare.plain",
        ] {
            self.sql(&format!("vacuum (analyze) {table}"))?;
        }
        self.sql("checkpoint")?;
        Ok(())
    }

    /// Registers an agent and gives its id and key.
    pub fn register_agent(&self, name: &str) -> Result<(String, String)> {
        let row = self.sql(&format!(
            "select (a ->> 'id') || ' ' || (a ->> 'api_key') from devart.register_agent('{name}') a"
        ))?;
        let (id, key) = row.split_once(' ').context("register_agent gave no key")?;
        Ok((id.to_owned(), key.to_owned()))
    }
}
