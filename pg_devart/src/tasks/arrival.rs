//! A task that arrives in its queue, or comes back to it: what its writer left open.
//!
//! Native triggers, because they run for every task: in PL/pgSQL they cost more than the insert.

use devart_core::moment;
use devart_core::runnable::{Check, check};
use devart_core::status::{TaskPriority, TaskStatus};
use pgrx::AllocatedByPostgres;
use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::heap_tuple::PgHeapTuple;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::runnable;
use crate::caller;
use crate::error::Error;
use crate::pg::clock;
use crate::pg::labels::Label;
use crate::pg::new_row::NewRow;
use crate::pg::spi::{self, statement};

/// The lane of tasks that require nothing; the first one that sql/incremental makes.
const GENERAL_LANE: i32 = 1;

statement!(
    PARENTS_PRIORITY,
    "select p.priority from devart.tasks p where p.id operator(pg_catalog.=) $1",
    [UUIDOID]
);
statement!(
    WAITS_FOR_MONEY,
    "select exists (
         select from devart_private.budget_waits w where w.task_id operator(pg_catalog.=) $1)",
    [UUIDOID]
);
statement!(
    LANE,
    "select c, devart_private.lane_of(c) from devart_private.canonical_capabilities($1) c",
    [TEXTARRAYOID]
);

#[pg_schema]
mod devart_private {
    use super::*;

    /// Before insert on devart.tasks, for each row: gives it priority, lane, status and creator.
    ///
    /// Errors: 22023 `run_at` is no sensible time, 55000 IN_PROGRESS without a lease.
    #[pg_trigger]
    fn tasks_before_insert<'a>(
        trigger: &'a PgTrigger<'a>,
    ) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, ErrorReport> {
        let mut row = NewRow::of(trigger);
        check_run_at(&row);
        set_priority(trigger, &mut row);
        set_lane(trigger, &mut row);
        set_status(trigger, &mut row);
        set_creator(&mut row);
        Ok(Some(row.finish()))
    }

    /// Before update of status on devart.tasks, for each row: a task that would become runnable
    /// gets its place in the queue, or waits for what it lacks. Claims and completions pass here,
    /// too: nothing may be added for them.
    ///
    /// Errors: 55000 IN_PROGRESS without a lease.
    #[pg_trigger]
    fn tasks_before_requeue<'a>(
        trigger: &'a PgTrigger<'a>,
    ) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, ErrorReport> {
        let mut row = NewRow::of(trigger);
        let (from, to) = (status_of(&NewRow::replaced(trigger)), status_of(&row));
        if to == TaskStatus::InProgress && from != to {
            refuse_without_lease(&row);
        }
        let check = check(from, to);
        match check {
            Check::Question => ask_something(trigger, &mut row),
            Check::Nothing => (),
            Check::Place => requeue(trigger, &mut row, true),
            Check::PlaceAnew => requeue(trigger, &mut row, false),
            Check::Votes | Check::VotesAnew => {
                let may_be_approved = check == Check::Votes;
                if runnable::needs_votes(trigger, &row, may_be_approved) {
                    runnable::await_votes(&mut row);
                }
            }
        }
        Ok(Some(row.finish()))
    }

    /// Before update of what decides about a task's place, and of what people approve, for each
    /// row: keeps an edited task in the right lane and state. What people can change; claims and
    /// completions do not touch these columns.
    ///
    /// Errors: 22023 `run_at` is no sensible time, 55000 `needs_approval` is taken back.
    #[pg_trigger]
    fn tasks_before_edit<'a>(
        trigger: &'a PgTrigger<'a>,
    ) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, ErrorReport> {
        let mut row = NewRow::of(trigger);
        let replaced = NewRow::replaced(trigger);
        if run_at(&row) != run_at(&replaced) {
            check_run_at(&row);
        }
        let needs_approval = |row: &NewRow| row.get::<bool>(c"needs_approval").unwrap_or(false);
        if needs_approval(&replaced) && !needs_approval(&row) {
            Error::wrong_state("needs_approval", "cannot be taken back").raise();
        }
        let required = |row: &NewRow| row.get::<Vec<String>>(c"required_capabilities");
        let changes_lane = required(&row) != required(&replaced);
        if changes_lane {
            set_lane(trigger, &mut row);
        }
        if waits_for_a_worker(status_of(&row)) {
            let place = |row: &NewRow| {
                let run_at = row.get::<TimestampWithTimeZone>(c"run_at").map(i64::from);
                (row.get::<pg_sys::Oid>(c"priority"), run_at)
            };
            if changes_lane || place(&row) != place(&replaced) {
                requeue(trigger, &mut row, true);
            } else {
                runnable::settle(trigger, &mut row, true);
            }
        }
        Ok(Some(row.finish()))
    }
}

/// Nobody could complete such a task, and it would never come back.
fn refuse_without_lease(row: &NewRow) {
    let has_lease = row.get::<Uuid>(c"lease_token").is_some()
        && row
            .get::<TimestampWithTimeZone>(c"lease_expires_at")
            .is_some();
    if !has_lease {
        let problem = "is IN_PROGRESS only under a lease, as claim_tasks and start_task give it";
        Error::wrong_state("status", problem).raise();
    }
}

/// A task that begins to wait for people without waiting for money needs their votes from then on,
/// as one that is made so: otherwise nobody would be asked anything, and it would wait for ever.
fn ask_something(trigger: &PgTrigger, row: &mut NewRow) {
    let task_id: Uuid = row.required(c"id");
    if !row.get::<bool>(c"needs_approval").unwrap_or(false) && !waits_for_money(trigger, task_id) {
        row.set(c"needs_approval", true);
    }
}

fn waits_for_money(trigger: &PgTrigger, task_id: Uuid) -> bool {
    spi::as_owner(trigger, || {
        spi::connect(|session| {
            WAITS_FOR_MONEY.with(|statement| {
                let rows = statement.rows(session, &[task_id.into()]);
                rows.first().is_some_and(|row| row.required(1))
            })
        })
    })
}

fn requeue(trigger: &PgTrigger, row: &mut NewRow, may_be_approved: bool) {
    runnable::settle(trigger, row, may_be_approved);
    row.set(c"ready_at", clock::now());
}

fn check_run_at(row: &NewRow) {
    if run_at(row).is_some_and(|at| !moment::is_sensible_in_postgres(at)) {
        Error::invalid("run_at", moment::OUT_OF_RANGE).raise();
    }
}

/// In microseconds since 2000; infinite ones are the largest and the smallest number.
fn run_at(row: &NewRow) -> Option<i64> {
    row.get::<TimestampWithTimeZone>(c"run_at").map(i64::from)
}

fn set_priority(trigger: &PgTrigger, row: &mut NewRow) {
    if row.get::<pg_sys::Oid>(c"priority").is_some() {
        return;
    }
    let parent: Option<Uuid> = row.get(c"parent_task_id");
    match parent.and_then(|parent| priority_of(trigger, parent)) {
        Some(inherited) => row.set(c"priority", inherited),
        None => row.set_label(c"priority", TaskPriority::Medium.as_c_str()),
    }
}

fn priority_of(trigger: &PgTrigger, task_id: Uuid) -> Option<pg_sys::Oid> {
    spi::as_owner(trigger, || {
        spi::connect(|session| {
            PARENTS_PRIORITY.with(|statement| {
                let rows = statement.rows(session, &[task_id.into()]);
                rows.first().map(|row| row.required(1))
            })
        })
    })
}

/// Sorts the capabilities, so that each set of them is one lane.
fn set_lane(trigger: &PgTrigger, row: &mut NewRow) {
    let required: Vec<String> = row.get(c"required_capabilities").unwrap_or_default();
    if required.is_empty() {
        row.set(c"lane_id", GENERAL_LANE);
        return;
    }
    let (sorted, lane) = spi::as_owner(trigger, || lane_of(required));
    row.set(c"required_capabilities", sorted);
    row.set(c"lane_id", lane);
}

fn lane_of(required: Vec<String>) -> (Vec<String>, i32) {
    spi::connect(|session| {
        LANE.with(|statement| {
            let rows = statement.rows(session, &[required.into()]);
            let row = rows.first().expect("a function in FROM gives one row");
            (row.required(1), row.required(2))
        })
    })
}

/// Where a new task waits. One that is made to wait for people needs them from then on. One that is
/// made BLOCKED gets what it depends on in the same transaction.
fn set_status(trigger: &PgTrigger, row: &mut NewRow) {
    let status = row.get::<Label>(c"status").map(named);
    if status == Some(TaskStatus::AwaitingApproval) {
        row.set(c"needs_approval", true);
    }
    if status == Some(TaskStatus::InProgress) {
        refuse_without_lease(row);
    }
    match status {
        None | Some(TaskStatus::Todo | TaskStatus::Scheduled) => {
            runnable::settle(trigger, row, false);
        }
        Some(TaskStatus::Blocked | TaskStatus::InProgress)
            if runnable::needs_votes(trigger, row, false) =>
        {
            runnable::await_votes(row);
        }
        _ => (),
    }
}

fn waits_for_a_worker(status: TaskStatus) -> bool {
    matches!(
        status,
        TaskStatus::Todo | TaskStatus::Scheduled | TaskStatus::Blocked
    )
}

fn status_of(row: &NewRow) -> TaskStatus {
    named(row.required(c"status"))
}

fn named(label: Label) -> TaskStatus {
    let name = label.name();
    name.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn set_creator(row: &mut NewRow) {
    if row.get::<Uuid>(c"created_by").is_none()
        && let Some(creator) = caller::person_or_agent()
    {
        row.set(c"created_by", creator);
    }
}
