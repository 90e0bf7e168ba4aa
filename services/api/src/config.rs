//! The API's settings, parsed once at start.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use clap::Parser;
use devart_kit::config::{PoolArgs, TelemetryArgs, comma_separated, milliseconds};
use devart_kit::connections::Times;
use secrecy::{ExposeSecret, SecretString};

/// Serves devart's HTTP API.
#[derive(Debug, Clone, Parser)]
#[command(name = "devart-api", version)]
pub struct Config {
    /// Address and port to listen on.
    #[arg(long, env = "API_BIND", default_value = "127.0.0.1:8080")]
    pub bind: SocketAddr,

    /// Postgres, as the role `authenticator`.
    #[arg(long, env = "API_DATABASE_URL", hide_env_values = true)]
    pub database_url: SecretString,

    /// Signs and checks JWTs (HS256).
    #[arg(long, env = "SUPABASE_JWT_SECRET", hide_env_values = true)]
    pub jwt_secret: SecretString,

    /// Issuers whose JWTs are accepted, comma-separated. The first one signs.
    #[arg(long, env = "API_JWT_ISSUERS", default_value = "devart")]
    pub jwt_issuers: String,

    /// Where Supabase Auth answers. When set, this API issues no sessions of its own.
    #[arg(long, env = "SUPABASE_URL", default_value = "")]
    pub supabase_url: String,

    /// Secret of the GitHub webhook; two, comma-separated, while it is being changed.
    #[arg(
        long,
        env = "GITHUB_WEBHOOK_SECRET",
        default_value = "",
        hide_env_values = true
    )]
    pub github_webhook_secret: SecretString,

    /// What RabbitMQ has in the paths at which it asks whom to let in (letters and digits). Empty:
    /// nobody is answered.
    #[arg(
        long,
        env = "API_BROKER_SECRET",
        default_value = "",
        hide_env_values = true
    )]
    pub broker_secret: SecretString,

    /// The virtual host of RabbitMQ in which agents may take invitations.
    #[arg(long, env = "API_BROKER_VHOST", default_value = "/")]
    pub broker_vhost: String,

    /// Origins that browsers may call from, comma-separated; `*` for any. None by default.
    #[arg(long, env = "API_CORS_ORIGINS", default_value = "")]
    pub cors_origins: String,

    /// How long a request may take in all; longer than the longest wait for a task.
    #[arg(
        long,
        env = "API_REQUEST_TIMEOUT_MS",
        default_value = "60000",
        value_parser = milliseconds
    )]
    pub request_timeout: Duration,

    /// How often time-driven work (due tasks, expired leases) is looked for; 0 leaves it to others.
    #[arg(
        long,
        env = "API_MAINTAIN_INTERVAL_MS",
        default_value = "1000",
        value_parser = milliseconds
    )]
    pub maintain_interval: Duration,

    /// Claims that may be tried in the database at the same time.
    #[arg(long, env = "API_CONCURRENT_CLAIMS", default_value_t = 6)]
    pub concurrent_claims: usize,

    #[command(flatten)]
    pub searches: SearchArgs,

    #[command(flatten)]
    pub connections: ConnectionArgs,

    #[command(flatten)]
    pub limits: LimitArgs,

    #[command(flatten)]
    pub pool: PoolArgs,

    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

/// Rates above which callers are asked to slow down.
#[derive(Debug, Clone, clap::Args)]
pub struct LimitArgs {
    /// Requests per second of one person or agent.
    #[arg(long, env = "API_RATE_LIMIT_PER_PRINCIPAL", default_value = "1000")]
    pub requests_per_principal: NonZeroU32,

    /// Requests per second from one address.
    #[arg(long, env = "API_RATE_LIMIT_PER_ADDRESS", default_value = "5000")]
    pub requests_per_address: NonZeroU32,

    /// Requests of one person that are served at the same time; others wait for their turn.
    #[arg(long, env = "API_REQUESTS_AT_ONCE_PER_PERSON", default_value = "8")]
    pub requests_at_once_per_person: NonZeroUsize,

    /// Attempts to log in per minute from one address.
    #[arg(long, env = "API_LOGIN_LIMIT_PER_ADDRESS", default_value = "60")]
    pub logins_per_address: NonZeroU32,

    /// Attempts to log in per minute to one account, from wherever.
    #[arg(long, env = "API_LOGIN_LIMIT_PER_ACCOUNT", default_value = "20")]
    pub logins_per_account: NonZeroU32,

    /// Logins of one agent with one key at RabbitMQ per minute; each of its processes logs in at each connection.
    #[arg(long, env = "API_BROKER_LOGIN_LIMIT_PER_AGENT", default_value = "120")]
    pub broker_logins_per_agent: NonZeroU32,

    /// Take the caller's address from X-Forwarded-For. Only behind a proxy that sets it.
    #[arg(long, env = "API_TRUST_FORWARDED_FOR")]
    pub trust_forwarded_for: bool,
}

/// What searches may take of the database.
#[derive(Debug, Clone, clap::Args)]
pub struct SearchArgs {
    /// Connections for searches, which come on top of the others.
    #[arg(long, env = "API_SEARCH_CONNECTIONS", default_value_t = 2)]
    pub search_connections: u32,

    /// How long a search may take in the database.
    #[arg(long, env = "API_SEARCH_TIMEOUT_MS", default_value = "3000", value_parser = milliseconds)]
    pub search_timeout: Duration,
}

/// How many clients there may be, and how long each may keep the API waiting.
#[derive(Debug, Clone, clap::Args)]
pub struct ConnectionArgs {
    /// Connections from clients, in all; fewer where the process may not open so many files.
    #[arg(long, env = "API_MAX_CONNECTIONS", default_value_t = 4096)]
    pub max_client_connections: usize,

    /// Connections from one address. Not counted behind a proxy (API_TRUST_FORWARDED_FOR).
    #[arg(long, env = "API_MAX_CONNECTIONS_PER_ADDRESS", default_value_t = 1024)]
    pub max_client_connections_per_address: usize,

    /// How long a client may take for the head of its first request.
    #[arg(long, env = "API_HEAD_TIMEOUT_MS", default_value = "10000", value_parser = milliseconds)]
    pub head_timeout: Duration,

    /// How long a connection may be idle between requests.
    #[arg(long, env = "API_IDLE_TIMEOUT_MS", default_value = "75000", value_parser = milliseconds)]
    pub idle_timeout: Duration,

    /// How long a client may take to read what is written to it.
    #[arg(long, env = "API_WRITE_TIMEOUT_MS", default_value = "30000", value_parser = milliseconds)]
    pub write_timeout: Duration,
}

impl ConnectionArgs {
    /// Behind a proxy all connections come from its address, so there they are not counted by
    /// address.
    pub fn most_per_address(&self, behind_proxy: bool) -> usize {
        match behind_proxy {
            true => self.max_client_connections,
            false => self.max_client_connections_per_address,
        }
    }

    /// How long each client may keep the API waiting.
    pub fn times(&self) -> Times {
        Times {
            head: self.head_timeout,
            idle: self.idle_timeout,
            write: self.write_timeout,
        }
    }
}

impl Config {
    /// Secrets that a GitHub delivery may be signed with; none when webhooks are not configured.
    pub fn github_secrets(&self) -> Vec<SecretString> {
        comma_separated(self.github_webhook_secret.expose_secret())
            .into_iter()
            .map(SecretString::from)
            .collect()
    }

    /// Whether this API issues sessions itself, for installations without Supabase Auth.
    pub fn embedded_issuer(&self) -> bool {
        self.supabase_url.trim().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(extra: &[&str]) -> Config {
        let base = [
            "devart-api",
            "--database-url",
            "postgres://a@b/c",
            "--jwt-secret",
            "s",
        ];
        Config::parse_from(base.iter().chain(extra))
    }

    #[test]
    fn an_empty_webhook_secret_is_none() {
        assert!(
            parse(&["--github-webhook-secret", ""])
                .github_secrets()
                .is_empty()
        );
    }

    #[test]
    fn behind_a_proxy_only_the_sum_of_connections_counts() {
        let connections = parse(&["--max-client-connections", "9"]).connections;
        assert_eq!(connections.most_per_address(true), 9);
        assert_eq!(connections.most_per_address(false), 1024);
    }

    #[test]
    fn two_webhook_secrets_are_accepted_during_rotation() {
        let config = parse(&["--github-webhook-secret", "new,old"]);
        assert_eq!(config.github_secrets().len(), 2);
    }

    #[test]
    fn debug_output_hides_secrets() {
        let secrets = [
            "--github-webhook-secret",
            "hunter2",
            "--broker-secret",
            "hunter2",
        ];
        let printed = format!("{:?}", parse(&secrets));
        assert!(!printed.contains("hunter2"));
        assert!(!printed.contains("postgres://"));
    }
}
