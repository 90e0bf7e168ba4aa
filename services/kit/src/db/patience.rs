//! How long an answer of the database is waited for, and what a pooler in between needs.
//!
//! One for the process, which has one database. With more, the longest counts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// On top of what a statement may take: the way there and back.
const MARGIN: Duration = Duration::from_secs(2);

/// Postgres ends a transaction that its process has forgotten, so that it cannot hold locks for
/// ever.
pub(super) const FORGOTTEN_TRANSACTION_TIMEOUT: &str = "60s";

static LONGEST_STATEMENT_MS: AtomicU64 = AtomicU64::new(0);
static IS_POOLED: AtomicBool = AtomicBool::new(false);

/// Notes what this process's statements may take, and whether a pooler shares their connections.
pub(super) fn note(statement_timeout: Duration, is_pooled: bool) {
    let milliseconds = u64::try_from(statement_timeout.as_millis()).unwrap_or(u64::MAX);
    LONGEST_STATEMENT_MS.fetch_max(milliseconds, Ordering::Relaxed);
    IS_POOLED.fetch_or(is_pooled, Ordering::Relaxed);
}

/// How long to wait for an answer: Postgres ends what takes longer, so whoever is still silent then
/// is gone. A network that was cut says nothing.
pub(super) fn limit() -> Duration {
    Duration::from_millis(LONGEST_STATEMENT_MS.load(Ordering::Relaxed)).saturating_add(MARGIN)
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

/// Whether each transaction may get another connection to Postgres.
pub(super) fn is_pooled() -> bool {
    IS_POOLED.load(Ordering::Relaxed)
}

/// What opens a transaction. Behind a pooler the connection has been somebody else's: it lacks our
/// limits and may have statements prepared under the names of ours.
pub(super) fn begin() -> String {
    if !is_pooled() {
        return "begin".to_owned();
    }
    let milliseconds = LONGEST_STATEMENT_MS.load(Ordering::Relaxed);
    format!(
        "begin; deallocate all; set local statement_timeout = '{milliseconds}ms'; \
         set local idle_in_transaction_session_timeout = '{FORGOTTEN_TRANSACTION_TIMEOUT}'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_from_what_the_operating_system_says() {
        const ETIMEDOUT: i32 = 110;
        let said = std::io::Error::from_raw_os_error(ETIMEDOUT);
        assert!(is_silence(&silence()));
        assert!(!is_silence(&sqlx::Error::Io(said)));
    }
}
