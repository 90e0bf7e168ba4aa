//! Rows of the outbox, worked on by SQL as a worker does.

use anyhow::Result;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::Database;
use super::outbox::{TOPIC, enable};

/// A leased row.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Leased {
    pub id: i64,
    pub n: i64,
    pub lease_token: Uuid,
}

/// Leases up to so many rows.
pub async fn claim(executor: impl PgExecutor<'_>, limit: i32) -> sqlx::Result<Vec<Leased>> {
    sqlx::query_as(
        "select id, (payload ->> 'n')::bigint as n, lease_token
         from devart_private.claim_outbox($1, $2, '30 s')",
    )
    .bind(TOPIC)
    .bind(limit)
    .fetch_all(executor)
    .await
}

/// What the rows say.
pub fn numbers(rows: &[Leased]) -> Vec<i64> {
    rows.iter().map(|row| row.n).collect()
}

/// Ids and lease tokens.
pub fn columns(rows: &[Leased]) -> (Vec<i64>, Vec<Uuid>) {
    rows.iter().map(|row| (row.id, row.lease_token)).unzip()
}

/// Deletes delivered rows; gives those that were still ours.
pub async fn acknowledge(executor: impl PgExecutor<'_>, rows: &[Leased]) -> sqlx::Result<Vec<i64>> {
    let (ids, tokens) = columns(rows);
    sqlx::query_scalar("select devart_private.acknowledge_outbox($1, $2, $3)")
        .bind(TOPIC)
        .bind(ids)
        .bind(tokens)
        .fetch_all(executor)
        .await
}

/// Fails rows: a delay in seconds, or none to bury them.
pub async fn fail(
    executor: impl PgExecutor<'_>,
    rows: &[Leased],
    delay: Option<f64>,
) -> sqlx::Result<Vec<(i64, bool)>> {
    let (ids, tokens) = columns(rows);
    sqlx::query_as(
        "select id, buried from devart_private.fail_outbox(
            $1, $2, $3, array_fill('it broke'::text, array[$4]), array_fill($5::float8, array[$4]), 5)",
    )
    .bind(TOPIC)
    .bind(&ids)
    .bind(tokens)
    .bind(ids.len() as i32)
    .bind(delay)
    .fetch_all(executor)
    .await
}

/// Extends the leases; gives those that were still ours.
pub async fn extend(executor: impl PgExecutor<'_>, rows: &[Leased]) -> sqlx::Result<Vec<i64>> {
    let (ids, tokens) = columns(rows);
    sqlx::query_scalar("select devart_private.extend_outbox($1, $2, $3, '60 s')")
        .bind(TOPIC)
        .bind(ids)
        .bind(tokens)
        .fetch_all(executor)
        .await
}

/// Returns leased rows undelivered; gives how many were ours.
pub async fn give_back(executor: impl PgExecutor<'_>, rows: &[Leased]) -> sqlx::Result<i32> {
    let (ids, tokens) = columns(rows);
    sqlx::query_scalar("select devart_private.return_outbox($1, $2, $3)")
        .bind(TOPIC)
        .bind(ids)
        .bind(tokens)
        .fetch_one(executor)
        .await
}

/// Lets all leases end now, as if their time had passed.
pub async fn expire_leases(executor: impl PgExecutor<'_>) -> sqlx::Result<()> {
    sqlx::query(
        "update devart_private.outbox set lease_expires_at = now() - interval '1 second' where lease_token is not null",
    )
    .execute(executor)
    .await
    .map(drop)
}

pub async fn make_due(executor: impl PgExecutor<'_>) -> sqlx::Result<()> {
    sqlx::query("update devart_private.outbox set next_attempt_at = now() where next_attempt_at < 'infinity'")
        .execute(executor)
        .await
        .map(drop)
}

/// A database with the topic enabled.
pub async fn database() -> Result<Database> {
    let db = Database::create().await?;
    enable(&db.owner).await?;
    Ok(db)
}
