//! Claiming: hands the next tasks to an agent, each to one agent only.

use devart_core::cursor::{Position, Queue, START};
use pgrx::datum::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::claim_replay;
use super::claim_round::{Round, Wanted};
use super::claimed::{self, ClaimedTask, hands_out_tasks};
use super::worker::{self, Worker};
use super::{cursors, in_hand};
use crate::caller;
use crate::error::{Error, given};
use crate::pg::clock;
use crate::pg::raw_json::RawJsonb;
use crate::pg::spi::{self, Session};
use crate::pg::transaction;
use crate::stops;

const MAX_BATCH: i32 = 1_000;

hands_out_tasks! {
    /// Takes the next task that the agent can do: by priority, then age. No row when there is none.
    ///
    /// A task with a service and an estimate comes with the `hold_id` under which its money is set
    /// aside. One whose money is refused leaves the queue and waits for budget, and another is
    /// handed out instead. Nothing of what is stopped or paused is handed out. `agent_id`: null for the calling agent itself. The task is the agent's
    /// until `lease_expires_at`. An agent with `max_tasks_in_hand` tasks gets no more.
    /// Errors: P0002 no such agent, 42501 deactivated or not the caller's own, 22023 operator named
    /// none.
    fn claim_next_task(agent_id: default!(Option<Uuid>, "NULL")) {
        Ok(TableIterator::new(claim(agent_id, 1, None)?))
    }
}

hands_out_tasks! {
    /// Takes up to `max_tasks` (1 to 1000) tasks at once, as [`claim_next_task`] would one by one.
    ///
    /// Within a batch, tasks of one queue (capabilities and priority) come together. `claim_key`:
    /// names this claim, so that it can be asked for again when its answer was lost. What the agent
    /// still holds of it is then given again, the same leases and nothing new; choose another key
    /// for each claim.
    /// Errors: as `claim_next_task`; 22023 `max_tasks` out of range.
    fn claim_tasks(
        agent_id: default!(Option<Uuid>, "NULL"),
        max_tasks: default!(Option<i32>, 1),
        claim_key: default!(Option<Uuid>, "NULL"),
    ) {
        let max_tasks = given("max_tasks", max_tasks)?;
        Ok(TableIterator::new(claim(agent_id, max_tasks, claim_key)?))
    }
}

fn claim(
    agent_id: Option<Uuid>,
    max_tasks: i32,
    claim_key: Option<Uuid>,
) -> Result<Vec<ClaimedTask>, Error> {
    if !(1..=MAX_BATCH).contains(&max_tasks) {
        let problem = format!("must be from 1 to {MAX_BATCH}");
        return Err(Error::invalid("max_tasks", problem));
    }
    let agent_id = caller::acting_agent(agent_id)?;
    transaction::require_writable(c"claim_tasks");
    spi::connect(|session| {
        let worker = worker::load(session, agent_id)?;
        if worker.is_stopped() {
            return Ok(Vec::new());
        }
        let replayed = claim_replay::replay(session, agent_id, claim_key);
        if !replayed.is_empty() {
            return Ok(begin(&worker, replayed));
        }
        let max_tasks = in_hand::room(session, agent_id, max_tasks as usize);
        if max_tasks == 0 {
            return Ok(Vec::new());
        }
        let wanted = Wanted {
            max_tasks,
            claim_key,
        };
        let claimed = take(session, &worker, &wanted);
        in_hand::took(agent_id, claimed.len());
        for task in &claimed {
            stops::began(claimed::work(&worker, task), &worker.stops);
        }
        Ok(claimed)
    })
}

/// Those of the tasks that may begin.
fn begin(worker: &Worker, mut tasks: Vec<ClaimedTask>) -> Vec<ClaimedTask> {
    tasks.retain(|task| stops::refusal(claimed::work(worker, task)).is_none());
    tasks
}

fn take(session: &Session, worker: &Worker, wanted: &Wanted) -> Vec<ClaimedTask> {
    if cursors::rescan_due() {
        return rescan(session, worker, wanted);
    }
    let claimed = take_from(session, worker, wanted, &cursors::position);
    if claimed.is_empty() && cursors::skip_anything() {
        return rescan(session, worker, wanted);
    }
    claimed
}

/// Looks at every queue from its head.
fn rescan(session: &Session, worker: &Worker, wanted: &Wanted) -> Vec<ClaimedTask> {
    let started_at = clock::now_us();
    let claimed = take_from(session, worker, wanted, &|_| START);
    cursors::rescanned(started_at);
    claimed
}

/// Takes tasks until there are enough or no more. Those whose money is refused do not count, and make
/// another round necessary, as do those that somebody changed before they could be locked.
fn take_from(
    session: &Session,
    worker: &Worker,
    wanted: &Wanted,
    start: &dyn Fn(Queue) -> Position,
) -> Vec<ClaimedTask> {
    let mut round = Round::new(wanted);
    while round.next(session, worker, start) {}
    cursors::taken(round.taken);
    round.claimed
}
