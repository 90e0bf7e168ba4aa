//! The cluster that is measured: private, durable, with Postgres' own defaults.

use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use devart_cli::cluster::ClusterOptions;
use devart_tests::cluster::{DATABASE, Guarded, migrate_with_logins};

/// A migrated database with the bare tables beside it.
pub struct BenchCluster {
    cluster: Arc<Guarded>,
    database: &'static str,
}

impl BenchCluster {
    pub async fn start() -> Result<Self> {
        let cluster = Arc::new(Guarded::empty(ClusterOptions::default())?);
        let bench = Self::prepare(cluster, DATABASE).await?;
        bench.cluster.notifier(None).await;
        Ok(bench)
    }

    /// The same once more in the same server, in another database, which the notifier does not serve: wake-ups are plain
    /// NOTIFY there.
    pub async fn with_plain_notify(&self, database: &'static str) -> Result<Self> {
        self.cluster.create_database(database)?;
        Self::prepare(Arc::clone(&self.cluster), database).await
    }

    async fn prepare(cluster: Arc<Guarded>, database: &'static str) -> Result<Self> {
        migrate_with_logins(&cluster.url(database)).await?;
        let bench = BenchCluster { cluster, database };
        bench.sql(include_str!("../sql/bare.sql"))?;
        Ok(bench)
    }

    pub fn url(&self) -> String {
        self.cluster.url(self.database)
    }

    pub fn authenticator_url(&self) -> String {
        self.cluster.authenticator_url(self.database)
    }

    /// For sessions that act for a caller from beginning to end.
    pub fn url_of_caller(&self, role: &str, claims: &str) -> String {
        let settings = format!("-c role={role} -c request.jwt.claims={claims}");
        let options: String = settings
            .bytes()
            .map(|byte| format!("%{byte:02x}"))
            .collect();
        format!("{}?options={options}", self.authenticator_url())
    }

    pub fn bridge_url(&self) -> String {
        self.cluster.bridge_url("rabbitmq", self.database)
    }

    /// Runs SQL as the owner and gives what it prints.
    pub fn sql(&self, sql: &str) -> Result<String> {
        let output = self
            .cluster
            .psql(self.database, sql)
            .with_context(|| format!("running {sql}"))?;
        Ok(output.trim().to_owned())
    }

    /// Empties the queues and fills them with `tasks` waiting ones each, then lets the server settle,
    /// so that no measurement pays for the preparation of another.
    pub fn fill(&self, tasks: u32) -> Result<()> {
        self.sql("truncate devart.tasks, devart.task_dependencies, devart.task_events, bare.queue, bare.plain, bare.woken, bare.notified")?;
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
            "bare.woken",
            "bare.notified",
        ] {
            self.sql(&format!("vacuum (analyze) {table}"))?;
        }
        self.sql("checkpoint")?;
        Ok(())
    }

    /// Does at once what autovacuum and the kernel would do some time in the next minute because of how this database
    /// was made: for what is measured on an idle system.
    pub fn come_to_rest(&self) -> Result<()> {
        self.sql("vacuum (analyze)")?;
        self.sql("checkpoint")?;
        let synced = Command::new("sync").status()?;
        ensure!(synced.success(), "sync failed");
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
