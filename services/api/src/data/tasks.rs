//! Tasks as people see and manage them.

use devart_kit::db::AsCaller;
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::page::{Limit, Listed, Order, Page, page};
use crate::model::history::{Charge, TaskEvent};
use crate::model::task::{NewTask, Task, TaskChanges, TaskFilter};

/// Named one by one: the lease token belongs to the agent that has the task and to nobody else.
macro_rules! task_columns {
    () => {
        "id, title, description, priority::text as priority, status::text as status, parent_task_id,
         workflow_run_id, template_id, service_id, agent_id, required_capabilities, payload, result,
         attempt, retry_count, max_retries, last_error, run_at, lease_expires_at,
         estimated_cost_usd, is_flagged, traceparent, created_by, created_at, claimed_at,
         finished_at"
    };
}

const CREATE: &str = concat!(
    "select ",
    task_columns!(),
    " from devart_private.create_task_as(
        $1, $2, title => $3, description => $4, priority => $5, payload => $6,
        parent_task_id => $7, service_id => $8, required_capabilities => $9, run_at => $10,
        max_retries => $11, estimated_cost_usd => $12, depends_on => $13, needs_approval => $14,
        traceparent => $15)"
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

const EVENTS: &str = "
    select id, task_id, from_status::text as from_status, to_status::text as to_status, actor, at,
           attempt, detail
    from devart.task_events
    where task_id = ";

const CHARGES: &str = "
    select id, service_id, task_id, agent_id, attempt, amount_usd, usage, kind::text as kind,
           delegated_from, created_at
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
        .bind(&task.payload)
        .bind(task.parent_task_id)
        .bind(task.service_id)
        .bind(&task.required_capabilities)
        .bind(task.run_at)
        .bind(task.max_retries)
        .bind(task.estimated_cost_usd)
        .bind(&task.depends_on)
        .bind(task.needs_approval)
        .bind(&task.traceparent)
        .fetch_one(db.connection)
        .await
}

impl Listed for Task {
    type Place = Uuid;

    fn place(&self) -> Uuid {
        self.id
    }
}

/// The tasks the caller may see, newest first.
pub async fn list(
    db: &mut PgConnection,
    filter: &TaskFilter,
    limit: Limit,
) -> sqlx::Result<Page<Task>> {
    page(db, matching(filter), filter.cursor, limit).await
}

/// Built rather than written with `$1 is null or …`: each combination gets a plan of its own.
fn matching(filter: &TaskFilter) -> QueryBuilder<Postgres> {
    let columns = concat!("select ", task_columns!(), " from devart.tasks where true");
    let mut query = QueryBuilder::new(columns);
    if let Some(status) = filter.status {
        query
            .push(" and status = ")
            .push_bind(status.as_str())
            .push("::text::devart.task_status");
    }
    if let Some(priority) = filter.priority {
        query
            .push(" and priority = ")
            .push_bind(priority.as_str())
            .push("::text::devart.task_priority");
    }
    if let Some(agent_id) = filter.agent_id {
        query.push(" and agent_id = ").push_bind(agent_id);
    }
    if let Some(run_id) = filter.workflow_run_id {
        query.push(" and workflow_run_id = ").push_bind(run_id);
    }
    if let Some(flagged) = filter.flagged {
        // The bare column matches the partial index.
        query.push(if flagged {
            " and is_flagged"
        } else {
            " and not is_flagged"
        });
    }
    if let Some(words) = &filter.q {
        query.push(" and title ilike ").push_bind(contains(words));
    }
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

/// A LIKE pattern for texts that contain `words`, whatever characters they have.
fn contains(words: &str) -> String {
    let mut pattern = String::with_capacity(words.len() + 2);
    pattern.push('%');
    for c in words.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task::TaskStatus;

    fn filter() -> TaskFilter {
        TaskFilter {
            status: None,
            priority: None,
            agent_id: None,
            workflow_run_id: None,
            flagged: None,
            q: None,
            limit: None,
            cursor: None,
        }
    }

    fn sql(filter: &TaskFilter) -> String {
        matching(filter).into_string()
    }

    #[test]
    fn wildcards_in_a_search_are_literal() {
        assert_eq!(contains(r"50%_\"), r"%50\%\_\\%");
    }

    #[test]
    fn only_given_filters_are_in_the_query() {
        assert!(!sql(&filter()).contains(" and "));
        let both = TaskFilter {
            status: Some(TaskStatus::Todo),
            flagged: Some(true),
            ..filter()
        };
        assert!(sql(&both).contains("and status = $1::text::devart.task_status and is_flagged"));
    }

    #[test]
    fn the_lease_token_is_never_selected() {
        for statement in [CREATE, UPDATE, CANCEL, RETRY, GET] {
            assert!(!statement.contains("lease_token"));
        }
    }
}
