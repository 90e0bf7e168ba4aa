//! The real bridge to RabbitMQ as a process of its own.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use devart_cli::ports;

use super::database::Database;
use super::http::Http;
use super::program::{self, ask_to_stop};
use super::wait::{eventually, within};

/// A running bridge; dropping it kills it.
pub struct Bridge {
    child: Child,
    health: Http,
}

impl Bridge {
    /// A bridge from the test's database to the broker, both of which it reached.
    pub async fn start(database: &Database, broker: &str) -> Result<Self> {
        let mut bridge = Self::launch(&database.bridge_url("rabbitmq"), broker, &[])?;
        bridge.wait_until_ready().await;
        bridge.wait_until_it_looked().await;
        Ok(bridge)
    }

    /// A bridge that need not reach anything yet, with further environment variables.
    pub fn launch(database: &str, broker: &str, variables: &[(&str, &str)]) -> Result<Self> {
        let bind = format!("127.0.0.1:{}", ports::any_free()?);
        let child = Command::new(program::path("devart-rabbitmq")?)
            .env("BRIDGE_BIND", &bind)
            .env("BRIDGE_DATABASE_URL", database)
            .env("RABBITMQ_URL", broker)
            .env("BRIDGE_LANE_CHECK_INTERVAL_MS", "200")
            .env("RUST_LOG", "off")
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .spawn()
            .context("starting devart-rabbitmq")?;
        Ok(Self {
            child,
            health: Http::new(format!("http://{bind}")),
        })
    }

    /// Waits until it has compared all lanes and queues once: a task made before that may be invited
    /// by its message and by the comparison, too.
    pub async fn wait_until_it_looked(&self) {
        eventually("the bridge looks at the lanes", async || {
            self.gauge("devart_rabbitmq_unusable_queues").await
        })
        .await;
    }

    /// Waits until the bridge says that it reaches both sides.
    pub async fn wait_until_ready(&mut self) {
        let (health, child) = (&self.health, &mut self.child);
        eventually("the bridge is ready", async || {
            let ended = child.try_wait().expect("the bridge is our child");
            assert!(ended.is_none(), "devart-rabbitmq ended: {ended:?}");
            let answer = health.get("/readyz").await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    /// Waits until it has tried to connect to the broker and could not.
    pub async fn wait_until_it_failed_to_connect(&self) {
        eventually("the bridge cannot connect", async || {
            let failures = self.counter("devart_rabbitmq_connection_failures_total");
            (failures.await? > 0).then_some(())
        })
        .await;
    }

    /// How many queues it has recreated.
    pub async fn replaced_queues(&self) -> Option<u32> {
        self.counter("devart_rabbitmq_queues_replaced_total").await
    }

    /// How often it has connected to the broker.
    pub async fn connections(&self) -> Option<u32> {
        self.counter("devart_rabbitmq_connections_total").await
    }

    /// The value of a gauge.
    pub async fn gauge(&self, name: &str) -> Option<u32> {
        self.counter(name).await
    }

    /// What it says of its readiness.
    pub async fn readiness(&self) -> Option<String> {
        Some(self.health.get("/readyz").await.ok()?.text)
    }

    /// A metric's value; none as long as nothing was counted.
    async fn counter(&self, name: &str) -> Option<u32> {
        let metrics = self.health.get("/metrics").await.ok()?.text;
        let mut values = metrics.lines().filter_map(|line| {
            let value = line.strip_prefix(name)?.strip_prefix(' ')?;
            value.parse().ok()
        });
        values.next()
    }

    /// Whether it says at this moment that it reaches both sides.
    pub async fn is_ready(&self) -> bool {
        let answer = self.health.get("/readyz").await;
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// Ends it as a supervisor does, and waits.
    pub async fn stop(mut self) -> ExitStatus {
        ask_to_stop(&self.child);
        let child = &mut self.child;
        within(Duration::from_secs(20), "the bridge ends", async || {
            child.try_wait().expect("the bridge is our child")
        })
        .await
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
