//! A channel for questions to the broker whose answer "no" closes it.
//!
//! lapin keeps the error of a closed channel for the channel's number and refuses whoever gets that
//! number next, so each "no" uses up a number of its connection. So this is a connection of its
//! own, which is replaced before its numbers run out.

use std::time::Duration;

use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::time::timeout;

const NAME: &str = "devart-rabbitmq queues";
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// One question at a time.
pub struct Questions {
    address: AMQPUri,
    connection: Option<Connection>,
    /// None while it is taken, and after an answer "no".
    channel: Option<Channel>,
    /// The number of the last channel of this connection.
    last_number: u16,
}

impl Questions {
    pub fn to(address: AMQPUri) -> Self {
        Self {
            address,
            connection: None,
            channel: None,
            last_number: 0,
        }
    }

    /// Takes the channel out. Whoever finds that it still works puts it back.
    ///
    /// # Errors
    /// When the broker refuses or is gone.
    pub async fn take(&mut self) -> lapin::Result<Channel> {
        let is_open = |it: &Channel| it.status().connected();
        if let Some(channel) = self.channel.take().filter(is_open) {
            return Ok(channel);
        }
        let channel = self.connection().await?.create_channel().await?;
        self.last_number = channel.id();
        Ok(channel)
    }

    /// Keeps the channel for the next question.
    pub fn put_back(&mut self, channel: Channel) {
        self.channel = Some(channel);
    }

    async fn connection(&mut self) -> lapin::Result<&Connection> {
        let last_number = self.last_number;
        let is_usable = |it: &Connection| {
            it.status().connected() && last_number < it.configuration().channel_max()
        };
        let connection = match self.connection.take() {
            Some(connection) if is_usable(&connection) => connection,
            worn_out => {
                worn_out.into_iter().for_each(close);
                self.last_number = 0;
                let properties = ConnectionProperties::default().with_connection_name(NAME.into());
                Connection::connect_uri(self.address.clone(), properties).await?
            }
        };
        Ok(self.connection.insert(connection))
    }
}

/// Nobody waits for it.
fn close(connection: Connection) {
    tokio::spawn(async move {
        let _ = timeout(CLOSE_TIMEOUT, connection.close(200, "done".into())).await;
    });
}
