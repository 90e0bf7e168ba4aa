//! A bridge as a process: from its settings to an outbox worker with a health endpoint, and to its
//! orderly end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;

use crate::config::{PoolArgs, TelemetryArgs};
use crate::db::{self, Database};
use crate::endpoint::{self, ReadyCheck};
use crate::health::database_problem;
use crate::http_client::install_ring;
use crate::outbox::{self, OutboxHandler, OutboxOptions};
use crate::{memory, shutdown, telemetry};

/// A claim that was not answered for longer is no usual one.
const LONG_SILENCE: Duration = Duration::from_secs(5);

/// The settings that every bridge has.
#[derive(Debug, Clone, Args)]
pub struct SidecarArgs {
    /// Postgres, as the bridge's own role `devart_bridge_<bridge>`.
    #[arg(long, env = "BRIDGE_DATABASE_URL", hide_env_values = true)]
    pub database_url: SecretString,

    /// Address and port of health and metrics.
    #[arg(long, env = "BRIDGE_BIND", default_value = "127.0.0.1:8090")]
    pub bind: SocketAddr,

    #[command(flatten)]
    pub outbox: OutboxOptions,

    #[command(flatten)]
    pub pool: PoolArgs,

    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

/// A started bridge: logs, metrics, signals and the way to the database.
pub struct Sidecar {
    /// The way to the database.
    pub database: Database,
    /// Cancelled when the process is asked to stop.
    pub shutdown: CancellationToken,
    args: SidecarArgs,
    metrics: PrometheusHandle,
}

impl Sidecar {
    /// Starts everything but the work. Does not need the database to be up. `application` is the
    /// name that Postgres shows.
    ///
    /// # Errors
    /// When a setting is unusable.
    pub fn start(args: SidecarArgs, application: &str) -> anyhow::Result<Self> {
        memory::give_big_blocks_back();
        install_ring();
        telemetry::init_logs(&args.telemetry)?;
        let metrics = telemetry::init_metrics()?;
        let shutdown = shutdown::on_signal()?;
        let url = args.database_url.expose_secret();
        let options = db::connect_options(url, application, &args.pool)
            .context("BRIDGE_DATABASE_URL is not a database URL that can be used")?;
        let listening = db::listen_options(url, application, &args.pool)
            .context("there is no database URL that can be listened over")?;
        Ok(Self {
            database: Database::open(options, listening, &args.pool, &shutdown),
            shutdown,
            args,
            metrics,
        })
    }

    /// Delivers the handler's topic until the process is asked to stop.
    ///
    /// # Errors
    /// When the address is taken, or the role may not deliver the topic.
    pub async fn run<H: OutboxHandler>(self, handler: H) -> anyhow::Result<()> {
        let handler = Arc::new(handler);
        let ready = self.ready_check(Arc::clone(&handler));
        let _endpoint = endpoint::serve(self.args.bind, self.metrics, ready).await?;
        outbox::run(self.database, handler, self.args.outbox, self.shutdown).await
    }

    fn ready_check<H: OutboxHandler>(&self, handler: Arc<H>) -> ReadyCheck {
        let (database, shutdown) = (self.database.clone(), self.shutdown.clone());
        Arc::new(move || {
            let (database, shutdown) = (database.clone(), shutdown.clone());
            let handler = Arc::clone(&handler);
            Box::pin(async move {
                if shutdown.is_cancelled() {
                    return Some("it is stopping".to_owned());
                }
                if let Some(trouble) = silence(&database) {
                    return Some(trouble);
                }
                if let Some(problem) = database_problem(&database.pool).await {
                    return Some(problem);
                }
                handler.trouble().await
            })
        })
    }
}

/// One connection may have fallen silent while the others answer.
fn silence(database: &Database) -> Option<String> {
    let silent = database
        .pulse
        .silent_for()
        .filter(|it| *it > LONG_SILENCE)?;
    let seconds = silent.as_secs();
    Some(format!("the database has not answered for {seconds} s"))
}
