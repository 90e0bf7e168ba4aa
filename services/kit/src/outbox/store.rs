//! The database's side of the outbox, one function per call.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::types::PgInterval;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::db::OneTrip;

const NOT_ALLOWED: &str = "42501";

/// A leased row.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Row {
    pub id: i64,
    pub key: Option<String>,
    /// JSON text.
    pub payload: String,
    /// How often delivering it has failed.
    pub attempt: i32,
    pub created_at: OffsetDateTime,
    pub due_at: OffsetDateTime,
    pub lease_token: Uuid,
}

/// A row and the lease under which it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    pub id: i64,
    pub token: Uuid,
}

/// A failed attempt: `delay` is none for a row to be buried.
#[derive(Debug)]
pub(super) struct Failure {
    pub lease: Lease,
    pub error: String,
    pub delay: Option<Duration>,
}

/// How much of a topic there is.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Depth {
    pub waiting: i64,
    pub leased: i64,
    pub buried: i64,
    pub oldest_seconds: f64,
}

/// The outbox of one topic.
#[derive(Debug, Clone)]
pub(super) struct Store {
    pool: PgPool,
    topic: &'static str,
}

type Result<T> = std::result::Result<T, sqlx::Error>;

impl Store {
    pub fn new(pool: PgPool, topic: &'static str) -> Self {
        Self { pool, topic }
    }

    pub fn topic(&self) -> &'static str {
        self.topic
    }

    /// Leases up to `limit` rows that are due since then, or at all; fewer mean that no more are.
    pub async fn claim(
        &self,
        limit: u32,
        lease: Duration,
        since: Option<OffsetDateTime>,
    ) -> Result<Vec<Row>> {
        sqlx::query_as(
            "select id, key, payload::text, attempt, created_at, due_at, lease_token
             from devart_private.claim_outbox($1, $2, $3, $4)",
        )
        .bind(self.topic)
        .bind(i32::try_from(limit).unwrap_or(i32::MAX))
        .bind(interval(lease))
        .bind(since)
        .fetch_all(OneTrip::Alone(&self.pool))
        .await
    }

    /// Deletes delivered rows; gives the ids of those that were still ours.
    pub async fn acknowledge(&self, leases: &[Lease]) -> Result<Vec<i64>> {
        let (ids, tokens) = columns(leases);
        sqlx::query_scalar("select devart_private.acknowledge_outbox($1, $2, $3)")
            .bind(self.topic)
            .bind(ids)
            .bind(tokens)
            .fetch_all(OneTrip::Alone(&self.pool))
            .await
    }

    /// Records failures; gives the rows that were still ours, and whether they are buried now.
    pub async fn fail(&self, failures: &[Failure], max_attempts: u32) -> Result<Vec<(i64, bool)>> {
        let (ids, tokens) = columns(failures.iter().map(|failure| &failure.lease));
        let errors: Vec<&str> = failures.iter().map(|it| it.error.as_str()).collect();
        let delays: Vec<Option<f64>> = failures
            .iter()
            .map(|failure| failure.delay.map(|delay| delay.as_secs_f64()))
            .collect();
        sqlx::query_as("select id, buried from devart_private.fail_outbox($1, $2, $3, $4, $5, $6)")
            .bind(self.topic)
            .bind(ids)
            .bind(tokens)
            .bind(errors)
            .bind(delays)
            .bind(i32::try_from(max_attempts).unwrap_or(i32::MAX))
            .fetch_all(OneTrip::Alone(&self.pool))
            .await
    }

    /// Extends leases; gives the ids of those that were still ours.
    pub async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<i64>> {
        let (ids, tokens) = columns(leases);
        sqlx::query_scalar("select devart_private.extend_outbox($1, $2, $3, $4)")
            .bind(self.topic)
            .bind(ids)
            .bind(tokens)
            .bind(interval(lease))
            .fetch_all(OneTrip::Alone(&self.pool))
            .await
    }

    /// Gives leases back unused.
    pub async fn give_back(&self, leases: &[Lease]) -> Result<()> {
        let (ids, tokens) = columns(leases);
        sqlx::query("select devart_private.return_outbox($1, $2, $3)")
            .bind(self.topic)
            .bind(ids)
            .bind(tokens)
            .execute(OneTrip::Alone(&self.pool))
            .await
            .map(drop)
    }

    pub async fn depth(&self) -> Result<Depth> {
        sqlx::query_as("select * from devart_private.outbox_depth($1)")
            .bind(self.topic)
            .fetch_one(OneTrip::Alone(&self.pool))
            .await
    }
}

/// Whether the database says that the role may not do this, which waiting does not change.
pub(super) fn is_refusal(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some(NOT_ALLOWED))
}

fn columns<'a>(leases: impl IntoIterator<Item = &'a Lease>) -> (Vec<i64>, Vec<Uuid>) {
    leases
        .into_iter()
        .map(|lease| (lease.id, lease.token))
        .unzip()
}

fn interval(duration: Duration) -> PgInterval {
    PgInterval {
        months: 0,
        days: 0,
        microseconds: i64::try_from(duration.as_micros()).unwrap_or(i64::MAX),
    }
}
