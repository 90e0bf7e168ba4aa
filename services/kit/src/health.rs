//! Whether the database is there and migrated.

use std::time::Duration;

use sqlx::PgPool;

/// A probe that hangs is as useless as one that fails.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks the database whether the schema is complete. An unreachable database answers no.
pub async fn database_is_ready(pool: &PgPool) -> bool {
    let probe = sqlx::query_scalar("select devart_private.is_ready()").fetch_one(pool);
    matches!(
        tokio::time::timeout(PROBE_TIMEOUT, probe).await,
        Ok(Ok(true))
    )
}
