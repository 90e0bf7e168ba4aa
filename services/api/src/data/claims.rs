//! The agent's side of a task.

use devart_kit::db::AsCaller;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::http::json::GivenJson;
use crate::model::agent::{Heartbeat, HeartbeatAnswer};
use crate::model::claim::{
    ClaimedTask, FailureReport, Lease, LeaseExtension, Outcome, StatusChange, TaskRelease,
    TaskStanding,
};

const CLAIM: &str = "
    select task_id, title, description, priority, payload, attempt, lease_token, lease_expires_at,
           service_id, workflow_run_id, traceparent, hold_id
    from devart.claim_tasks(max_tasks => $1, claim_key => $2)";

const START: &str = "
    select task_id, title, description, priority, payload, attempt, lease_token, lease_expires_at,
           service_id, workflow_run_id, traceparent, hold_id
    from devart.start_task($1, claim_key => $2)";

const COMPLETE: &str = "
    select status, run_at
    from devart_private.complete_task_as($1, $2, task_id => $3, lease_token => $4, result => $5)";

const FAIL: &str = "
    select status, run_at
    from devart_private.report_task_failure_as(
        $1, $2, task_id => $3, lease_token => $4, error => $5, retryable => $6,
        retry_after => make_interval(secs => $7::float8))";

const EXTEND: &str = "
    select status, lease_expires_at
    from devart_private.extend_lease_as($1, $2, task_id => $3, lease_token => $4, seconds => $5)";

const RELEASE: &str = "
    select status, run_at
    from devart_private.release_task_as($1, $2, task_id => $3, lease_token => $4)";

const HEARTBEAT: &str = "select devart_private.agent_heartbeat_as($1, $2, detail => $3)";

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

/// Whether the calling agent may take more tasks than it has.
pub async fn has_room(db: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("select devart.room_for_tasks() > 0")
        .fetch_one(db)
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
    db: AsCaller<'_>,
    task_id: Uuid,
    change: &StatusChange,
) -> sqlx::Result<TaskStanding> {
    match change.status {
        Outcome::Done => {
            sqlx::query_as(COMPLETE)
                .bind(db.caller.role())
                .bind(db.caller.claims())
                .bind(task_id)
                .bind(change.lease_token)
                .bind(change.result.as_ref().map(GivenJson::argument))
                .fetch_one(db.connection)
                .await
        }
        Outcome::Failed => {
            let error = change
                .error
                .as_ref()
                .map_or("failed", |error| error.0.as_str());
            fail(db, task_id, change.lease_token, error, false, None).await
        }
    }
}

/// Reports a failed attempt.
pub async fn report_failure(
    db: AsCaller<'_>,
    task_id: Uuid,
    report: &FailureReport,
) -> sqlx::Result<TaskStanding> {
    let retry_after = report.retry_after_seconds;
    fail(
        db,
        task_id,
        report.lease_token,
        &report.error.0,
        report.retryable,
        retry_after,
    )
    .await
}

async fn fail(
    db: AsCaller<'_>,
    task_id: Uuid,
    lease_token: Uuid,
    error: &str,
    retryable: bool,
    retry_after_seconds: Option<u32>,
) -> sqlx::Result<TaskStanding> {
    sqlx::query_as(FAIL)
        .bind(db.caller.role())
        .bind(db.caller.claims())
        .bind(task_id)
        .bind(lease_token)
        .bind(error)
        .bind(retryable)
        .bind(retry_after_seconds.map(f64::from))
        .fetch_one(db.connection)
        .await
}

/// Keeps a task longer.
pub async fn extend_lease(
    db: AsCaller<'_>,
    task_id: Uuid,
    extension: &LeaseExtension,
) -> sqlx::Result<Lease> {
    sqlx::query_as(EXTEND)
        .bind(db.caller.role())
        .bind(db.caller.claims())
        .bind(task_id)
        .bind(extension.lease_token)
        .bind(extension.seconds)
        .fetch_one(db.connection)
        .await
}

/// Gives a task back.
pub async fn release(
    db: AsCaller<'_>,
    task_id: Uuid,
    release: &TaskRelease,
) -> sqlx::Result<TaskStanding> {
    sqlx::query_as(RELEASE)
        .bind(db.caller.role())
        .bind(db.caller.claims())
        .bind(task_id)
        .bind(release.lease_token)
        .fetch_one(db.connection)
        .await
}

/// Tells that the calling agent lives; extends its leases.
pub async fn heartbeat(db: AsCaller<'_>, heartbeat: &Heartbeat) -> sqlx::Result<HeartbeatAnswer> {
    let Json(answer) = sqlx::query_scalar(HEARTBEAT)
        .bind(db.caller.role())
        .bind(db.caller.claims())
        .bind(heartbeat.detail.as_ref().map(GivenJson::argument))
        .fetch_one(db.connection)
        .await?;
    Ok(answer)
}
