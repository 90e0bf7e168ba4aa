//! What people are told during the demo, read from the stand-in for Telegram that the installation
//! runs as long as it has no bot's token.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use devart_kit::http_client;
use reqwest::Client;
use sqlx::PgConnection;

use super::steps::Steps;
use crate::installation::Installation;
use crate::layout::Layout;
use crate::ports::Ports;
use crate::stand_in::telegram::{self, Message};

/// How long an alert may be under way. Telegram may take its time; our stand-in does not.
const PATIENCE: Duration = Duration::from_secs(30);

/// The alerts that come from now on.
pub struct Alerts {
    database: PgConnection,
    stand_in: Option<StandIn>,
}

struct StandIn {
    client: Client,
    url: String,
    seen: usize,
}

impl Alerts {
    /// Begins to listen.
    pub async fn open(layout: &Layout) -> Result<Self> {
        let installation = Installation::open(layout)?;
        let database = installation.connect().await?;
        let mut stand_in = None;
        if !installation.has(telegram::STAND_IN.instead_of) {
            let ports = Ports::recorded(&layout.ports_file()).context("no ports are recorded")?;
            let port = ports.of(telegram::STAND_IN.part)?;
            stand_in = Some(StandIn::open(telegram::url(port)).await?);
        }
        Ok(Self { database, stand_in })
    }

    /// Waits until everything that was written is told, and prints it.
    pub async fn show_new(&mut self, steps: &Steps) -> Result<()> {
        let had_any = self.wait_until_told().await?;
        match &mut self.stand_in {
            Some(stand_in) => {
                for message in stand_in.new_messages().await? {
                    let text = message.text.replace('\n', "\n             | ");
                    steps.say(&format!("Telegram (stand-in):\n             | {text}"));
                }
            }
            None if had_any => steps.say("an alert was sent to your Telegram chat"),
            None => {}
        }
        Ok(())
    }

    /// Gives whether anything was on its way.
    async fn wait_until_told(&mut self) -> Result<bool> {
        let started = Instant::now();
        let mut had_any = false;
        while self.waiting().await? > 0 {
            had_any = true;
            ensure!(
                started.elapsed() < PATIENCE,
                "an alert was not delivered within {PATIENCE:?}; see: devart outbox list, devart logs telegram"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(had_any)
    }

    async fn waiting(&mut self) -> Result<i64> {
        sqlx::query_scalar(
            "select count(*) from devart_private.outbox where topic = 'telegram.alert' and buried_at is null",
        )
        .fetch_one(&mut self.database)
        .await
        .context("looking at the outbox")
    }
}

impl StandIn {
    async fn open(url: String) -> Result<Self> {
        let client = http_client::local()
            .timeout(Duration::from_secs(5))
            .build()
            .context("making an HTTP client")?;
        let mut stand_in = Self {
            client,
            url,
            seen: 0,
        };
        stand_in.new_messages().await?;
        Ok(stand_in)
    }

    async fn new_messages(&mut self) -> Result<Vec<Message>> {
        let url = format!("{}/messages?after={}", self.url, self.seen);
        let answer = self.client.get(url).send().await;
        let answer = answer.context("the stand-in for Telegram does not answer")?;
        let messages: Vec<Message> = answer.json().await.context("reading the messages")?;
        if let Some(last) = messages.last() {
            self.seen = last.number;
        }
        Ok(messages)
    }
}
