//! Wake-ups reach whoever waits: none is lost, none comes before its rows, each comes from the right sender.

mod channels;
mod delivery;
mod notifier;
mod senders;
mod visibility;

use std::time::Duration;

use anyhow::{Context, Result};
use devart_cli::cluster::Cluster;
use sqlx::postgres::{PgListener, PgNotification};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::time::timeout;

/// How long a notification may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A table whose inserts wake.
fn create_rows(cluster: &Cluster) -> Result<()> {
    cluster.psql(
        "devart",
        "create table rows (id bigint primary key);
         create trigger wake after insert on rows for each statement execute function devart_private.wake_listeners('rows')",
    )?;
    Ok(())
}

async fn session(cluster: &Cluster) -> sqlx::Result<PgConnection> {
    PgConnection::connect(&cluster.url("devart")).await
}

async fn listen(cluster: &Cluster, channels: &[&str]) -> sqlx::Result<PgListener> {
    let mut listener = PgListener::connect(&cluster.url("devart")).await?;
    listener.listen_all(channels.iter().copied()).await?;
    Ok(listener)
}

async fn next(listener: &mut PgListener) -> Result<PgNotification> {
    let told = timeout(PATIENCE, listener.recv()).await;
    Ok(told.context("nobody was told")??)
}

async fn wake(connection: &mut PgConnection, topic: &str) -> sqlx::Result<()> {
    sqlx::query("select devart_private.wake($1)")
        .bind(topic)
        .execute(connection)
        .await
        .map(drop)
}

async fn run(connection: &mut PgConnection, statements: &str) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
        .execute(connection)
        .await
        .map(drop)
}

/// Twice in a moment: even where the first was sent by the session itself, the second is left to the notifier.
async fn wake_in_a_crowd(connection: &mut PgConnection, topic: &str) -> sqlx::Result<()> {
    let wake = format!("perform devart_private.wake('{topic}'); commit");
    run(connection, &format!("do $$ begin {wake}; {wake}; end $$")).await
}

async fn pid(connection: &mut PgConnection) -> Result<u32> {
    let pid: i32 = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(connection)
        .await?;
    Ok(pid.unsigned_abs())
}
