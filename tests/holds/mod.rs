//! Holds: money set aside, settled, released, expired; usage and its prices.

mod expiry;
mod keys;
mod settling;
mod usage;

use uuid::Uuid;

use crate::support::Database;

/// The ledger's kinds and amounts for a hold.
async fn ledger(db: &Database, hold_id: Uuid) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar(
        "select kind || ' ' || trim_scale(amount_usd) from devart.charges where hold_id = $1 order by id",
    )
    .bind(hold_id)
    .fetch_all(&db.owner)
    .await
}
