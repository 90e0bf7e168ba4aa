//! The connection to the broker: re-established, with backoff, whenever it is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use devart_kit::reconnect::Pauses;
use futures::StreamExt;
use lapin::options::BasicPublishOptions;
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::greeting;
use crate::publisher::Publisher;
use crate::queue_type::QueueType;
use crate::topology::Topology;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// Not every way in which a connection ends is reported as an event.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// Of a memory or disk alarm the broker tells only those who publish, so something is published now
/// and then to nobody.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
const PROBE: &str = "devart.probe";

/// A broker that can be published to until it is lost.
pub struct Broker {
    pub topology: Topology,
    pub publisher: Publisher,
    virtual_host: String,
    connection: Arc<Connection>,
    lost: CancellationToken,
}

impl Broker {
    async fn connect(address: &AMQPUri, confirm_timeout: Duration) -> anyhow::Result<Self> {
        let version = greeting::version(address).await?;
        let properties =
            ConnectionProperties::default().with_connection_name("devart-rabbitmq".into());
        let connection = Arc::new(Connection::connect_uri(address.clone(), properties).await?);
        let lost = CancellationToken::new();
        let publisher = Publisher::open(&connection, confirm_timeout, &lost).await?;
        tokio::spawn(tell_loss(Arc::clone(&connection), lost.clone()));
        Ok(Self {
            topology: Topology::new(address.clone(), QueueType::of(version)),
            publisher,
            virtual_host: address.vhost.clone(),
            connection,
            lost,
        })
    }

    /// A channel of one's own.
    ///
    /// # Errors
    /// When the broker refuses or is gone.
    pub async fn channel(&self) -> lapin::Result<Channel> {
        self.connection.create_channel().await
    }

    /// The name of the virtual host that all this is in.
    pub fn virtual_host(&self) -> &str {
        &self.virtual_host
    }

    /// Whether the connection was lost, as far as it is known.
    pub fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }

    /// Whether the connection is there, by its own word.
    pub fn is_connected(&self) -> bool {
        self.connection.status().connected()
    }

    /// Whether the broker, out of memory or disk space, takes nothing from anybody.
    pub fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Gives the connection up, for somebody found that it does not work.
    pub fn give_up(&self) {
        self.lost.cancel();
    }

    async fn close(&self) {
        self.lost.cancel();
        let closed = self.connection.close(200, "stopping".into());
        // A broker that does not answer finds out by itself.
        let _ = timeout(CLOSE_TIMEOUT, closed).await;
    }
}

async fn tell_loss(connection: Arc<Connection>, lost: CancellationToken) {
    let mut events = connection.events_listener();
    let mut ticks = interval(STATUS_INTERVAL);
    let mut probe = Probe::default();
    while connection.status().connected() && !lost.is_cancelled() {
        tokio::select! {
            // Channels report their ends too; the connection's status says which it was.
            _ = events.next() => {}
            _ = ticks.tick() => probe.send_when_due(&connection).await,
            () = lost.cancelled() => {}
        }
        let is_blocked = f64::from(u8::from(connection.status().blocked()));
        metrics::gauge!("devart_rabbitmq_blocked").set(is_blocked);
    }
    metrics::gauge!("devart_rabbitmq_blocked").set(0.0);
    lost.cancel();
}

/// What makes the broker tell of an alarm.
#[derive(Default)]
struct Probe {
    channel: Option<Channel>,
    sent_at: Option<Instant>,
}

impl Probe {
    async fn send_when_due(&mut self, connection: &Connection) {
        let is_due = self.sent_at.is_none_or(|it| it.elapsed() >= PROBE_INTERVAL);
        if is_due && !connection.status().blocked() {
            self.sent_at = Some(Instant::now());
            // What goes wrong with the connection is noticed elsewhere.
            let _ = timeout(STATUS_INTERVAL, self.send(connection)).await;
        }
    }

    async fn send(&mut self, connection: &Connection) -> lapin::Result<()> {
        let is_open = |it: &Channel| it.status().connected();
        let channel = match self.channel.take().filter(is_open) {
            Some(channel) => channel,
            None => connection.create_channel().await?,
        };
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let sent = channel.basic_publish("".into(), PROBE.into(), options, b"", properties);
        sent.await?;
        self.channel = Some(channel);
        Ok(())
    }
}

/// The broker of the moment; none while it is away.
pub type BrokerWatch = watch::Receiver<Option<Arc<Broker>>>;

/// Keeps a connection until it is closed.
pub struct Keeper {
    brokers: BrokerWatch,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Connects, and connects again whenever the connection is lost. A message that is not confirmed
/// within `confirm_timeout` by a broker that takes messages counts as unconfirmed.
pub fn keep(address: AMQPUri, confirm_timeout: Duration) -> Keeper {
    let (sender, brokers) = watch::channel(None);
    let stop = CancellationToken::new();
    let task = tokio::spawn(run(address, confirm_timeout, sender, stop.clone()));
    Keeper {
        brokers,
        stop,
        task,
    }
}

impl Keeper {
    /// Follows the connection from now on.
    pub fn subscribe(&self) -> BrokerWatch {
        self.brokers.clone()
    }

    /// Closes the connection in order.
    pub async fn close(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

async fn run(
    address: AMQPUri,
    confirm_timeout: Duration,
    brokers: watch::Sender<Option<Arc<Broker>>>,
    stop: CancellationToken,
) {
    let mut pauses = Pauses::new(FIRST_BACKOFF, LONGEST_BACKOFF);
    while !stop.is_cancelled() {
        let began_at = Instant::now();
        match connect(&address, confirm_timeout).await {
            Ok(broker) => serve(Arc::new(broker), &brokers, &stop).await,
            Err(error) => {
                metrics::counter!("devart_rabbitmq_connection_failures_total").increment(1);
                tracing::warn!(
                    error = format!("{error:#}"),
                    "cannot connect to RabbitMQ, trying again: {error:#}"
                );
            }
        }
        let pause = pauses.after(began_at.elapsed());
        let jitter = rand::random_range(1.0..1.5);
        stop.run_until_cancelled(sleep(pause.mul_f64(jitter))).await;
    }
}

async fn connect(address: &AMQPUri, confirm_timeout: Duration) -> anyhow::Result<Broker> {
    timeout(CONNECT_TIMEOUT, Broker::connect(address, confirm_timeout))
        .await
        .context("no answer")?
}

/// Offers the broker until it is lost.
async fn serve(
    broker: Arc<Broker>,
    brokers: &watch::Sender<Option<Arc<Broker>>>,
    stop: &CancellationToken,
) {
    tracing::info!(queues = ?broker.topology.queue_type(), "connected to RabbitMQ");
    metrics::counter!("devart_rabbitmq_connections_total").increment(1);
    metrics::gauge!("devart_rabbitmq_connected").set(1.0);
    brokers.send_replace(Some(Arc::clone(&broker)));
    tokio::select! {
        () = broker.lost.cancelled() => tracing::warn!("lost the connection to RabbitMQ"),
        () = stop.cancelled() => {}
    }
    metrics::gauge!("devart_rabbitmq_connected").set(0.0);
    brokers.send_replace(None);
    broker.close().await;
}
