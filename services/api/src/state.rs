//! What handlers share.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use devart_kit::auth::Tokens;
use devart_kit::config::comma_separated;
use devart_kit::db;
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::limits::Limits;
use crate::waiting_room::WaitingRoom;

/// A cheap handle on everything a handler may need.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// Lives as long as the process.
pub struct Shared {
    pub pool: PgPool,
    pub tokens: Tokens,
    pub limits: Arc<Limits>,
    /// Whether the proxy in front says where requests come from.
    pub trust_forwarded_for: bool,
    pub github_secrets: Vec<SecretString>,
    pub embedded_issuer: bool,
    pub request_timeout: Duration,
    pub waiting_room: Arc<WaitingRoom>,
    /// Bounds how many claims are tried in the database at once.
    pub claim_slots: Semaphore,
    pub metrics: PrometheusHandle,
    pub shutdown: CancellationToken,
}

impl AppState {
    /// Builds the state from the settings. Does not need the database to be up.
    ///
    /// # Errors
    /// When a setting is unusable.
    pub fn new(
        config: &Config,
        database: PgConnectOptions,
        metrics: PrometheusHandle,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(Shared {
            pool: db::lazy_pool(database, &config.pool),
            tokens: Tokens::new(&config.jwt_secret, comma_separated(&config.jwt_issuers))?,
            limits: Arc::new(Limits::new(&config.limits)),
            trust_forwarded_for: config.limits.trust_forwarded_for,
            github_secrets: config.github_secrets(),
            embedded_issuer: config.embedded_issuer(),
            request_timeout: config.request_timeout,
            waiting_room: Arc::default(),
            claim_slots: Semaphore::new(config.concurrent_claims.max(1)),
            metrics,
            shutdown,
        })))
    }
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// Connection options of this process.
///
/// # Errors
/// When API_DATABASE_URL is not a Postgres URL.
pub fn database_options(config: &Config) -> anyhow::Result<PgConnectOptions> {
    db::connect_options(
        config.database_url.expose_secret(),
        "devart-api",
        &config.pool,
    )
    .map_err(|_| anyhow::anyhow!("API_DATABASE_URL is not a postgres:// URL"))
}
