//! The `devart-telegram` process: delivers the topic `telegram.alert` to Telegram.

use clap::Parser;
use devart_kit::sidecar::Sidecar;
use devart_telegram::config::Config;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let sidecar = Sidecar::start(config.sidecar.clone(), "devart-telegram")?;
    devart_telegram::run(&config, sidecar).await
}
