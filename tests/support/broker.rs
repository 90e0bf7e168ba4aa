//! What an agent sees of RabbitMQ.

use anyhow::{Context, Result};
use devart_tests::broker::connect;
pub use devart_tests::broker::{Broker, nobodys_url};
use lapin::options::{
    BasicGetOptions, ExchangeDeclareOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection};
use serde_json::Value;
use uuid::Uuid;

use super::wait::eventually;

/// A message as an agent gets it.
#[derive(Debug)]
pub struct Message {
    pub properties: BasicProperties,
    pub body: Value,
    acker: lapin::Acker,
}

impl Message {
    /// The task that it is about.
    pub fn task_id(&self) -> Uuid {
        let id = self.body["task_id"].as_str().expect("a string");
        id.parse().expect("a UUID")
    }

    /// The text of a header.
    pub fn header(&self, name: &str) -> Option<String> {
        let headers = self.properties.headers().as_ref()?;
        let value = headers.inner().get(name)?.as_long_string()?;
        Some(value.to_string())
    }

    /// Tells the broker that it was handled.
    pub async fn acknowledge(self) -> lapin::Result<()> {
        self.acker.ack(Default::default()).await.map(drop)
    }
}

/// Whether a queue of this broker gives what is most urgent first, and not only what is critical.
pub fn tells_all_priorities() -> Result<bool> {
    let mut versions = std::fs::read_dir("/usr/lib/rabbitmq/lib")?.filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let mut numbers = name.strip_prefix("rabbitmq_server-")?.split('.');
        let mut number = || numbers.next()?.parse::<u32>().ok();
        Some((number()?, number()?))
    });
    let version = versions.next().context("RabbitMQ is not installed")?;
    Ok(!((4, 0)..(4, 3)).contains(&version))
}

/// An agent's look at the queues of one virtual host.
pub struct Queues {
    url: String,
    /// Keeps the channel open.
    _connection: Connection,
    channel: Channel,
}

impl Queues {
    pub async fn open(url: &str) -> lapin::Result<Self> {
        let connection = connect(url).await?;
        let channel = connection.create_channel().await?;
        Ok(Self {
            url: url.to_owned(),
            _connection: connection,
            channel,
        })
    }

    /// The next message of a queue, unacknowledged; none when it is empty.
    pub async fn get(&self, queue: &str) -> lapin::Result<Option<Message>> {
        let options = BasicGetOptions { no_ack: false };
        let message = self.channel.basic_get(queue.into(), options).await?;
        Ok(message.map(|message| Message {
            properties: message.properties.clone(),
            body: serde_json::from_slice(&message.data).expect("bodies are JSON"),
            acker: message.delivery.acker,
        }))
    }

    /// Waits for the next message of a queue.
    pub async fn next(&self, queue: &str) -> Message {
        eventually(&format!("a message comes into {queue}"), async || {
            // The queue may be made with its first message, and asking a missing one closes the channel.
            self.count(queue).await.filter(|count| *count > 0)?;
            self.get(queue).await.expect("the queue is there")
        })
        .await
    }

    /// How many messages wait in a queue; none when there is no such queue.
    pub async fn count(&self, queue: &str) -> Option<u32> {
        Some(self.find(queue).await?.message_count())
    }

    /// How many consumers a queue has; none when there is no such queue.
    pub async fn consumers(&self, queue: &str) -> Option<u32> {
        Some(self.find(queue).await?.consumer_count())
    }

    async fn find(&self, queue: &str) -> Option<lapin::Queue> {
        // The answer "no" closes the channel, whose number is then lost to its connection.
        let connection = connect(&self.url).await.expect("a connection");
        let channel = connection.create_channel().await.expect("a channel");
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let found = channel
            .queue_declare(queue.into(), options, FieldTable::default())
            .await;
        found.ok()
    }

    /// Waits until so many messages wait in a queue.
    pub async fn wait_for_count(&self, queue: &str, count: u32) {
        let mut last = None;
        eventually(&format!("{count} messages wait in {queue}"), async || {
            let now = self.count(queue).await;
            if now != last {
                eprintln!("{queue}: {now:?}");
                last = now;
            }
            (now == Some(count)).then_some(())
        })
        .await;
    }

    /// Puts a message of one's own into a queue.
    pub async fn put(&self, queue: &str, body: &Value) -> lapin::Result<()> {
        let body = body.to_string();
        self.channel
            .basic_publish(
                "".into(),
                queue.into(),
                Default::default(),
                body.as_bytes(),
                BasicProperties::default(),
            )
            .await
            .map(drop)
    }

    /// Makes a quorum queue.
    pub async fn make_quorum_queue(&self, queue: &str) -> lapin::Result<()> {
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let mut arguments = FieldTable::default();
        arguments.insert(
            "x-queue-type".into(),
            AMQPValue::LongString("quorum".into()),
        );
        let made = self.channel.queue_declare(queue.into(), options, arguments);
        made.await.map(drop)
    }

    /// Holds a queue, so that nobody else may use it, until this is dropped.
    pub async fn hold(&self, queue: &str) -> lapin::Result<()> {
        let options = QueueDeclareOptions {
            exclusive: true,
            ..QueueDeclareOptions::default()
        };
        let held = self
            .channel
            .queue_declare(queue.into(), options, FieldTable::default());
        held.await.map(drop)
    }

    /// Makes an exchange of this kind.
    pub async fn make_exchange(&self, name: &str, kind: lapin::ExchangeKind) -> lapin::Result<()> {
        let options = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let made = self
            .channel
            .exchange_declare(name.into(), kind, options, FieldTable::default());
        made.await
    }

    /// Deletes an exchange.
    pub async fn delete_exchange(&self, name: &str) -> lapin::Result<()> {
        self.channel
            .exchange_delete(name.into(), Default::default())
            .await
    }

    /// Waits until messages wait in a queue.
    pub async fn wait_for_some(&self, queue: &str) {
        eventually(&format!("messages wait in {queue}"), async || {
            self.count(queue).await.filter(|count| *count > 0).map(drop)
        })
        .await;
    }

    /// Deletes a queue with all that is in it.
    pub async fn delete(&self, queue: &str) -> lapin::Result<()> {
        let options = QueueDeleteOptions::default();
        self.channel
            .queue_delete(queue.into(), options)
            .await
            .map(drop)
    }
}
