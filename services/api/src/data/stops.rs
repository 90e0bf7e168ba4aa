//! Stops and pauses.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::model::stop::{Stop, StopScope, Stops};

macro_rules! stop_columns {
    () => {
        "id, scope::text as scope, scope_id, reason, stopped_by, stopped_at"
    };
}

const LIST: &str = concat!(
    "select ",
    stop_columns!(),
    " from devart.stops order by id desc limit 1000"
);
const IS_STOPPED: &str = "select exists (select from devart.stops where scope = 'all')";
const STOP: &str = concat!(
    "select ",
    stop_columns!(),
    " from devart.emergency_stop($1)"
);
const PAUSE: &str = concat!("select ", stop_columns!(), " from devart.pause($1, $2, $3)");

/// What is stopped and paused now.
pub async fn list(db: &mut PgConnection) -> sqlx::Result<Stops> {
    let stopped = sqlx::query_scalar(IS_STOPPED).fetch_one(&mut *db).await?;
    let stops = sqlx::query_as(LIST).fetch_all(db).await?;
    Ok(Stops { stopped, stops })
}

/// Stops everything.
pub async fn stop(db: &mut PgConnection, reason: &str) -> sqlx::Result<Stop> {
    sqlx::query_as(STOP).bind(reason).fetch_one(db).await
}

/// Ends the stop of everything; whether there was one.
pub async fn resume_work(db: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("select devart.resume_work()")
        .fetch_one(db)
        .await
}

/// Pauses an agent, a service, a run or a task.
pub async fn pause(
    db: &mut PgConnection,
    scope: StopScope,
    id: Uuid,
    reason: Option<&str>,
) -> sqlx::Result<Stop> {
    sqlx::query_as(PAUSE)
        .bind(scope.as_str())
        .bind(id)
        .bind(reason)
        .fetch_one(db)
        .await
}

/// Ends a pause; whether there was one.
pub async fn resume(db: &mut PgConnection, scope: StopScope, id: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar("select devart.resume($1, $2)")
        .bind(scope.as_str())
        .bind(id)
        .fetch_one(db)
        .await
}
