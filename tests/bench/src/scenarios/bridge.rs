//! How fast messages about tasks reach RabbitMQ, and how long a task waits until an agent that is pushed to works on it.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use devart_kit::http_client;
use devart_tests::broker::Broker;
use futures::{StreamExt, stream};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::Value;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use super::memory::BenchApi;
use super::pickup;
use crate::cluster::BenchCluster;
use crate::compare::{Compared, turns};
use crate::latencies::Latencies;
use crate::report::Report;

const QUEUE: &str = "tasks.todo";
const PAIRS: usize = 3;
const MESSAGES: usize = 20_000;
/// Of the bare publisher; more are not faster.
const IN_FLIGHT: usize = 1_000;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(120);

pub async fn run(cluster: &BenchCluster, seconds: u32, report: &mut Report) -> Result<()> {
    let broker = Broker::start().await?;
    let pool = PgPoolOptions::new()
        .max_connections(4)
        .connect(&cluster.url())
        .await?;
    cluster.sql("select devart.set_setting('outbox_topics', '[\"rabbitmq.task\"]')")?;
    let bridge = BenchBridge::start(cluster, &broker).await?;
    let measured = async {
        throughput(cluster, &broker, &pool, &bridge, report).await?;
        latency(cluster, &broker, &pool, seconds, report).await
    };
    let measured = measured.await;
    cluster.sql("select devart.set_setting('outbox_topics', '[]')")?;
    measured
}

async fn throughput(
    cluster: &BenchCluster,
    broker: &Broker,
    pool: &PgPool,
    bridge: &BenchBridge,
    report: &mut Report,
) -> Result<()> {
    let connection = connect(broker).await?;
    let channel = connection.create_channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    let mut rates = [Vec::new(), Vec::new()];
    for turn in turns(PAIRS) {
        let rate = if turn == 0 {
            bare_rate(&channel).await?
        } else {
            bridge_rate(cluster, pool, bridge).await?
        };
        rates[turn].push(rate);
        channel
            .queue_purge(QUEUE.into(), QueuePurgeOptions::default())
            .await?;
    }
    let compared = Compared::of(&rates[0], &rates[1]);
    report.note(
        "bare lapin publisher with confirms",
        format!("{:.0} messages/s", compared.bare),
    );
    report.judge(
        "outbox to RabbitMQ, 20,000 rows waiting",
        format!("{:.0} messages/s, {}", compared.devart, compared.text()),
        "0.5 of bare",
        compared.ratio() >= 0.5,
    );
    Ok(())
}

/// Messages like the bridge's to the same queue.
async fn bare_rate(channel: &Channel) -> Result<f64> {
    let body = br#"{"task_id":"01890000-0000-7000-8000-000000000000","attempt":1,"title":"bench","priority":"MEDIUM"}"#;
    let started = Instant::now();
    let published = stream::iter(0..MESSAGES).map(|number| publish(channel, body, number));
    let mut confirmed = published.buffered(IN_FLIGHT);
    while let Some(outcome) = confirmed.next().await {
        outcome?;
    }
    Ok(MESSAGES as f64 / started.elapsed().as_secs_f64())
}

async fn publish(channel: &Channel, body: &[u8], number: usize) -> Result<()> {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_priority(2)
        .with_content_type("application/json".into())
        .with_message_id(format!("01890000-0000-7000-8000-000000000000:{number}").into());
    let published = channel.basic_publish(
        "devart.tasks".into(),
        "todo".into(),
        options,
        body,
        properties,
    );
    if published.await?.await?.take_message().is_some() {
        bail!("a message came back");
    }
    Ok(())
}

/// The bridge sleeps while rows are written, and is measured from its awakening to the last acknowledged row.
async fn bridge_rate(cluster: &BenchCluster, pool: &PgPool, bridge: &BenchBridge) -> Result<f64> {
    bridge.signal(libc::SIGSTOP);
    cluster.fill(0)?;
    cluster.sql(&format!(
        "insert into devart.tasks (title) select 'bench' from generate_series(1, {MESSAGES})"
    ))?;
    cluster.sql("vacuum (analyze) devart_private.outbox")?;
    let started = Instant::now();
    bridge.signal(libc::SIGCONT);
    while started.elapsed() < DRAIN_TIMEOUT {
        let waits: bool = sqlx::query_scalar("select exists (select from devart_private.outbox)")
            .fetch_one(pool)
            .await?;
        if !waits {
            return Ok(MESSAGES as f64 / started.elapsed().as_secs_f64());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bail!("the bridge does not drain the outbox")
}

async fn latency(
    cluster: &BenchCluster,
    broker: &Broker,
    pool: &PgPool,
    seconds: u32,
    report: &mut Report,
) -> Result<()> {
    cluster.fill(0)?;
    let api = BenchApi::start(cluster).await?;
    let (_, key) = cluster.register_agent("pushed to")?;
    let (sender, latencies) = mpsc::channel();
    let connection = connect(broker).await?;
    let consumer = tokio::spawn(consume(connection, api.url.clone(), key, sender));
    let measured =
        pickup::enqueue_and_collect(pool, pickup::CREATE_TASK, seconds, &latencies).await;
    consumer.abort();
    pickup::judge(
        report,
        "insert to handler start, over RabbitMQ and API, 50/s",
        &Latencies::of(measured?),
        50.0,
    );
    Ok(())
}

async fn connect(broker: &Broker) -> Result<Connection> {
    Ok(Connection::connect(&broker.url(), ConnectionProperties::default()).await?)
}

/// An agent that starts each task that it gets a message about.
async fn consume(
    connection: Connection,
    api: String,
    key: String,
    latencies: Sender<u64>,
) -> Result<()> {
    let channel = connection.create_channel().await?;
    channel.basic_qos(10, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut messages = channel
        .basic_consume(QUEUE.into(), "".into(), options, FieldTable::default())
        .await?;
    let client = http_client::local().build()?;
    while let Some(message) = messages.next().await {
        let message = message?;
        let body: Value = serde_json::from_slice(&message.data)?;
        let id = body["task_id"].as_str().context("a task")?;
        let started = client
            .post(format!("{api}/api/tasks/{id}/start"))
            .header("x-agent-key", &key)
            .send()
            .await?
            .error_for_status()?;
        let task: Value = started.json().await?;
        let enqueued_at = task["payload"]["enqueued_at_us"]
            .as_u64()
            .context("a time")?;
        latencies.send(pickup::now_us() - enqueued_at)?;
        message.ack(BasicAckOptions::default()).await?;
    }
    bail!("no more messages")
}

/// A running bridge; dropping it ends it.
struct BenchBridge {
    child: Child,
}

impl BenchBridge {
    async fn start(cluster: &BenchCluster, broker: &Broker) -> Result<Self> {
        let bind = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let program = std::env::current_exe()?.with_file_name("devart-rabbitmq");
        let child = Command::new(program)
            .env("BRIDGE_BIND", &bind)
            .env("BRIDGE_DATABASE_URL", cluster.bridge_url())
            .env("RABBITMQ_URL", broker.url())
            .env("RUST_LOG", "warn")
            .stdout(Stdio::null())
            .spawn()
            .context("starting devart-rabbitmq; was it built?")?;
        let bridge = Self { child };
        let connection = connect(broker).await?;
        for _ in 0..200 {
            if bridge.is_ready(&bind, &connection).await {
                return Ok(bridge);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the bridge does not become ready")
    }

    /// It reaches both sides and has made its queue.
    async fn is_ready(&self, bind: &str, connection: &Connection) -> bool {
        let Ok(client) = http_client::local().build() else {
            return false;
        };
        let answer = client.get(format!("http://{bind}/readyz")).send().await;
        if !answer.is_ok_and(|answer| answer.status().is_success()) {
            return false;
        }
        let Ok(channel) = connection.create_channel().await else {
            return false;
        };
        let options = lapin::options::QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        channel
            .queue_declare(QUEUE.into(), options, FieldTable::default())
            .await
            .is_ok()
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: the child is ours and was not waited for.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }
}

impl Drop for BenchBridge {
    fn drop(&mut self) {
        // Nothing can be done about a child that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
