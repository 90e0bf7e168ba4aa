//! An agent as the chaos test needs it: consumes from RabbitMQ, works through the HTTP API, and writes down what it did.
//!
//! Each line of its journal is `<what> <id> <lease_token>`: `work` with the task when it does the work, `paid` with the hold when
//! the API accepted a settlement, `done` with the task when it accepted the result. It goes on through every failure until its input ends or it is killed.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use devart_kit::http_client;
use futures::StreamExt;
use futures::stream::select_all;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, Consumer};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::time::{interval, sleep, timeout};
use uuid::Uuid;

const PREFETCH: u16 = 10;
/// Of the API and of the broker; a network that swallows everything must be noticed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// How long the work on a task takes at most, in milliseconds.
const LONGEST_WORK: u64 = 30;
/// So often it asks whether there are new queues.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // Ours ends when the test does, however that ends.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let mut agent = Agent::from_environment()?;
    loop {
        // Whatever it was: begin again.
        let _ = agent.consume().await;
        sleep(RETRY_INTERVAL).await;
    }
}

struct Agent {
    client: Client,
    api: String,
    key: String,
    broker: String,
    journal: File,
}

impl Agent {
    fn from_environment() -> Result<Self> {
        let variable =
            |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
        let journal = variable("CHAOS_JOURNAL")?;
        Ok(Self {
            client: http_client::local().timeout(ANSWER_TIMEOUT).build()?,
            api: variable("CHAOS_API_URL")?,
            key: variable("CHAOS_API_KEY")?,
            broker: variable("CHAOS_RABBITMQ_URL")?,
            journal: OpenOptions::new().create(true).append(true).open(journal)?,
        })
    }

    /// Returns when a connection breaks or there are other queues than before.
    async fn consume(&mut self) -> Result<()> {
        let queues = self.queues().await?;
        let properties = ConnectionProperties::default();
        let connected = Connection::connect(&self.broker, properties);
        let connection = timeout(ANSWER_TIMEOUT, connected).await??;
        let channel = connection.create_channel().await?;
        channel
            .basic_qos(PREFETCH, BasicQosOptions::default())
            .await?;
        let mut consumers: Vec<Consumer> = Vec::new();
        for queue in queues.as_array().context("a list of queues")? {
            let queue = queue.as_str().context("a name")?;
            let options = BasicConsumeOptions::default();
            let consumer =
                channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
            consumers.push(consumer.await?);
        }
        let mut deliveries = select_all(consumers);
        let mut heartbeats = interval(HEARTBEAT_INTERVAL);
        loop {
            tokio::select! {
                delivery = deliveries.next() => {
                    let delivery = delivery.context("no more deliveries")??;
                    self.handle(&delivery).await?;
                    delivery.ack(BasicAckOptions::default()).await?;
                }
                _ = heartbeats.tick() => if self.queues().await? != queues {
                    return Ok(());
                }
            }
        }
    }

    /// Extends no lease: what a killed predecessor held shall come back.
    async fn queues(&self) -> Result<Value> {
        let body = json!({"detail": {"lease_tokens": []}});
        let (status, answer) = self
            .send(Method::PUT, "agents/heartbeat", &body, None)
            .await?;
        if status != 200 {
            bail!("the heartbeat was answered with {status}");
        }
        Ok(answer["queues"].clone())
    }

    /// A refusal means that the message was a duplicate, or late: it is forgotten.
    async fn handle(&mut self, delivery: &Delivery) -> Result<()> {
        let message: Value = serde_json::from_slice(&delivery.data)?;
        let id = message["task_id"].as_str().context("a task")?;
        let (status, task) = self
            .insist(Method::POST, &format!("tasks/{id}/start"), &json!({}))
            .await;
        match status {
            200 => self.work(id, &task).await,
            409 => Ok(()),
            _ => bail!("start was answered with {status}"),
        }
    }

    async fn work(&mut self, id: &str, task: &Value) -> Result<()> {
        let lease = &task["lease_token"];
        if task["payload"]["fails_first"] == true && task["attempt"] == 1 {
            let report = json!({"lease_token": lease, "error": "as it was told"});
            self.insist(Method::POST, &format!("tasks/{id}/report-failure"), &report)
                .await;
            return Ok(());
        }
        self.note("work", id, lease)?;
        let hold = self.set_aside(id, task).await;
        sleep(Duration::from_millis(rand::random_range(0..LONGEST_WORK))).await;
        if let Some(hold) = hold {
            self.pay(&hold, lease).await?;
        }
        let change = json!({"status": "DONE", "lease_token": lease});
        let (status, _) = self
            .insist(Method::PUT, &format!("tasks/{id}/status"), &change)
            .await;
        if status == 200 {
            self.note("done", id, lease)?;
        }
        Ok(())
    }

    /// The hold that the task came with, or one of its own.
    async fn set_aside(&self, id: &str, task: &Value) -> Option<String> {
        let service = &task["payload"]["spends_at"];
        if service.is_null() {
            return task["hold_id"].as_str().map(str::to_owned);
        }
        let request = json!({
            "service_id": service, "task_id": id, "lease_token": task["lease_token"], "estimate_usd": 0.01, "ask": false,
        });
        let (_, answer) = self.insist(Method::POST, "tasks/dispatch", &request).await;
        answer["hold_id"].as_str().map(str::to_owned)
    }

    /// Settles, at times above the hold; releases some, and forgets some.
    async fn pay(&mut self, hold: &str, lease: &Value) -> Result<()> {
        match rand::random_range(0..10) {
            0 => Ok(()),
            1 => {
                self.insist(Method::POST, &format!("charges/{hold}/release"), &json!({}))
                    .await;
                Ok(())
            }
            _ => {
                let cost = json!({"amount_usd": f64::from(rand::random_range(1..15)) / 1_000.0});
                let (status, _) = self
                    .insist(Method::POST, &format!("charges/{hold}/settle"), &cost)
                    .await;
                if status == 200 {
                    self.note("paid", hold, lease)?;
                }
                Ok(())
            }
        }
    }

    fn note(&mut self, what: &str, id: &str, lease: &Value) -> Result<()> {
        let line = format!("{what} {id} {}\n", lease.as_str().context("a lease")?);
        Ok(self.journal.write_all(line.as_bytes())?)
    }

    /// Repeats a request until there is an answer that will not change, always under the same key.
    async fn insist(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let key = Uuid::now_v7().to_string();
        loop {
            match self.send(method.clone(), path, body, Some(&key)).await {
                Ok((status, answer)) if status < 500 && status != 429 => return (status, answer),
                _ => sleep(RETRY_INTERVAL).await,
            }
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        key: Option<&str>,
    ) -> Result<(u16, Value)> {
        let mut request = self
            .client
            .request(method, format!("{}/api/{path}", self.api))
            .header("x-agent-key", &self.key)
            .json(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or_default()))
    }
}
