//! The agent's side of a task.

use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::model::agent::{Heartbeat, HeartbeatAnswer};
use crate::model::claim::{
    ClaimedTask, FailureReport, Lease, LeaseExtension, Outcome, StatusChange, TaskStanding,
};

const CLAIM: &str = "
    select task_id, title, description, priority, payload, attempt, lease_token, lease_expires_at,
           service_id, workflow_run_id, traceparent, hold_id
    from devart.claim_tasks(max_tasks => $1, claim_key => $2)";

const START: &str = "
    select task_id, title, description, priority, payload, attempt, lease_token, lease_expires_at,
           service_id, workflow_run_id, traceparent, hold_id
    from devart.start_task($1, claim_key => $2)";

const FAIL: &str = "
    select status, run_at
    from devart.report_task_failure($1, $2, $3, $4, make_interval(secs => $5::float8))";

/// Takes up to `max_tasks` tasks for the calling agent; or gives again what it took under this key.
pub async fn claim(
    db: &mut PgConnection,
    max_tasks: i32,
    key: Option<Uuid>,
) -> sqlx::Result<Vec<ClaimedTask>> {
    sqlx::query_as(CLAIM)
        .bind(max_tasks)
        .bind(key)
        .fetch_all(db)
        .await
}

/// Takes one particular task, if it is still to be had or was taken under this key.
pub async fn start(
    db: &mut PgConnection,
    task_id: Uuid,
    key: Option<Uuid>,
) -> sqlx::Result<Option<ClaimedTask>> {
    sqlx::query_as(START)
        .bind(task_id)
        .bind(key)
        .fetch_optional(db)
        .await
}

/// Ends a task.
pub async fn set_status(
    db: &mut PgConnection,
    task_id: Uuid,
    change: &StatusChange,
) -> sqlx::Result<TaskStanding> {
    match change.status {
        Outcome::Done => {
            sqlx::query_as("select status, run_at from devart.complete_task($1, $2, $3)")
                .bind(task_id)
                .bind(change.lease_token)
                .bind(&change.result)
                .fetch_one(db)
                .await
        }
        Outcome::Failed => {
            let error = change.error.as_deref().unwrap_or("failed");
            fail(db, task_id, change.lease_token, error, false, None).await
        }
    }
}

/// Reports a failed attempt.
pub async fn report_failure(
    db: &mut PgConnection,
    task_id: Uuid,
    report: &FailureReport,
) -> sqlx::Result<TaskStanding> {
    let retry_after = report.retry_after_seconds;
    fail(
        db,
        task_id,
        report.lease_token,
        &report.error,
        report.retryable,
        retry_after,
    )
    .await
}

async fn fail(
    db: &mut PgConnection,
    task_id: Uuid,
    lease_token: Uuid,
    error: &str,
    retryable: bool,
    retry_after_seconds: Option<u32>,
) -> sqlx::Result<TaskStanding> {
    sqlx::query_as(FAIL)
        .bind(task_id)
        .bind(lease_token)
        .bind(error)
        .bind(retryable)
        .bind(retry_after_seconds.map(f64::from))
        .fetch_one(db)
        .await
}

/// Keeps a task longer.
pub async fn extend_lease(
    db: &mut PgConnection,
    task_id: Uuid,
    extension: &LeaseExtension,
) -> sqlx::Result<Lease> {
    sqlx::query_as("select status, lease_expires_at from devart.extend_lease($1, $2, $3)")
        .bind(task_id)
        .bind(extension.lease_token)
        .bind(extension.seconds)
        .fetch_one(db)
        .await
}

/// Tells that the calling agent lives; extends its leases.
pub async fn heartbeat(
    db: &mut PgConnection,
    heartbeat: &Heartbeat,
) -> sqlx::Result<HeartbeatAnswer> {
    let Json(answer) = sqlx::query_scalar("select devart.agent_heartbeat(detail => $1)")
        .bind(&heartbeat.detail)
        .fetch_one(db)
        .await?;
    Ok(answer)
}
