//! Settings that mean the same in every service, read from flags or the environment.

use std::time::Duration;

use clap::{Args, ValueEnum};
use secrecy::SecretString;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line, for machines.
    Json,
    /// One readable line per event.
    Text,
}

/// What to log and how.
#[derive(Debug, Clone, Args)]
pub struct TelemetryArgs {
    /// Form of the log lines.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,

    /// Which events are logged, in the syntax of tracing's EnvFilter.
    #[arg(long = "log-filter", env = "RUST_LOG", default_value = "info")]
    pub log_filter: String,
}

/// Size and patience of the database pool.
#[derive(Debug, Clone, Args)]
pub struct PoolArgs {
    /// Connections of this process to Postgres (a LISTEN connection comes on top).
    #[arg(long, env = "DATABASE_MAX_CONNECTIONS", default_value_t = 10)]
    pub max_connections: u32,

    /// How long a request waits for a connection, a restart of Postgres included.
    #[arg(long, env = "DATABASE_ACQUIRE_TIMEOUT_MS", default_value = "5000", value_parser = milliseconds)]
    pub acquire_timeout: Duration,

    /// How long one statement may run before Postgres cancels it.
    #[arg(long, env = "DATABASE_STATEMENT_TIMEOUT_MS", default_value = "15000", value_parser = milliseconds)]
    pub statement_timeout: Duration,

    /// Who shares connections to Postgres between transactions: PgBouncer in transaction mode, or
    /// nobody.
    #[arg(
        long = "database-pooler",
        env = "DATABASE_POOLER",
        value_enum,
        default_value = "none"
    )]
    pub pooler: Pooler,

    /// Postgres past the pooler, with the same role: one connection, to be woken by.
    #[arg(
        long = "database-direct-url",
        env = "DATABASE_DIRECT_URL",
        hide_env_values = true
    )]
    pub direct_url: Option<SecretString>,
}

/// Who is between a service and Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pooler {
    /// Nobody, or somebody who gives each client a session of its own.
    None,
    /// Somebody who gives each transaction any connection.
    Transaction,
}

/// Parses a number of milliseconds, for `#[arg(value_parser = milliseconds)]`.
///
/// # Errors
/// When the text is not a non-negative whole number.
pub fn milliseconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.trim().parse().map(Duration::from_millis)
}

/// Splits a comma-separated setting. An empty variable, as `.env` files have them, means no values.
pub fn comma_separated(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_setting_has_no_values() {
        assert!(comma_separated("").is_empty());
        assert!(comma_separated(" , ").is_empty());
    }

    #[test]
    fn values_are_split_and_trimmed() {
        assert_eq!(comma_separated("new, old"), ["new", "old"]);
    }

    #[test]
    fn milliseconds_are_whole_numbers() {
        assert_eq!(milliseconds("1500"), Ok(Duration::from_millis(1500)));
        assert!(milliseconds("1s").is_err());
    }
}
