//! The outbox with the real database: nothing is lost, nothing is done by two at a time, whatever dies
//! meanwhile.

mod delivery;
mod failure;
mod growth;
mod leases;
mod operators;
mod permissions;
mod restart;
mod rows;
mod sidecar;
mod silence;
mod stopping;
mod wakeups;

use devart_kit::outbox::{Delivery, HandlerError};
use sqlx::PgPool;

use crate::support::Database;
use crate::support::outbox::{Message, count};
use crate::support::outbox_rows::database;
use crate::support::wait::eventually;

fn url(db: &Database) -> String {
    db.bridge_url("rabbitmq")
}

async fn is_empty(pool: &PgPool) {
    eventually("everything is delivered", async || {
        (count(pool).await? == 0).then_some(())
    })
    .await;
}

/// Succeeds after giving others a chance to interfere.
async fn work(_: Delivery<Message>) -> Result<(), HandlerError> {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Rows that somebody has leased at this moment.
async fn leased(pool: &PgPool) -> Option<i64> {
    sqlx::query_scalar("select count(*) from devart_private.outbox where lease_expires_at > now()")
        .fetch_one(pool)
        .await
        .ok()
}
