//! Connections to the database, shared out by what they are for: whoever uses up their own leaves
//! the others theirs.

use std::time::Duration;

use anyhow::Context;
use devart_kit::config::PoolArgs;
use devart_kit::db;
use secrecy::ExposeSecret;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use crate::config::Config;

/// The pools of this process.
pub struct Pools {
    /// For agents and deliveries.
    pub agents: PgPool,
    /// For people.
    pub people: PgPool,
    /// For searches of people, which take longest.
    pub searches: PgPool,
    /// For periodic work.
    pub upkeep: PgPool,
    /// For the question whether the database can serve.
    pub readiness: PgPool,
}

impl Pools {
    /// Connects on first use.
    ///
    /// # Errors
    /// When API_DATABASE_URL is not a Postgres URL.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let pool = |connections: u32, statement_timeout: Duration| {
            let args = PoolArgs {
                max_connections: connections.max(1),
                statement_timeout,
                ..config.pool.clone()
            };
            anyhow::Ok(db::lazy_pool(options(config, &args)?, &args))
        };
        let (connections, timeout) = (config.pool.max_connections, config.pool.statement_timeout);
        let searches = &config.searches;
        Ok(Self {
            agents: pool(connections, timeout)?,
            people: pool(connections, timeout)?,
            searches: pool(searches.search_connections, searches.search_timeout)?,
            upkeep: pool(1, timeout)?,
            readiness: pool(1, timeout)?,
        })
    }

    /// Connections that are open, and those of them that nobody uses.
    pub fn size(&self) -> (u32, usize) {
        let all = self.all();
        let open = all.iter().map(|pool| pool.size()).sum();
        (open, all.iter().map(|pool| pool.num_idle()).sum())
    }

    /// Closes all of them.
    pub async fn close(&self) {
        for pool in self.all() {
            pool.close().await;
        }
    }

    fn all(&self) -> [&PgPool; 5] {
        [
            &self.agents,
            &self.people,
            &self.searches,
            &self.upkeep,
            &self.readiness,
        ]
    }
}

/// Connection options of this process.
///
/// # Errors
/// When API_DATABASE_URL is not a Postgres URL.
pub fn options(config: &Config, args: &PoolArgs) -> anyhow::Result<PgConnectOptions> {
    db::connect_options(config.database_url.expose_secret(), "devart-api", args)
        .context("API_DATABASE_URL is not a database URL that can be used")
}

/// Connection options for being woken.
///
/// # Errors
/// When API_DATABASE_URL or DATABASE_DIRECT_URL is not a Postgres URL.
pub fn listen_options(config: &Config) -> anyhow::Result<PgConnectOptions> {
    let url = config.database_url.expose_secret();
    db::listen_options(url, "devart-api", &config.pool)
        .context("there is no database URL that can be listened over")
}
