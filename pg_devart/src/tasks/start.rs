//! Starting a task that arrived by message: a claim of this one task.

use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::claimed::{self, Claimed, ClaimedTask, claimed_columns, hands_out_tasks};
use super::set_aside::{self, Handed};
use super::worker::{self, Worker};
use super::{claim_replay, in_hand};
use crate::caller;
use crate::error::given;
use crate::pg::raw_json::RawJsonb;
use crate::pg::spi::{self, Session, statement};
use crate::row_reader::RowReader;
use crate::stops;

statement!(
    START,
    concat!(include_str!("start.sql"), claimed_columns!()),
    [UUIDOID, UUIDOID, FLOAT8OID, INT4ARRAYOID, UUIDOID]
);

statement!(
    LOCK,
    "select t.service_id, t.workflow_run_id from devart.tasks t
     where t.id = $1 for no key update",
    [UUIDOID]
);

hands_out_tasks! {
    /// Takes the task `task_id`. No row when it is no longer to be had, or not by this agent: a
    /// message is an invitation, and a late or repeated one is simply dropped. A task that costs
    /// money comes with the `hold_id` under which its estimate is set aside; when that is refused
    /// there is no row, and the task waits for budget. What is stopped or paused gives no row. An agent with `max_tasks_in_hand` tasks gets
    /// no row, either.
    ///
    /// `claim_key`: as for [`claim_tasks`].
    /// Errors: P0002 no such agent, 42501 deactivated or not the caller's own, 22023 operator named
    /// none, or no task.
    fn start_task(
        task_id: Option<Uuid>,
        agent_id: default!(Option<Uuid>, "NULL"),
        claim_key: default!(Option<Uuid>, "NULL"),
    ) {
        let task_id = given("task_id", task_id)?;
        let agent_id = caller::acting_agent(agent_id)?;
        let started = spi::connect(|session| {
            let worker = worker::load(session, agent_id)?;
            if is_stopped(session, &worker, task_id) {
                return Ok(None);
            }
            let replayed = claim_replay::replay(session, agent_id, claim_key);
            if let Some(task) = replayed.into_iter().find(|task| task.0 == task_id) {
                stops::began(claimed::work(&worker, &task), &worker.stops);
                return Ok(Some(task));
            }
            if in_hand::room(session, agent_id, 1) == 0 {
                return Ok(None);
            }
            let started = START.with(|statement| {
                let rows = statement.rows(
                    session,
                    &[
                        task_id.into(),
                        worker.agent_id.into(),
                        worker.lease_seconds.into(),
                        worker.lanes.clone().into(),
                        claim_key.into(),
                    ],
                );
                let started = Claimed::read(&mut RowReader::of(&rows.first()?));
                hand_out(session, started, agent_id)
            });
            in_hand::took(agent_id, usize::from(started.is_some()));
            if let Some(task) = &started {
                stops::began(claimed::work(&worker, task), &worker.stops);
            }
            Ok::<_, ErrorReport>(started)
        })?;
        Ok(TableIterator::new(started))
    }
}

/// Whether this task may not begin. Locked, if anything is stopped: what it belongs to stays so.
fn is_stopped(session: &Session, worker: &Worker, task_id: Uuid) -> bool {
    if worker.stops.is_empty() {
        return false;
    }
    let (service, run) = LOCK.with(|statement| {
        let rows = statement.rows(session, &[task_id.into()]);
        rows.first()
            .map_or((None, None), |task| (task.get(1), task.get(2)))
    });
    let work = worker.work(Some(task_id), service, run);
    worker.stops.refuses(&work).is_some()
}

/// `None` when the task's money was refused, or when it cannot be handed out.
fn hand_out(session: &Session, started: Claimed, agent_id: Uuid) -> Option<ClaimedTask> {
    match set_aside::hand_out(session, &started, agent_id, true) {
        Handed::Out(hold_id) => Some(started.handed_out(hold_id)),
        Handed::Parked | Handed::Back | Handed::Aside => None,
    }
}
