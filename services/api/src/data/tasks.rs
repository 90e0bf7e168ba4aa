//! Tasks as people see and manage them.

use devart_kit::db::AsCaller;
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::page::{Limit, Listed, Order, Page, page};
use crate::model::history::{Charge, TaskEvent};
use crate::model::task::{NewTask, Task, TaskChanges, TaskFilter, TaskPriority, TaskStatus};

/// Named one by one: the lease token belongs to the agent that has the task and to nobody else. A
/// payload that nobody could read is replaced by the reason, so that it hides no other row.
macro_rules! task_columns {
    () => {
        task_columns!(
            "devart.readable_json(payload)",
            "devart.readable_json(result)"
        )
    };
    ($payload:literal, $result:literal) => {
        concat!(
            "id, title, description, priority::text as priority, status::text as status,
             parent_task_id, workflow_run_id, template_id, service_id, agent_id,
             required_capabilities, ",
            $payload,
            " as payload, ",
            $result,
            " as result, attempt, retry_count, max_retries, last_error, run_at, lease_expires_at,
             timeout_seconds, estimated_cost_usd, is_flagged, traceparent, created_by, created_at,
             claimed_at, finished_at"
        )
    };
}

// The login role may not name functions of devart, and what was just checked is readable.
const CREATE: &str = concat!(
    "select ",
    task_columns!("payload", "result"),
    " from devart_private.create_task_as(
        $1, $2, title => $3, description => $4, priority => $5, payload => $6,
        parent_task_id => $7, service_id => $8, required_capabilities => $9, run_at => $10,
        max_retries => $11, estimated_cost_usd => $12, depends_on => $13, needs_approval => $14,
        traceparent => $15, idempotency_key => $16, timeout_seconds => $17)"
);

const UPDATE: &str = concat!(
    "select ",
    task_columns!(),
    " from devart.update_task($1, $2)"
);

const CANCEL: &str = concat!(
    "select ",
    task_columns!(),
    " from devart.cancel_task($1, $2)"
);

const RETRY: &str = concat!("select ", task_columns!(), " from devart.retry_task($1)");

const GET: &str = concat!(
    "select ",
    task_columns!(),
    " from devart.tasks where id = $1"
);

const ALL: &str = concat!("select ", task_columns!(), " from devart.tasks where true");

const EVENTS: &str = "
    select id, task_id, from_status::text as from_status, to_status::text as to_status, actor, at,
           attempt, devart.readable_json(detail) as detail
    from devart.task_events
    where task_id = ";

const CHARGES: &str = "
    select id, service_id, task_id, agent_id, attempt, amount_usd,
           devart.readable_json(usage) as usage, kind::text as kind, delegated_from, created_at
    from devart.charges
    where task_id = $1
    order by id desc
    limit 200";

/// Creates a task as the caller.
pub async fn create(db: AsCaller<'_>, task: &NewTask) -> sqlx::Result<Task> {
    sqlx::query_as(CREATE)
        .bind(db.caller.role())
        .bind(db.caller.claims())
        .bind(&task.title)
        .bind(&task.description)
        .bind(task.priority.map(|priority| priority.as_str()))
        .bind(task.payload.argument())
        .bind(task.parent_task_id)
        .bind(task.service_id)
        .bind(&task.required_capabilities)
        .bind(task.run_at)
        .bind(task.max_retries)
        .bind(task.estimated_cost_usd)
        .bind(&task.depends_on)
        .bind(task.needs_approval)
        .bind(&task.traceparent)
        .bind(&task.idempotency_key)
        .bind(task.timeout_seconds)
        .fetch_one(db.connection)
        .await
}

impl Listed for Task {
    type Place = Uuid;

    fn place(&self) -> Uuid {
        self.id
    }
}

/// The tasks the caller may see, newest first. `is_bounded`: whether policies leave the caller a few
/// tasks among all, as they do an agent.
pub async fn list(
    db: &mut PgConnection,
    filter: &TaskFilter,
    is_bounded: bool,
    limit: Limit,
) -> sqlx::Result<Page<Task>> {
    let query = match is_bounded || filter.asks_for_some() {
        true => matching(filter, limit),
        false => QueryBuilder::new(ALL),
    };
    page(db, query, filter.cursor, limit).await
}

/// A policy keeps filters from their indexes, so a function finds the ids
/// (sql/idempotent/240_task_lists.sql).
fn matching(filter: &TaskFilter, limit: Limit) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(ALL);
    query
        .push(" and id = any (array(select f.id from devart.find_tasks(q => ")
        .push_bind(filter.words().map(str::to_owned))
        .push(", status => ")
        .push_bind(filter.status.map(TaskStatus::as_str))
        .push("::text::devart.task_status, priority => ")
        .push_bind(filter.priority.map(TaskPriority::as_str))
        .push("::text::devart.task_priority, agent_id => ")
        .push_bind(filter.agent_id)
        .push(", workflow_run_id => ")
        .push_bind(filter.workflow_run_id)
        .push(", flagged => ")
        .push_bind(filter.flagged)
        .push(", before => ")
        .push_bind(filter.cursor)
        .push(", max_rows => ")
        .push_bind(limit.rows() as i32)
        .push(") as f (id)))");
    query
}

/// One task, if the caller may see it.
pub async fn get(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Task> {
    sqlx::query_as(GET).bind(id).fetch_one(db).await
}

impl Listed for TaskEvent {
    type Place = i64;
    const ORDER: Order = Order::OldestFirst;

    fn place(&self) -> i64 {
        self.id
    }
}

/// A task's history, oldest first. Outlives the task.
pub async fn events(
    db: &mut PgConnection,
    task_id: Uuid,
    cursor: Option<i64>,
    limit: Limit,
) -> sqlx::Result<Page<TaskEvent>> {
    let mut query = QueryBuilder::new(EVENTS);
    query.push_bind(task_id);
    page(db, query, cursor, limit).await
}

/// A task's charges, latest first.
pub async fn charges(db: &mut PgConnection, task_id: Uuid) -> sqlx::Result<Vec<Charge>> {
    sqlx::query_as(CHARGES).bind(task_id).fetch_all(db).await
}

/// Changes a task that nobody works on.
pub async fn update(db: &mut PgConnection, id: Uuid, changes: &TaskChanges) -> sqlx::Result<Task> {
    sqlx::query_as(UPDATE)
        .bind(id)
        .bind(Json(changes))
        .fetch_one(db)
        .await
}

/// Deletes a task that nobody works on.
pub async fn delete(db: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query("select devart.delete_task($1)")
        .bind(id)
        .execute(db)
        .await?;
    Ok(())
}

/// Cancels a task that is not finished.
pub async fn cancel(db: &mut PgConnection, id: Uuid, reason: Option<&str>) -> sqlx::Result<Task> {
    sqlx::query_as(CANCEL)
        .bind(id)
        .bind(reason)
        .fetch_one(db)
        .await
}

/// Gives a failed or cancelled task another chance.
pub async fn retry(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Task> {
    sqlx::query_as(RETRY).bind(id).fetch_one(db).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lease_token_is_never_selected() {
        for statement in [CREATE, UPDATE, CANCEL, RETRY, GET, ALL] {
            assert!(!statement.contains("lease_token"));
        }
    }
}
