//! Budget inside the claim, and tasks that wait for money or for a person.

mod approval;
mod dispatch;
mod funding;
mod granted;
mod race;
mod release;
mod waiting;

use serde_json::Value;
use uuid::Uuid;

use crate::support::Database;
use crate::support::budget::Funded;

/// The approval that a task waits for.
async fn approval_of(db: &Database, task_id: Uuid) -> sqlx::Result<(Uuid, Value)> {
    sqlx::query_as(
        "select id, detail from devart.approvals where subject = 'budget' and subject_id = $1 and status = 'PENDING'",
    )
    .bind(task_id)
    .fetch_one(&db.owner)
    .await
}

async fn decide(
    db: &Database,
    approval: Uuid,
    decision: &str,
    service_id: Option<Uuid>,
) -> sqlx::Result<String> {
    sqlx::query_scalar("select status::text from devart.decide_approval($1, $2, null, $3)")
        .bind(approval)
        .bind(decision)
        .bind(service_id)
        .fetch_one(&db.owner)
        .await
}

async fn complete(db: &Database, task: &Funded) -> sqlx::Result<String> {
    sqlx::query_scalar("select status from devart.complete_task($1, $2)")
        .bind(task.task_id)
        .bind(task.lease_token)
        .fetch_one(&db.owner)
        .await
}
