//! Giving a task back: by a worker that has to leave, and has nothing to say about the task.

use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::lease_refusal;
use super::outcome::{self, changes_leased_task, outcome_columns};
use crate::caller;
use crate::error::given;
use crate::pg::spi::{self, statement};

statement!(
    RELEASE,
    concat!(include_str!("release.sql"), outcome_columns!()),
    [UUIDOID, UUIDOID, UUIDOID]
);

changes_leased_task! {
    /// Gives the task back: it is to be had again at once, behind those of its priority that wait
    /// already, and neither its retries nor its rescues are used up.
    ///
    /// Errors: P0002 no such task, 42501 another agent's, 55P03 not the current lease, 22023 an
    /// argument is missing.
    fn release_task(task_id: Option<Uuid>, lease_token: Option<Uuid>) {
        let task_id = given("task_id", task_id)?;
        let lease_token = given("lease_token", lease_token)?;
        let agent = caller::calling_agent()?;
        let released = spi::connect(|session| {
            RELEASE.with(|statement| {
                let arguments = [task_id.into(), lease_token.into(), agent.into()];
                let rows = statement.rows(session, &arguments);
                let row = rows.first().map(|row| outcome::read(&row));
                row.ok_or_else(|| lease_refusal::explain(session, task_id, agent))
            })
        })?;
        Ok(TableIterator::once(released))
    }
}
