//! The `devart-api` process.

use clap::Parser;
use devart_api::config::Config;
use devart_kit::{memory, shutdown, telemetry};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    memory::give_big_blocks_back();
    let config = Config::parse();
    telemetry::init_logs(&config.telemetry)?;
    let metrics = telemetry::init_metrics()?;
    devart_api::serve(config, metrics, shutdown::on_signal()?).await
}
