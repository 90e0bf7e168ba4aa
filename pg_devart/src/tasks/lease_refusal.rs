//! Why a worker may not change a task: the lease it shows is not the current one. The statements of
//! a change match the lease (lease.sql, complete.sql, failing.sql, release.sql, and money/payer.rs for charges);
//! when one finds no row, this says why.

use pgrx::datum::Uuid;

use crate::error::Error;
use crate::pg::spi::{Session, statement};

statement!(
    HOLDER,
    "select t.status::text, t.agent_id from devart.tasks t where t.id = $1",
    [UUIDOID]
);

/// Why a change that needed the lease found no task: it does not exist, is somebody else's, or the
/// lease is not the current one.
pub fn explain(session: &Session, task_id: Uuid, agent_id: Option<Uuid>) -> Error {
    HOLDER.with(|statement| {
        let rows = statement.rows(session, &[task_id.into()]);
        let Some(row) = rows.first() else {
            return Error::not_found("task_id", format!("names no task: {task_id}"));
        };
        let holder: Option<Uuid> = row.get(2);
        match (agent_id, holder) {
            (Some(agent), Some(holder)) if agent != holder => {
                Error::Forbidden("the task is another agent's")
            }
            _ => Error::lease_lost(format!(
                "is not the current lease of the task, which is {}",
                row.required::<String>(1)
            )),
        }
    })
}
