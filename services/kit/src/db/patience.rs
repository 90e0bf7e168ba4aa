//! How long an answer of the database is waited for, and what a pooler in between needs. Both belong
//! to a pool of connections.

use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use crate::config::{PoolArgs, Pooler};

/// On top of what a statement may take: the way there and back.
const MARGIN: Duration = Duration::from_secs(2);

/// Postgres ends a transaction that its process has forgotten, so that it cannot hold locks for
/// ever.
pub(super) const FORGOTTEN_TRANSACTION_TIMEOUT: &str = "60s";

/// The pools of this process, by their options, which no two of them share.
static POOLS: RwLock<Vec<(Weak<PgConnectOptions>, Patience)>> = RwLock::new(Vec::new());

/// What a pool's statements may take, and whether a pooler shares their connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    statement_timeout: Duration,
    is_pooled: bool,
}

impl Patience {
    /// Of a pool that is not ours.
    pub const UNKNOWN: Self = Self {
        statement_timeout: Duration::from_secs(15),
        is_pooled: false,
    };

    pub fn new(args: &PoolArgs) -> Self {
        Self {
            statement_timeout: args.statement_timeout,
            is_pooled: args.pooler == Pooler::Transaction,
        }
    }

    /// Notes that it is this pool's.
    pub fn note(self, pool: &PgPool) {
        let options = Arc::downgrade(&pool.connect_options());
        let mut pools = POOLS.write().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|(of, _)| of.strong_count() > 0);
        pools.push((options, self));
    }

    /// The pool's.
    pub fn of(pool: &PgPool) -> Self {
        let options = pool.connect_options();
        let pools = POOLS.read().unwrap_or_else(PoisonError::into_inner);
        let mut pools = pools.iter();
        let is_its =
            |(of, _): &&(Weak<PgConnectOptions>, Self)| of.as_ptr() == Arc::as_ptr(&options);
        pools.find(is_its).map_or(Self::UNKNOWN, |(_, it)| *it)
    }

    /// How long to wait for an answer: Postgres ends what takes longer, so whoever is still silent
    /// then is gone. A network that was cut says nothing.
    pub fn limit(self) -> Duration {
        self.statement_timeout.saturating_add(MARGIN)
    }

    /// Whether each transaction may get another connection to Postgres.
    pub fn is_pooled(self) -> bool {
        self.is_pooled
    }

    /// What opens a transaction. Behind a pooler the connection has been somebody else's: it lacks
    /// our limits and may have statements prepared under the names of ours.
    pub fn begin(self) -> String {
        if !self.is_pooled {
            return "begin".to_owned();
        }
        let milliseconds = self.statement_timeout.as_millis();
        format!(
            "begin; deallocate all; set local statement_timeout = '{milliseconds}ms'; \
             set local idle_in_transaction_session_timeout = '{FORGOTTEN_TRANSACTION_TIMEOUT}'"
        )
    }
}

/// What waiting in vain is called.
pub(super) fn silence() -> sqlx::Error {
    let text = "the database did not answer in time";
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text))
}

/// Whether it was silence, and not an error of the operating system.
pub(super) fn is_silence(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error)
        if error.kind() == std::io::ErrorKind::TimedOut && error.raw_os_error().is_none())
}

#[cfg(test)]
mod tests {
    use super::super::{connect_options, lazy_pool};
    use super::*;

    #[test]
    fn silence_is_told_from_what_the_operating_system_says() {
        const ETIMEDOUT: i32 = 110;
        let said = std::io::Error::from_raw_os_error(ETIMEDOUT);
        assert!(is_silence(&silence()));
        assert!(!is_silence(&sqlx::Error::Io(said)));
    }

    fn pool(seconds: u64, pooler: Pooler) -> PgPool {
        let args = PoolArgs {
            max_connections: 1,
            acquire_timeout: Duration::from_secs(1),
            statement_timeout: Duration::from_secs(seconds),
            pooler,
            direct_url: None,
        };
        let options = connect_options("postgres://a@h/d", "test", &args).expect("options");
        lazy_pool(options, &args)
    }

    #[tokio::test]
    async fn each_pool_has_the_timeout_that_it_was_made_with() {
        let searches = pool(3, Pooler::Transaction);
        let others = pool(15, Pooler::Transaction);
        let direct = pool(20, Pooler::None);
        let begins = |pool: &PgPool, timeout: &str| Patience::of(pool).begin().contains(timeout);
        assert!(begins(&searches, "statement_timeout = '3000ms'"));
        assert!(begins(&others, "statement_timeout = '15000ms'"));
        assert_eq!(Patience::of(&direct).begin(), "begin");
        assert_eq!(Patience::of(&searches.clone()).limit().as_secs(), 5);
        assert_eq!(Patience::of(&direct).limit().as_secs(), 22);
    }
}
