//! Queues that somebody deletes: the broker notifies us.
//!
//! Its plugin rabbitmq_event_exchange publishes what happens at the broker to an exchange. Where it
//! is missing, or not for us, deleted queues are found when lanes and queues are next compared.

use std::collections::HashSet;
use std::sync::{Arc, Once, Weak};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Consumer};
use tokio::time::timeout;

use crate::connection::Broker;
use crate::failure::{Harm, harm, is_not_found};
use crate::route::Route;

const EVENTS: &str = "amq.rabbitmq.event";
const QUEUE_DELETED: &str = "queue.deleted";

/// Of more at once the oldest are forgotten, and found later.
const MOST_WAITING: i32 = 10_000;

/// A broker out of memory or disk space answers nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// The deletions at one broker after the other.
#[derive(Default)]
pub struct Deletions {
    /// The last one that was asked.
    broker: Weak<Broker>,
    /// Whether it will not tell.
    is_refused: bool,
    followed: Option<Followed>,
}

struct Followed {
    /// Open for as long as this is there.
    channel: Channel,
    events: Consumer,
    virtual_host: String,
}

impl Deletions {
    /// Listens to this broker from now on, unless it already does, or was refused.
    pub async fn follow(&mut self, broker: &Arc<Broker>) {
        if Weak::as_ptr(&self.broker) == Arc::as_ptr(broker) {
            let is_open = |it: &Followed| it.channel.status().connected();
            if self.is_refused || self.followed.as_ref().is_some_and(is_open) {
                return;
            }
        }
        *self = Self {
            broker: Arc::downgrade(broker),
            ..Self::default()
        };
        match timeout(PATIENCE, open(broker)).await {
            Ok(Ok(followed)) => self.followed = Some(followed),
            Ok(Err(error)) if harm(&error, broker.is_connected()) == Harm::Connection => {}
            Ok(Err(error)) => {
                self.is_refused = true;
                say_why_not(broker, &error);
            }
            Err(_) => {}
        }
    }

    /// Waits for deletions in the broker's virtual host; gives the lanes whose queues they may be.
    pub async fn next(&mut self) -> HashSet<String> {
        loop {
            let Some(followed) = &mut self.followed else {
                return std::future::pending().await;
            };
            let Some(Ok(event)) = followed.events.next().await else {
                self.followed = None;
                continue;
            };
            let lanes = followed.lanes_with(&event);
            if !lanes.is_empty() {
                return lanes;
            }
        }
    }
}

impl Followed {
    /// The lanes of this event, and of those that have come in behind it.
    fn lanes_with(&mut self, event: &Delivery) -> HashSet<String> {
        let mut lanes: HashSet<String> = lane_in(&event.properties, &self.virtual_host)
            .into_iter()
            .collect();
        while let Some(Some(Ok(event))) = self.events.next().now_or_never() {
            lanes.extend(lane_in(&event.properties, &self.virtual_host));
        }
        lanes
    }
}

/// Events of all virtual hosts come to that of the exchange.
fn lane_in(event: &BasicProperties, virtual_host: &str) -> Option<String> {
    let headers = event.headers().as_ref()?.inner();
    let text = |name: &str| Some(headers.get(name)?.as_long_string()?.to_string());
    if text("vhost")? != virtual_host {
        return None;
    }
    Route::lane_of(&text("name")?).map(str::to_owned)
}

async fn open(broker: &Broker) -> lapin::Result<Followed> {
    let channel = broker.channel().await?;
    let queue = channel
        .queue_declare("".into(), for_ourselves(), arguments())
        .await?;
    let queue = queue.name().clone();
    channel
        .queue_bind(
            queue.clone(),
            EVENTS.into(),
            QUEUE_DELETED.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await?;
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let events = channel
        .basic_consume(queue, "".into(), options, FieldTable::default())
        .await?;
    Ok(Followed {
        channel,
        events,
        virtual_host: broker.virtual_host().to_owned(),
    })
}

/// A queue that nobody else sees, and that ends with the connection.
fn for_ourselves() -> QueueDeclareOptions {
    QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    }
}

fn arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    // Whatever the virtual host makes by default: no other kind is exclusive.
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("classic".into()),
    );
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(MOST_WAITING));
    arguments
}

/// Once for each process, however often it connects.
fn say_why_not(broker: &Broker, error: &lapin::Error) {
    static SAID: Once = Once::new();
    let reason = if is_not_found(error) {
        let host = broker.virtual_host();
        format!("its plugin rabbitmq_event_exchange is not enabled for virtual host {host}")
    } else {
        error.to_string()
    };
    SAID.call_once(|| {
        tracing::info!(
            reason,
            "RabbitMQ does not tell of deleted queues ({reason}): they come back when lanes and \
             queues are next compared"
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deletion(queue: &str, virtual_host: &str) -> Option<String> {
        let mut headers = FieldTable::default();
        for (name, value) in [("name", queue), ("vhost", virtual_host)] {
            headers.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        lane_in(&BasicProperties::default().with_headers(headers), "/")
    }

    #[test]
    fn only_queues_of_lanes_in_our_virtual_host_count() {
        assert_eq!(deletion("tasks.todo.a+b", "/").as_deref(), Some("todo.a+b"));
        assert_eq!(deletion("tasks.todo", "other"), None);
        assert_eq!(deletion("amq.gen-x", "/"), None);
        assert_eq!(lane_in(&BasicProperties::default(), "/"), None);
    }
}
