//! Starting a task that arrived by message: a claim of this one task.

use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::claimed::{self, hands_out_tasks};
use super::worker;
use crate::caller;
use crate::raw_json::RawJsonb;
use crate::spi::{self, statement};

statement!(
    START,
    include_str!("start.sql"),
    [UUIDOID, UUIDOID, FLOAT8OID, INT4ARRAYOID]
);

hands_out_tasks! {
    /// Takes the task `task_id`. No row when it is no longer to be had, or not by this agent: a message
    /// is an invitation, and a late or repeated one is simply dropped.
    ///
    /// Errors: P0002 no such agent, 42501 deactivated or not the caller's own, 22023 operator named none.
    fn start_task(
        task_id: Uuid,
        agent_id: default!(Option<Uuid>, "NULL"),
    ) {
        let agent_id = caller::acting_agent(agent_id)?;
        let started = spi::connect(|session| {
            let worker = worker::load(session, agent_id)?;
            Ok::<_, ErrorReport>(START.with(|statement| {
                let rows = statement.rows(
                    session,
                    &[
                        task_id.into(),
                        worker.agent_id.into(),
                        worker.lease_seconds.into(),
                        worker.lanes.into(),
                    ],
                );
                rows.first().map(|row| claimed::read(&row))
            }))
        })?;
        Ok(TableIterator::new(started))
    }
}
