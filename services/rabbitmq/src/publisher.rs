//! Publishing: persistent, mandatory, confirmed, with many messages in flight over few channels.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio::sync::{mpsc, oneshot};
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
    /// The connection was lost first, so nobody knows.
    Unknown,
}

/// A message and where it goes.
#[derive(Debug)]
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
}

struct Entry {
    publication: Publication,
    outcome: oneshot::Sender<Outcome>,
}

impl Publisher {
    /// Opens the channels. Cancels `lost` when one of them breaks.
    ///
    /// # Errors
    /// When the broker refuses or is gone.
    pub async fn open(connection: &Connection, lost: &CancellationToken) -> lapin::Result<Self> {
        let mut channels = Vec::with_capacity(CHANNELS);
        for _ in 0..CHANNELS {
            let channel = connection.create_channel().await?;
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await?;
            let (sender, entries) = mpsc::channel(BATCH);
            let lost = lost.clone();
            tokio::spawn(async move {
                let _lost = lost.clone().drop_guard();
                lost.run_until_cancelled(serve(channel, entries)).await
            });
            channels.push(sender);
        }
        Ok(Self {
            channels,
            next: AtomicUsize::new(0),
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
}

/// Publishes what has gathered, then waits for all of it. Ends when the channel breaks.
///
/// lapin hands a returned message to whichever confirm comes next, not to its own, so which of a batch came
/// back is known when the last confirm is in and not before.
async fn serve(channel: Channel, mut entries: mpsc::Receiver<Entry>) {
    let mut batch = Vec::with_capacity(BATCH);
    while entries.recv_many(&mut batch, BATCH).await > 0 {
        let sent = batch.iter().map(|entry| send(&channel, &entry.publication));
        let Ok(confirmations) = join_all(sent)
            .await
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
        else {
            return;
        };
        let returned = returned_ids(&confirmations);
        for (entry, confirmation) in batch.drain(..).zip(confirmations) {
            let outcome = outcome(&entry.publication, &confirmation, &returned);
            // Whoever asked may have given up meanwhile.
            let _ = entry.outcome.send(outcome);
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
fn returned_ids(confirmations: &[Confirmation]) -> HashSet<(String, String, String)> {
    let messages = confirmations
        .iter()
        .filter_map(|confirmation| match confirmation {
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
    confirmation: &Confirmation,
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
    if confirmation.is_ack() {
        Outcome::Confirmed
    } else {
        Outcome::Refused
    }
}

fn message_id(properties: &BasicProperties) -> String {
    properties
        .message_id()
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default()
}
