//! The life of a task, by SQL.

use serde_json::Value;
use sqlx::{PgExecutor, Result};
use time::OffsetDateTime;
use uuid::Uuid;

/// A task in a worker's hands.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Claim {
    pub task_id: Uuid,
    pub title: String,
    pub attempt: i32,
    pub lease_token: Uuid,
    pub lease_expires_at: OffsetDateTime,
}

/// Where a task stands.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Task {
    pub status: String,
    pub priority: String,
    pub attempt: i32,
    pub retry_count: i32,
    pub last_error: Option<String>,
    pub result: Option<Value>,
    pub lease_expires_at: Option<OffsetDateTime>,
    pub finished_at: Option<OffsetDateTime>,
}

const CREATE: &str = "
    select (devart.create_task(
        $1 ->> 'title',
        priority => ($1 ->> 'priority')::devart.task_priority,
        payload => coalesce($1 -> 'payload', '{}'),
        parent_task_id => ($1 ->> 'parent_task_id')::uuid,
        service_id => ($1 ->> 'service_id')::uuid,
        required_capabilities => array(select jsonb_array_elements_text($1 -> 'required_capabilities')),
        run_at => ($1 ->> 'run_at')::timestamptz,
        max_retries => ($1 ->> 'max_retries')::int,
        estimated_cost_usd => ($1 ->> 'estimated_cost_usd')::numeric,
        depends_on => array(select jsonb_array_elements_text($1 -> 'depends_on')::uuid),
        needs_approval => coalesce(($1 ->> 'needs_approval')::boolean, false),
        idempotency_key => $1 ->> 'idempotency_key',
        traceparent => $1 ->> 'traceparent',
        timeout_seconds => ($1 ->> 'timeout_seconds')::int
    )).id";

/// Creates a task from the arguments of `create_task`.
pub async fn create(executor: impl PgExecutor<'_>, arguments: Value) -> Result<Uuid> {
    sqlx::query_scalar(CREATE)
        .bind(arguments)
        .fetch_one(executor)
        .await
}

/// Creates `count` equal tasks in one statement.
pub async fn create_many(executor: impl PgExecutor<'_>, count: i32) -> Result<()> {
    sqlx::query(
        "select devart.create_tasks((
            select jsonb_agg(jsonb_build_object('title', 'task ' || n)) from generate_series(1, $1) n))",
    )
    .bind(count)
    .execute(executor)
    .await
    .map(drop)
}

/// Claims the agent's next task.
pub async fn claim(executor: impl PgExecutor<'_>, agent_id: Uuid) -> Result<Option<Claim>> {
    sqlx::query_as("select * from devart.claim_next_task($1)")
        .bind(agent_id)
        .fetch_optional(executor)
        .await
}

/// Claims several tasks at once.
pub async fn claim_batch(
    executor: impl PgExecutor<'_>,
    agent_id: Uuid,
    max_tasks: i32,
) -> Result<Vec<Claim>> {
    sqlx::query_as("select * from devart.claim_tasks($1, $2)")
        .bind(agent_id)
        .bind(max_tasks)
        .fetch_all(executor)
        .await
}

/// Claims one particular task.
pub async fn start(
    executor: impl PgExecutor<'_>,
    task_id: Uuid,
    agent_id: Uuid,
) -> Result<Option<Claim>> {
    sqlx::query_as("select * from devart.start_task($1, $2)")
        .bind(task_id)
        .bind(agent_id)
        .fetch_optional(executor)
        .await
}

/// Completes a claimed task; gives its new status.
pub async fn complete(executor: impl PgExecutor<'_>, claim: &Claim) -> Result<String> {
    sqlx::query_scalar("select status from devart.complete_task($1, $2, '{\"done\": true}')")
        .bind(claim.task_id)
        .bind(claim.lease_token)
        .fetch_one(executor)
        .await
}

/// Reports a failed attempt; gives the new status and when it will be tried again.
pub async fn fail(
    executor: impl PgExecutor<'_>,
    claim: &Claim,
    retryable: bool,
) -> Result<(String, Option<OffsetDateTime>)> {
    sqlx::query_as("select status, run_at from devart.report_task_failure($1, $2, 'it broke', $3)")
        .bind(claim.task_id)
        .bind(claim.lease_token)
        .bind(retryable)
        .fetch_one(executor)
        .await
}

/// Where the task stands.
pub async fn task(executor: impl PgExecutor<'_>, task_id: Uuid) -> Result<Task> {
    sqlx::query_as(
        "select status::text, priority::text, attempt, retry_count, last_error, result,
            lease_expires_at, finished_at
         from devart.tasks where id = $1",
    )
    .bind(task_id)
    .fetch_one(executor)
    .await
}

/// The task's status.
pub async fn status(executor: impl PgExecutor<'_>, task_id: Uuid) -> Result<String> {
    task(executor, task_id).await.map(|task| task.status)
}

/// The statuses that the task went through.
pub async fn history(executor: impl PgExecutor<'_>, task_id: Uuid) -> Result<Vec<String>> {
    sqlx::query_scalar(
        "select to_status::text from devart.task_events where task_id = $1 order by id",
    )
    .bind(task_id)
    .fetch_all(executor)
    .await
}

/// Lets the leases of these tasks end now, as if their time had passed.
pub async fn expire_lease(executor: impl PgExecutor<'_>, task_id: Uuid) -> Result<()> {
    sqlx::query(
        "update devart.tasks set lease_expires_at = now() - interval '1 second' where id = $1",
    )
    .bind(task_id)
    .execute(executor)
    .await
    .map(drop)
}

/// Lets a scheduled task be due now.
pub async fn make_due(executor: impl PgExecutor<'_>, task_id: Uuid) -> Result<()> {
    sqlx::query("update devart.tasks set run_at = now() - interval '1 second' where id = $1")
        .bind(task_id)
        .execute(executor)
        .await
        .map(drop)
}
