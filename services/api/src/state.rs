//! What handlers share.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use devart_kit::auth::Tokens;
use devart_kit::config::comma_separated;
use devart_kit::connections::Places;
use devart_kit::descriptors;
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::SecretString;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::broker_door::BrokerDoor;
use crate::config::Config;
use crate::limits::Limits;
use crate::maintenance::Maintenance;
use crate::pools::Pools;
use crate::waiting_room::WaitingRoom;

/// A cheap handle on everything a handler may need.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// Lives as long as the process.
pub struct Shared {
    pub pools: Pools,
    pub tokens: Tokens,
    pub limits: Arc<Limits>,
    pub places: Arc<Places>,
    /// Whether the proxy in front says where requests come from.
    pub trust_forwarded_for: bool,
    pub github_secrets: Vec<SecretString>,
    pub embedded_issuer: bool,
    pub broker: BrokerDoor,
    pub request_timeout: Duration,
    pub waiting_room: Arc<WaitingRoom>,
    /// Bounds how many claims are tried in the database at once.
    pub claim_slots: Semaphore,
    pub maintenance: Maintenance,
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
        metrics: PrometheusHandle,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let limits = Limits::new(&config.limits, &config.pool);
        let behind_proxy = config.limits.trust_forwarded_for;
        let places = Places::new(
            config.connections.max_client_connections,
            config.connections.most_per_address(behind_proxy),
            descriptors::raise_limit(),
        );
        Ok(Self(Arc::new(Shared {
            pools: Pools::new(config)?,
            tokens: Tokens::new(&config.jwt_secret, comma_separated(&config.jwt_issuers))?,
            limits: Arc::new(limits),
            places: Arc::new(places),
            trust_forwarded_for: config.limits.trust_forwarded_for,
            github_secrets: config.github_secrets(),
            embedded_issuer: config.embedded_issuer(),
            broker: BrokerDoor::new(&config.broker_secret, &config.broker_vhost),
            request_timeout: config.request_timeout,
            waiting_room: Arc::default(),
            claim_slots: Semaphore::new(config.concurrent_claims.max(1)),
            maintenance: Maintenance::new(config.maintain_interval),
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
