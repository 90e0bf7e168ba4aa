//! Starting a task that arrived by message: a claim of this one task.

use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::claimed::{self, ClaimedTask, hands_out_tasks};
use super::{recall, worker};
use crate::caller;
use crate::money::claim::{CostlyTask, Outcome};
use crate::pg::raw_json::RawJsonb;
use crate::pg::spi::{self, Row, Session, statement};

/// The column of start.sql that says what a task costs.
const ESTIMATE: i32 = 12;

statement!(
    START,
    include_str!("start.sql"),
    [UUIDOID, UUIDOID, FLOAT8OID, INT4ARRAYOID, UUIDOID]
);

hands_out_tasks! {
    /// Takes the task `task_id`. No row when it is no longer to be had, or not by this agent: a message
    /// is an invitation, and a late or repeated one is simply dropped. A task that costs money comes with the
    /// `hold_id` under which its estimate is set aside; when that is refused there is no row, and the task waits for budget.
    ///
    /// `claim_key`: as for [`claim_tasks`].
    /// Errors: P0002 no such agent, 42501 deactivated or not the caller's own, 22023 operator named none.
    fn start_task(
        task_id: Uuid,
        agent_id: default!(Option<Uuid>, "NULL"),
        claim_key: default!(Option<Uuid>, "NULL"),
    ) {
        let agent_id = caller::acting_agent(agent_id)?;
        let started = spi::connect(|session| {
            let worker = worker::load(session, agent_id)?;
            let recalled = recall::recall(session, agent_id, claim_key);
            if let Some(task) = recalled.into_iter().find(|task| task.0 == task_id) {
                return Ok(Some(task));
            }
            Ok::<_, ErrorReport>(START.with(|statement| {
                let rows = statement.rows(
                    session,
                    &[
                        task_id.into(),
                        worker.agent_id.into(),
                        worker.lease_seconds.into(),
                        worker.lanes.into(),
                        claim_key.into(),
                    ],
                );
                start(session, &rows.first()?, agent_id)
            }))
        })?;
        Ok(TableIterator::new(started))
    }
}

/// Sets the money of a task aside that costs any; `None` when that was refused.
fn start(session: &Session, row: &Row, agent_id: Uuid) -> Option<ClaimedTask> {
    let Some(costly) = CostlyTask::read(row, ESTIMATE) else {
        return Some(claimed::read(row, None));
    };
    match costly.start(session, agent_id, true) {
        Outcome::Started(hold_id) => Some(claimed::read(row, Some(hold_id))),
        Outcome::Parked | Outcome::GivenBack => None,
    }
}
