//! What the chaos happens to: database, API, broker, bridge and consumers, all of them real processes.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use devart_cli::cluster::StopMode;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

use super::network::{Network, State};
use crate::support::api::Api;
use crate::support::bridge::Bridge;
use crate::support::broker::Broker;
use crate::support::budget;
use crate::support::cluster::{self, DATABASE, Guarded};
use crate::support::wait::eventually;

const CONSUMERS: usize = 8;
/// Two consumers each, as people run copies of an agent: only the lease tells those apart.
const AGENTS: usize = 4;
/// What half of the agents can do beyond the others.
const CAPABILITY: &str = "deep";
const PRIORITIES: [&str; 4] = ["CRITICAL", "HIGH", "MEDIUM", "LOW"];
/// The rows of one insert.
const BATCH: usize = 500;

/// What the first service may spend; then its substitute pays.
const SMALL_BUDGET: &str = "2";
const LARGE_BUDGET: &str = "1000000";
/// Longer than the leases here, which are of 5 s, and than it takes to rescue the tasks.
const FROZEN: std::ops::Range<u64> = 9_000..12_000;

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    BridgeKilled,
    BrokerKilled,
    BrokerRestarted,
    PostgresCrashed,
    PostgresRestarted,
    ConsumerKilled,
    /// All but one stopped for so long that it does their tasks; then they go on as if nothing had happened.
    /// One of them is of its own agent.
    ConsumersFrozen,
    NetworkCut,
    NetworkSilent,
}

impl Disturbance {
    pub const ALL: [Self; 9] = [
        Self::BridgeKilled,
        Self::BrokerKilled,
        Self::BrokerRestarted,
        Self::PostgresCrashed,
        Self::PostgresRestarted,
        Self::ConsumerKilled,
        Self::ConsumersFrozen,
        Self::NetworkCut,
        Self::NetworkSilent,
    ];
    /// Those that are over in a moment.
    pub const QUICK: [Self; 4] = [
        Self::BridgeKilled,
        Self::ConsumerKilled,
        Self::NetworkCut,
        Self::PostgresCrashed,
    ];
}

/// Everything. The order of the fields is the order in which it ends.
pub struct World {
    consumers: Vec<Consumer>,
    bridge: Option<Bridge>,
    _api: Api,
    broker: Broker,
    pub pool: PgPool,
    cluster: Guarded,
    /// The service that costs of tasks are charged to.
    service: Uuid,
    created: usize,
}

struct Consumer {
    child: Child,
    network: Network,
    variables: Vec<(&'static str, String)>,
    journal: PathBuf,
}

impl World {
    pub async fn create() -> Result<Self> {
        let cluster = cluster::durable().await?;
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .connect(&cluster.url("devart"))
            .await?;
        sqlx::raw_sql(
            "select devart.set_setting('outbox_topics', '[\"rabbitmq.task\"]'),
                    devart.set_setting('lease_seconds', '5'), devart.set_setting('retry_base_seconds', '1')",
        )
        .execute(&pool)
        .await?;
        let database = cluster.authenticator_url(DATABASE);
        let mut world = Self {
            consumers: Vec::new(),
            bridge: None,
            _api: Api::start_with(&database, &[]).await?,
            broker: Broker::start().await?,
            service: services(&pool).await?,
            pool,
            cluster,
            created: 0,
        };
        world.launch_bridge()?;
        let mut keys = Vec::new();
        for number in 0..AGENTS {
            keys.push(register_agent(&world.pool, number).await?);
        }
        for key in keys.iter().cycle().take(CONSUMERS) {
            let consumer = world.consumer(key).await?;
            world.consumers.push(consumer);
        }
        Ok(world)
    }

    fn launch_bridge(&mut self) -> Result<()> {
        let database = self.cluster.bridge_url("rabbitmq", DATABASE);
        let variables = [("OUTBOX_LEASE_SECONDS", "5")];
        self.bridge = Some(Bridge::launch(&database, &self.broker.url(), &variables)?);
        Ok(())
    }

    async fn consumer(&self, key: &str) -> Result<Consumer> {
        let mut network = Network::new();
        let api_port = self
            ._api
            .url
            .rsplit(':')
            .next()
            .context("a port")?
            .parse()?;
        let api = network.lead_to(api_port).await?;
        let broker = network.lead_to(self.broker.port()).await?;
        let broker_port = format!(":{}/", self.broker.port());
        let broker_url = self
            .broker
            .url()
            .replace(&broker_port, &format!(":{broker}/"));
        let journal = std::env::temp_dir().join(format!("devart-chaos-{}", Uuid::now_v7()));
        let variables = vec![
            ("CHAOS_API_URL", format!("http://127.0.0.1:{api}")),
            ("CHAOS_API_KEY", key.to_owned()),
            // A network that has gone silent is given up after four seconds.
            ("CHAOS_RABBITMQ_URL", format!("{broker_url}?heartbeat=2")),
            ("CHAOS_JOURNAL", journal.display().to_string()),
        ];
        Ok(Consumer {
            child: launch(&variables)?,
            network,
            variables,
            journal,
        })
    }

    /// Creates tasks, however often the database goes away meanwhile: each under a key of its own, so that none
    /// is made twice.
    pub async fn create_tasks(&mut self, count: usize, random: &mut StdRng) {
        let last = self.created + count;
        while self.created < last {
            let batch = BATCH.min(last - self.created);
            let tasks: Vec<Value> = (0..batch)
                .map(|n| task(self.created + n, self.service, random))
                .collect();
            let tasks = json!(tasks);
            eventually("the tasks are created", async || {
                self.try_create(&tasks).await.then_some(())
            })
            .await;
            self.created += batch;
        }
    }

    /// False when it is to be tried again. A duplicate says that it worked the last time.
    async fn try_create(&self, tasks: &Value) -> bool {
        let created = sqlx::query("select count(*) from devart.create_tasks($1)")
            .bind(tasks)
            .execute(&self.pool)
            .await;
        match created {
            Ok(_) => true,
            Err(error) => error
                .as_database_error()
                .is_some_and(|error| error.is_unique_violation()),
        }
    }

    /// Lets it go wrong, and mends it.
    pub async fn disturb(&mut self, disturbance: Disturbance, random: &mut StdRng) -> Result<()> {
        let victim = random.random_range(0..CONSUMERS);
        match disturbance {
            Disturbance::BridgeKilled => {
                drop(self.bridge.take());
                pause(random, 0..1_000).await;
                self.launch_bridge()?;
            }
            Disturbance::BrokerKilled => {
                self.broker.kill().await;
                self.broker.resume().await?;
            }
            Disturbance::BrokerRestarted => {
                self.broker.stop().await;
                self.broker.resume().await?;
            }
            Disturbance::PostgresCrashed => self.restart_postgres(StopMode::Immediate)?,
            Disturbance::PostgresRestarted => self.restart_postgres(StopMode::Fast)?,
            Disturbance::ConsumerKilled => self.consumers[victim].restart()?,
            Disturbance::ConsumersFrozen => self.freeze(random).await,
            Disturbance::NetworkCut => self.break_network(victim, State::Cut, random).await,
            Disturbance::NetworkSilent => self.break_network(victim, State::Silent, random).await,
        }
        Ok(())
    }

    fn restart_postgres(&self, mode: StopMode) -> Result<()> {
        tokio::task::block_in_place(|| self.cluster.restart(mode))
    }

    async fn break_network(&self, victim: usize, state: State, random: &mut StdRng) {
        let network = &self.consumers[victim].network;
        network.set(state);
        pause(random, 500..9_000).await;
        network.set(State::Whole);
    }

    async fn freeze(&self, random: &mut StdRng) {
        // The last agent is one of those that can do everything.
        let frozen = &self.consumers[..CONSUMERS - 1];
        frozen.iter().for_each(|one| one.signal(libc::SIGSTOP));
        pause(random, FROZEN).await;
        frozen.iter().for_each(|one| one.signal(libc::SIGCONT));
    }

    /// What the consumers wrote down: what they did, to which task, under which lease.
    pub fn journals(&self) -> Result<Vec<(String, Uuid, Uuid)>> {
        let mut entries = Vec::new();
        for consumer in &self.consumers {
            let text = std::fs::read_to_string(&consumer.journal).unwrap_or_default();
            for line in text.lines() {
                let words: Vec<&str> = line.split(' ').collect();
                entries.push((words[0].to_owned(), words[1].parse()?, words[2].parse()?));
            }
        }
        Ok(entries)
    }
}

/// Gives its key.
async fn register_agent(pool: &PgPool, number: usize) -> Result<String> {
    let capabilities: &[&str] = if number.is_multiple_of(2) {
        &[]
    } else {
        &[CAPABILITY]
    };
    let key = sqlx::query_scalar("select devart.register_agent($1, $2) ->> 'api_key'")
        .bind(format!("agent {number}"))
        .bind(capabilities)
        .fetch_one(pool)
        .await?;
    Ok(key)
}

/// A random time of so many milliseconds.
pub async fn pause(random: &mut StdRng, milliseconds: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(random.random_range(milliseconds))).await;
}

/// A service with a budget that is soon spent, and one that stands in for it then.
async fn services(pool: &PgPool) -> Result<Uuid> {
    let substitute = budget::service(pool, "large", LARGE_BUDGET).await?;
    let small = json!({
        "name": "small", "budget_usd": budget::number(SMALL_BUDGET), "substitute_service_id": substitute,
    });
    Ok(budget::service_with(pool, small).await?)
}

/// Some need what not every agent can do, some fail at first. Of those that cost money some say so, and are started with a
/// hold; for the others the agent asks.
fn task(number: usize, service: Uuid, random: &mut impl Rng) -> Value {
    let capabilities: &[&str] = if random.random_bool(0.2) {
        &[CAPABILITY]
    } else {
        &[]
    };
    let mut task = json!({
        "title": format!("task {number}"),
        "idempotency_key": format!("chaos {number}"),
        "priority": PRIORITIES.choose(random),
        "required_capabilities": capabilities,
        "payload": {"fails_first": random.random_bool(0.03)},
    });
    match random.random_range(0..10) {
        0..2 => {
            task["service_id"] = json!(service);
            task["estimated_cost_usd"] = json!(0.01);
        }
        2..4 => task["payload"]["spends_at"] = json!(service),
        _ => {}
    }
    task
}

impl Consumer {
    fn restart(&mut self) -> Result<()> {
        self.end();
        self.child = launch(&self.variables)?;
        Ok(())
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: the child is ours and was not waited for.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.end();
        let _ = std::fs::remove_file(&self.journal);
    }
}

fn launch(variables: &[(&'static str, String)]) -> Result<Child> {
    Command::new(env!("CARGO_BIN_EXE_chaos-consumer"))
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("starting a consumer")
}
