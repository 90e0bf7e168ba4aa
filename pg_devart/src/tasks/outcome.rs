//! What a worker is told after it changed a task: the new status and what comes next.

use pgrx::datum::{TimestampWithTimeZone, Uuid};

use crate::error::Error;
use crate::spi::{Row, Session, statement};

statement!(
    HOLDER,
    "select t.status::text, t.agent_id from devart.tasks t where t.id = $1",
    [UUIDOID]
);

/// Status, run_at and lease_expires_at of a task.
pub type Outcome = (
    String,
    Option<TimestampWithTimeZone>,
    Option<TimestampWithTimeZone>,
);

/// Reads an outcome from the first three columns of a row.
pub fn read(row: &Row) -> Outcome {
    (row.required(1), row.get(2), row.get(3))
}

/// Why a change that needed the lease found no task: it does not exist, is somebody else's, or the
/// lease is not the current one.
pub fn refusal(session: &Session, task_id: Uuid, agent_id: Option<Uuid>) -> Error {
    HOLDER.with(|statement| {
        let rows = statement.rows(session, &[task_id.into()]);
        let Some(row) = rows.first() else {
            return Error::NotFound(format!("task_id names no task: {task_id}"));
        };
        let holder: Option<Uuid> = row.get(2);
        match (agent_id, holder) {
            (Some(agent), Some(holder)) if agent != holder => {
                Error::Forbidden("the task is another agent's")
            }
            _ => Error::LeaseLost(format!(
                "lease_token is not the current lease of the task, which is {}",
                row.required::<String>(1)
            )),
        }
    })
}

/// Declares a native function that changes a task under its lease and tells the outcome.
macro_rules! changes_leased_task {
    ($(#[$doc:meta])* fn $name:ident($($arguments:tt)*) $body:block) => {
        $(#[$doc])*
        #[pg_extern(volatile, parallel_unsafe, security_definer)]
        #[search_path(pg_catalog, pg_temp)]
        fn $name($($arguments)*) -> Result<
            TableIterator<
                'static,
                (
                    name!(status, String),
                    name!(run_at, Option<TimestampWithTimeZone>),
                    name!(lease_expires_at, Option<TimestampWithTimeZone>),
                ),
            >,
            ErrorReport,
        > $body
    };
}
pub(crate) use changes_leased_task;
