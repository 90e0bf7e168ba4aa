//! The `devart-rabbitmq` process: delivers the topic `rabbitmq.task` to RabbitMQ.

use devart_kit::sidecar::Sidecar;
use devart_rabbitmq::config::Config;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::read().with_quiet_client();
    let sidecar = Sidecar::start(config.sidecar.clone(), "devart-rabbitmq")?;
    devart_rabbitmq::run(&config, sidecar).await
}
