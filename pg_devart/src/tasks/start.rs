//! Starting a task that arrived by message: a claim of this one task.

use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::claimed::{Claimed, ClaimedTask, claimed_columns, hands_out_tasks};
use super::{claim_replay, worker};
use crate::caller;
use crate::money::claim::Outcome;
use crate::pg::raw_json::RawJsonb;
use crate::pg::spi::{self, Session, statement};
use crate::row_reader::RowReader;

statement!(
    START,
    concat!(include_str!("start.sql"), claimed_columns!()),
    [UUIDOID, UUIDOID, FLOAT8OID, INT4ARRAYOID, UUIDOID]
);

hands_out_tasks! {
    /// Takes the task `task_id`. No row when it is no longer to be had, or not by this agent: a
    /// message is an invitation, and a late or repeated one is simply dropped. A task that costs
    /// money comes with the `hold_id` under which its estimate is set aside; when that is refused
    /// there is no row, and the task waits for budget.
    ///
    /// `claim_key`: as for [`claim_tasks`].
    /// Errors: P0002 no such agent, 42501 deactivated or not the caller's own, 22023 operator named
    /// none.
    fn start_task(
        task_id: Uuid,
        agent_id: default!(Option<Uuid>, "NULL"),
        claim_key: default!(Option<Uuid>, "NULL"),
    ) {
        let agent_id = caller::acting_agent(agent_id)?;
        let started = spi::connect(|session| {
            let worker = worker::load(session, agent_id)?;
            let replayed = claim_replay::replay(session, agent_id, claim_key);
            if let Some(task) = replayed.into_iter().find(|task| task.0 == task_id) {
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
                let started = Claimed::read(&mut RowReader::of(&rows.first()?));
                hand_out(session, started, agent_id)
            }))
        })?;
        Ok(TableIterator::new(started))
    }
}

/// Sets the money of a task aside that costs any; `None` when that was refused.
fn hand_out(session: &Session, started: Claimed, agent_id: Uuid) -> Option<ClaimedTask> {
    let Some(costly) = started.costly() else {
        return Some(started.handed_out(None));
    };
    match costly.start(session, agent_id, true) {
        Outcome::Started(hold_id) => Some(started.handed_out(Some(hold_id))),
        Outcome::Parked | Outcome::GivenBack => None,
    }
}
