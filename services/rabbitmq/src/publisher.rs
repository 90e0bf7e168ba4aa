//! Publishing: persistent, mandatory, confirmed, with many messages in flight over few channels.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// While one channel waits for its confirms, the next one publishes.
const CHANNELS: usize = 4;
/// Messages of one channel that wait for confirms together.
const BATCH: usize = 256;

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The broker has it on disk.
    Confirmed,
    /// No queue is bound where it was to go.
    Returned,
    /// The broker could not take it.
    Refused,
    /// The broker, which takes messages, has said nothing about it for too long.
    Unconfirmed,
    /// The channel was closed first, because of this message or of one beside it.
    Doubtful,
    /// The broker will never take it; why.
    Impossible(String),
    /// It may be taken later; what went wrong.
    Failed(String),
    /// The connection was lost first, so nobody knows.
    Unknown,
}

/// A message and where it goes.
#[derive(Debug, Clone)]
pub struct Publication {
    pub exchange: String,
    pub routing_key: String,
    pub properties: BasicProperties,
    pub body: Vec<u8>,
}

/// Publishes over one connection. Cheap to call from many tasks at once.
pub struct Publisher {
    channels: Vec<mpsc::Sender<Entry>>,
    next: AtomicUsize,
    patience: Patience,
}

struct Entry {
    publication: Publication,
    outcome: oneshot::Sender<Outcome>,
}

impl Publisher {
    /// Opens the channels. Cancels `lost` when the connection breaks.
    ///
    /// # Errors
    /// When the broker refuses or is gone.
    pub async fn open(
        connection: &Arc<Connection>,
        confirm_timeout: Duration,
        lost: &CancellationToken,
    ) -> lapin::Result<Self> {
        let patience = Patience {
            connection: Arc::clone(connection),
            confirm_timeout,
        };
        let mut channels = Vec::with_capacity(CHANNELS);
        for _ in 0..CHANNELS {
            let channel = confirming_channel(connection).await?;
            let (sender, entries) = mpsc::channel(BATCH);
            let (lost, patience) = (lost.clone(), patience.clone());
            tokio::spawn(async move {
                let _lost = lost.clone().drop_guard();
                lost.run_until_cancelled(serve_all(channel, entries, patience))
                    .await
            });
            channels.push(sender);
        }
        Ok(Self {
            channels,
            next: AtomicUsize::new(0),
            patience,
        })
    }

    /// Publishes and waits for the broker's word.
    pub async fn publish(&self, publication: Publication) -> Outcome {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let (outcome, answer) = oneshot::channel();
        let entry = Entry {
            publication,
            outcome,
        };
        if self.channels[turn % CHANNELS].send(entry).await.is_err() {
            return Outcome::Unknown;
        }
        answer.await.unwrap_or(Outcome::Unknown)
    }

    /// Publishes over a channel of its own: a queue that takes nothing keeps the confirms of other
    /// queues waiting on the channels that it was published to over.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn publish_alone(&self, publication: &Publication) -> lapin::Result<Outcome> {
        let channel = confirming_channel(&self.patience.connection).await?;
        let confirmation = self.patience.wait(send(&channel, publication)).await?;
        if confirmation.is_some() {
            channel.close(200, "done".into()).await?;
        }
        let returned = returned_ids(confirmation.iter());
        Ok(outcome(publication, confirmation.as_ref(), &returned))
    }
}

async fn confirming_channel(connection: &Connection) -> lapin::Result<Channel> {
    let channel = connection.create_channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    Ok(channel)
}

/// How long to wait for a confirm.
#[derive(Clone)]
struct Patience {
    connection: Arc<Connection>,
    confirm_timeout: Duration,
}

impl Patience {
    /// None when no word comes.
    async fn wait(
        &self,
        confirmation: impl Future<Output = lapin::Result<Confirmation>>,
    ) -> lapin::Result<Option<Confirmation>> {
        let mut confirmation = pin!(confirmation);
        loop {
            match timeout(self.confirm_timeout, confirmation.as_mut()).await {
                Ok(confirmed) => return confirmed.map(Some),
                // Without memory or disk space it takes nothing from anybody, until it has some
                // again.
                Err(_) if self.connection.status().blocked() => {}
                Err(_) => return Ok(None),
            }
        }
    }
}

/// Publishes over one channel after the other: the broker closes a channel for one message that it
/// does not like. Ends when the connection is lost.
async fn serve_all(mut channel: Channel, mut entries: mpsc::Receiver<Entry>, patience: Patience) {
    loop {
        serve(&channel, &mut entries, &patience).await;
        if entries.is_closed() || !patience.connection.status().connected() {
            return;
        }
        metrics::counter!("devart_rabbitmq_channels_closed_total").increment(1);
        match confirming_channel(&patience.connection).await {
            Ok(next) => channel = next,
            Err(_) => return,
        }
    }
}

/// Publishes what has gathered, then waits for all of it. Ends when the channel breaks: all that
/// was under way is in doubt then.
///
/// lapin hands a returned message to whichever confirm comes next, not to its own, so which of a
/// batch came back is known when the last confirm is in and not before.
async fn serve(channel: &Channel, entries: &mut mpsc::Receiver<Entry>, patience: &Patience) {
    let mut batch = Vec::with_capacity(BATCH);
    while entries.recv_many(&mut batch, BATCH).await > 0 {
        let sent = batch
            .iter()
            .map(|entry| patience.wait(send(channel, &entry.publication)));
        let confirmations = join_all(sent).await;
        let is_broken = confirmations.iter().any(Result::is_err);
        if is_broken && !patience.connection.status().connected() {
            return;
        }
        let returned = returned_ids(confirmations.iter().flatten().flatten());
        for (entry, confirmation) in batch.drain(..).zip(confirmations) {
            let outcome = match confirmation {
                Ok(confirmation) if !is_broken => {
                    outcome(&entry.publication, confirmation.as_ref(), &returned)
                }
                // Also what was confirmed: that it came back may have been told with another one.
                _ => Outcome::Doubtful,
            };
            // Whoever asked may have given up meanwhile.
            let _ = entry.outcome.send(outcome);
        }
        if is_broken {
            return;
        }
    }
}

async fn send(channel: &Channel, publication: &Publication) -> lapin::Result<Confirmation> {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    channel
        .basic_publish(
            publication.exchange.as_str().into(),
            publication.routing_key.as_str().into(),
            options,
            &publication.body,
            publication.properties.clone(),
        )
        .await?
        .await
}

/// Returned messages by what tells messages of one batch apart: a task may have several in flight.
fn returned_ids<'a>(
    confirmations: impl Iterator<Item = &'a Confirmation>,
) -> HashSet<(String, String, String)> {
    let messages = confirmations.filter_map(|confirmation| match confirmation {
        Confirmation::Ack(message) | Confirmation::Nack(message) => message.as_ref(),
        Confirmation::NotRequested => None,
    });
    messages.map(id_of_returned).collect()
}

fn id_of_returned(message: &BasicReturnMessage) -> (String, String, String) {
    let delivery = &message.delivery;
    (
        delivery.exchange.to_string(),
        delivery.routing_key.to_string(),
        message_id(&delivery.properties),
    )
}

fn outcome(
    publication: &Publication,
    confirmation: Option<&Confirmation>,
    returned: &HashSet<(String, String, String)>,
) -> Outcome {
    if !returned.is_empty() {
        let id = (
            publication.exchange.clone(),
            publication.routing_key.clone(),
            message_id(&publication.properties),
        );
        if returned.contains(&id) {
            return Outcome::Returned;
        }
    }
    match confirmation {
        None => Outcome::Unconfirmed,
        Some(confirmation) if confirmation.is_ack() => Outcome::Confirmed,
        Some(_) => Outcome::Refused,
    }
}

fn message_id(properties: &BasicProperties) -> String {
    properties
        .message_id()
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default()
}
