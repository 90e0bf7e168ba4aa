//! Changing tables beside traffic.
//!
//! A statement that needs a table for itself waits behind everybody who reads it, and everybody who
//! comes later waits behind the statement. So it waits for a moment only; then the transaction gives
//! its locks back, lets the others go on, and begins again. Deadlocks with them end the same way.

use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use sqlx::{Connection, PgConnection};

/// How long others may have to stand behind us.
const WAIT: &str = "set local lock_timeout = '250ms'";

/// How long they go on before the next attempt.
const PAUSE: Duration = Duration::from_millis(750);

/// How long all attempts may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs `work` in a transaction, and again until it gets its locks.
pub(super) async fn in_transaction<T>(
    connection: &mut PgConnection,
    what: &str,
    work: impl AsyncFn(&mut PgConnection) -> Result<T>,
) -> Result<T> {
    let started = Instant::now();
    let mut is_first = true;
    loop {
        let error = match attempt(connection, &work).await {
            Ok(value) => return Ok(value),
            Err(error) if !is_in_the_way(&error) => return Err(error),
            Err(error) => error,
        };
        if started.elapsed() > PATIENCE {
            let holder = oldest_holder(connection).await.unwrap_or_default();
            let minutes = PATIENCE.as_secs() / 60;
            return Err(error.context(format!(
                "{what}: others were in the way for {minutes} minutes{holder}"
            )));
        }
        if std::mem::take(&mut is_first) {
            say!("  {what}: others are in the way; waiting for them, while requests go on");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn attempt<T>(
    connection: &mut PgConnection,
    work: &impl AsyncFn(&mut PgConnection) -> Result<T>,
) -> Result<T> {
    let mut transaction = connection.begin().await.context("starting a transaction")?;
    sqlx::raw_sql(WAIT)
        .execute(&mut *transaction)
        .await
        .context("limiting how long locks are waited for")?;
    match work(&mut *transaction).await {
        Ok(value) => {
            transaction.commit().await.context("committing")?;
            Ok(value)
        }
        Err(error) => {
            // If this fails, the connection is lost, which the error says already.
            let _ = transaction.rollback().await;
            Err(error)
        }
    }
}

/// A lock that did not come in time, or a deadlock.
fn is_in_the_way(error: &Error) -> bool {
    let code = error.chain().find_map(|cause| {
        cause
            .downcast_ref::<sqlx::Error>()?
            .as_database_error()?
            .code()
    });
    matches!(code.as_deref(), Some("55P03" | "40P01"))
}

/// Who has held one of our tables for longest, as the end of a sentence.
async fn oldest_holder(connection: &mut PgConnection) -> Result<String> {
    let holder: Option<String> = sqlx::query_scalar(include_str!("oldest_holder.sql"))
        .fetch_optional(connection)
        .await
        .context("looking for who is in the way")?;
    Ok(holder.unwrap_or_default())
}
