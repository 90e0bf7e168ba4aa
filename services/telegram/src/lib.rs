//! The bridge to Telegram: each alert that the database writes to the outbox is told to people,
//! through the Bot API.
//!
//! Telegram takes about one message per second and chat. A process keeps to that (`rate_limit`):
//! alerts that wait for a chat become one message, as many as fit (`chat`). Processes do not know
//! of each other, so N replicas may write N messages a second; then Telegram answers 429, and they
//! wait as long as it says. One replica is enough: a second one only shortens an outage.

mod alert;
mod bot;
mod chat;
pub mod config;
mod handler;
mod rate_limit;
mod text;
mod wording;

use devart_kit::sidecar::Sidecar;

use config::Config;
use handler::Alerts;

/// Delivers alerts until the process is asked to stop. Needs neither Telegram nor the database to
/// be up.
///
/// # Errors
/// When a setting is unusable, the address of health and metrics is taken, or the database role may
/// not deliver the topic.
pub async fn run(config: &Config, sidecar: Sidecar) -> anyhow::Result<()> {
    let alerts = match config.telegram()? {
        Some(telegram) => Alerts::to(telegram.bot, telegram.chats),
        None => {
            tracing::warn!("TELEGRAM_BOT_TOKEN is not set: alerts are only logged");
            Alerts::only_logged()
        }
    };
    sidecar.run(alerts).await
}
