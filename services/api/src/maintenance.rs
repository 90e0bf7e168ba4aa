//! Calls the database's periodic work. Safe in every replica: the database takes a lock.

use std::time::Duration;

use sqlx::PgPool;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Calls `devart_private.maintain()` at every interval until shutdown. Restarts of the database are
/// waited out; each outage is logged once.
pub async fn run(pool: PgPool, interval: Duration, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut working = true;
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        let result = maintain(&pool).await;
        report(&result, working);
        working = result.is_ok();
    }
}

async fn maintain(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query("select devart_private.maintain()")
        .execute(pool)
        .await?;
    Ok(())
}

fn report(result: &Result<(), sqlx::Error>, worked_before: bool) {
    match result {
        Err(error) if worked_before => {
            tracing::warn!(%error, "periodic work cannot run, trying at every interval: {error}");
        }
        Ok(()) if !worked_before => tracing::info!("periodic work runs again"),
        _ => {}
    }
}
