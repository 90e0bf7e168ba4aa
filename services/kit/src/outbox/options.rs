//! What can be chosen about an outbox worker.

use std::time::Duration;

use clap::Args;
use devart_core::backoff::Backoff;

/// Delays while the database is away.
pub(super) const DATABASE_BACKOFF: Backoff = Backoff {
    base_seconds: 0.1,
    max_seconds: 5.0,
};

/// Sizes and patience of an outbox worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct OutboxOptions {
    /// Rows leased with one call, 1 to 1000.
    #[arg(long = "outbox-batch-size", env = "OUTBOX_BATCH_SIZE", default_value_t = Self::default().batch_size)]
    pub batch_size: u32,

    /// Messages handled at the same time.
    #[arg(long = "outbox-concurrency", env = "OUTBOX_CONCURRENCY", default_value_t = Self::default().concurrency)]
    pub concurrency: usize,

    /// How long a crashed worker's rows wait for another one, in seconds. Leases of living workers
    /// are extended.
    #[arg(long = "outbox-lease-seconds", env = "OUTBOX_LEASE_SECONDS", default_value_t = Self::default().lease_seconds)]
    pub lease_seconds: u32,

    /// A message that failed so often is buried.
    #[arg(long = "outbox-max-attempts", env = "OUTBOX_MAX_ATTEMPTS", default_value_t = Self::default().max_attempts)]
    pub max_attempts: u32,

    /// Delay before the first retry, in milliseconds; doubles with each one.
    #[arg(long = "outbox-retry-base-ms", env = "OUTBOX_RETRY_BASE_MS", default_value_t = Self::default().retry_base_ms)]
    pub retry_base_ms: u64,

    /// The longest delay before a retry, in milliseconds, without jitter.
    #[arg(long = "outbox-retry-max-ms", env = "OUTBOX_RETRY_MAX_MS", default_value_t = Self::default().retry_max_ms)]
    pub retry_max_ms: u64,

    /// How often to look for due rows when no wake-up came, in milliseconds.
    #[arg(long = "outbox-poll-ms", env = "OUTBOX_POLL_MS", default_value_t = Self::default().poll_ms)]
    pub poll_ms: u64,

    /// How long handlers may go on after the order to stop, in milliseconds.
    #[arg(long = "outbox-shutdown-grace-ms", env = "OUTBOX_SHUTDOWN_GRACE_MS", default_value_t = Self::default().shutdown_grace_ms)]
    pub shutdown_grace_ms: u64,
}

impl Default for OutboxOptions {
    /// With these a message is retried for about three hours before it is buried.
    fn default() -> Self {
        Self {
            batch_size: 100,
            concurrency: 100,
            lease_seconds: 30,
            max_attempts: 40,
            retry_base_ms: 1_000,
            retry_max_ms: 300_000,
            poll_ms: 1_000,
            shutdown_grace_ms: 15_000,
        }
    }
}

impl OutboxOptions {
    /// # Errors
    /// When an option is out of bounds; names it.
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            (1..=1000).contains(&self.batch_size),
            "the outbox batch size must be 1 to 1000, not {}",
            self.batch_size
        );
        anyhow::ensure!(
            (1..=100_000).contains(&self.concurrency),
            "the outbox concurrency must be 1 to 100000, not {}",
            self.concurrency
        );
        anyhow::ensure!(
            (1..=86_400).contains(&self.lease_seconds),
            "the outbox lease must be 1 to 86400 seconds, not {}",
            self.lease_seconds
        );
        anyhow::ensure!(
            (1..=i32::MAX as u32).contains(&self.max_attempts),
            "the outbox's attempts must be at least 1, not {}",
            self.max_attempts
        );
        Ok(())
    }

    /// Rows in hand at most: a batch can be under way while every handler is busy.
    pub(super) fn room(&self) -> usize {
        self.concurrency + self.batch_size as usize
    }

    pub(super) fn lease(&self) -> Duration {
        Duration::from_secs(u64::from(self.lease_seconds))
    }

    pub(super) fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_ms)
    }

    /// The delays between the attempts of one message.
    pub(super) fn backoff(&self) -> Backoff {
        Backoff {
            base_seconds: Duration::from_millis(self.retry_base_ms).as_secs_f64(),
            max_seconds: Duration::from_millis(self.retry_max_ms).as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        outbox: OutboxOptions,
    }

    #[test]
    fn the_defaults_are_valid_and_those_of_the_command_line() {
        OutboxOptions::default().validate().expect("valid");
        let parsed = Program::parse_from(["program"]).outbox;
        assert_eq!(parsed, OutboxOptions::default());
    }

    #[test]
    fn an_option_out_of_bounds_is_named() {
        let options = OutboxOptions {
            batch_size: 1001,
            ..OutboxOptions::default()
        };
        let error = options.validate().expect_err("too many");
        assert!(error.to_string().contains("batch size"), "{error}");
    }
}
