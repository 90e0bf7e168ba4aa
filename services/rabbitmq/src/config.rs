//! The bridge's settings, parsed once at start.

use std::time::Duration;

use anyhow::anyhow;
use clap::{Command, CommandFactory, FromArgMatches, Parser};
use devart_kit::config::milliseconds;
use devart_kit::sidecar::SidecarArgs;
use lapin::uri::AMQPUri;
use secrecy::{ExposeSecret, SecretString};

/// Seconds without a sign of life after which either side gives the connection up, unless the URL
/// says otherwise.
const HEARTBEAT_SECONDS: u16 = 10;

/// Rows leased with one call, and messages handled at the same time: a broker confirms hundreds as
/// fast as one, so that larger steps save commits of the database (`make bench`, `bridge`).
const STEP: &str = "500";

/// Carries messages about tasks to RabbitMQ.
#[derive(Debug, Clone, Parser)]
#[command(name = "devart-rabbitmq", version)]
pub struct Config {
    /// The broker: amqp://user:password@host:port/vhost, or amqps:// with TLS. The broker's
    /// certificate must be signed by an authority that this machine trusts, or that the file
    /// SSL_CERT_FILE names.
    #[arg(long, env = "RABBITMQ_URL", hide_env_values = true)]
    pub rabbitmq_url: SecretString,

    /// How often queues are compared with the lanes of the database, so that no waiting task lacks
    /// an invitation.
    #[arg(long, env = "BRIDGE_LANE_CHECK_INTERVAL_MS", default_value = "30000", value_parser = milliseconds)]
    pub lane_check_interval: Duration,

    /// A queue that confirms no message for so long, while the broker takes messages, is recreated.
    #[arg(long, env = "BRIDGE_CONFIRM_TIMEOUT_MS", default_value = "30000", value_parser = milliseconds)]
    pub confirm_timeout: Duration,

    #[command(flatten)]
    pub sidecar: SidecarArgs,
}

impl Config {
    /// From arguments and environment; ends the process with a message when they are wrong.
    pub fn read() -> Self {
        let matches = Self::with_own_defaults().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    fn with_own_defaults() -> Command {
        Self::command()
            .mut_arg("batch_size", |it| it.default_value(STEP))
            .mut_arg("concurrency", |it| it.default_value(STEP))
    }

    /// Leaves the client library's own log out unless it is asked for: it reports as errors what we
    /// are told anyway, and that a queue is not there when we ask whether it is.
    pub fn with_quiet_client(mut self) -> Self {
        let filter = &mut self.sidecar.telemetry.log_filter;
        if !filter.contains("lapin") {
            let asked_for = match filter.trim() {
                "" => "info",
                asked_for => asked_for,
            };
            *filter = format!("{asked_for},lapin=off");
        }
        self
    }

    /// Where the broker is.
    ///
    /// # Errors
    /// When RABBITMQ_URL is no AMQP URL. The URL itself is not repeated: it holds a password.
    pub fn broker_address(&self) -> anyhow::Result<AMQPUri> {
        let mut address: AMQPUri =
            self.rabbitmq_url.expose_secret().parse().map_err(|error| {
                anyhow!("RABBITMQ_URL is not an amqp:// or amqps:// URL: {error}")
            })?;
        address.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Config {
        let arguments = [
            "devart-rabbitmq",
            "--rabbitmq-url",
            url,
            "--database-url",
            "postgres://a@b/c",
        ];
        let matches = Config::with_own_defaults().try_get_matches_from(arguments);
        Config::from_arg_matches(&matches.expect("arguments")).expect("a configuration")
    }

    #[test]
    fn larger_steps_than_those_of_other_bridges() {
        let options = parse("amqp://h/").sidecar.outbox;
        assert_eq!((options.batch_size, options.concurrency), (500, 500));
    }

    #[test]
    fn a_dead_connection_is_noticed_soon_unless_the_url_says_otherwise() {
        let heartbeat = |url| {
            let address = parse(url).broker_address().expect("a broker's URL");
            address.query.heartbeat
        };
        assert_eq!(heartbeat("amqp://h/"), Some(HEARTBEAT_SECONDS));
        assert_eq!(heartbeat("amqps://h/?heartbeat=60"), Some(60));
    }

    #[test]
    fn a_url_that_is_none_is_refused_without_being_repeated() {
        let error = parse("http://u:hunter2@h/")
            .broker_address()
            .expect_err("refused");
        assert!(error.to_string().contains("RABBITMQ_URL"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn the_client_library_is_heard_only_when_asked_for() {
        let filter = |asked_for: &str| {
            let mut config = parse("amqp://h/");
            config.sidecar.telemetry.log_filter = asked_for.to_owned();
            config.with_quiet_client().sidecar.telemetry.log_filter
        };
        assert_eq!(filter(""), "info,lapin=off");
        assert_eq!(filter("debug"), "debug,lapin=off");
        assert_eq!(filter("info,lapin=trace"), "info,lapin=trace");
    }

    #[test]
    fn debug_output_hides_the_password() {
        assert!(!format!("{:?}", parse("amqp://u:hunter2@h/")).contains("hunter2"));
    }
}
