//! A task that arrives in its queue, or comes back to it: what its writer left open.
//!
//! Native triggers, because they run for every task: in PL/pgSQL they cost more than the insert.

use pgrx::AllocatedByPostgres;
use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::heap_tuple::PgHeapTuple;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::caller;
use crate::error::Error;
use crate::pg::clock;
use crate::pg::new_row::NewRow;
use crate::pg::raw_json::RawJsonb;
use crate::pg::spi::{self, statement};

const MAX_PAYLOAD_BYTES: usize = 256 * 1024;
/// The lane of tasks that require nothing; the first one that sql/incremental makes.
const GENERAL_LANE: i32 = 1;

statement!(
    PARENTS_PRIORITY,
    "select p.priority from devart.tasks p where p.id operator(pg_catalog.=) $1",
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
    /// Errors: 22023 the payload is too long.
    #[pg_trigger]
    fn tasks_before_insert<'a>(
        trigger: &'a PgTrigger<'a>,
    ) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, ErrorReport> {
        let mut row = NewRow::of(trigger);
        check_payload(&row);
        set_priority(trigger, &mut row);
        set_lane(trigger, &mut row);
        set_status(&mut row);
        set_creator(&mut row);
        Ok(Some(row.finish()))
    }

    /// Before update of payload on devart.tasks, for each row. Apart from other changes, as measuring a
    /// large payload at each claim would cost more than the claim.
    ///
    /// Errors: 22023 the payload is too long.
    #[pg_trigger]
    fn tasks_before_payload_update<'a>(
        trigger: &'a PgTrigger<'a>,
    ) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, ErrorReport> {
        let row = NewRow::of(trigger);
        check_payload(&row);
        Ok(Some(row.finish()))
    }

    /// Before update of status on devart.tasks, for each row: a task that becomes TODO gets its place in
    /// the queue, or waits for its time. Claims and completions pass here, too: nothing may be added for them.
    #[pg_trigger]
    fn tasks_before_requeue<'a>(
        trigger: &'a PgTrigger<'a>,
    ) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, ErrorReport> {
        let mut row = NewRow::of(trigger);
        if row.is(c"status", c"TODO") && !NewRow::replaced(trigger).is(c"status", c"TODO") {
            requeue(&mut row);
        }
        Ok(Some(row.finish()))
    }

    /// Before update of what decides about a task's place, for each row: keeps an edited task in the right
    /// lane and state. What people can change; claims and completions do not touch these columns.
    #[pg_trigger]
    fn tasks_before_edit<'a>(
        trigger: &'a PgTrigger<'a>,
    ) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, ErrorReport> {
        let mut row = NewRow::of(trigger);
        let required = |row: &NewRow| row.get::<Vec<String>>(c"required_capabilities");
        if required(&row) != required(&NewRow::replaced(trigger)) {
            set_lane(trigger, &mut row);
        }
        if row.is(c"status", c"TODO") || row.is(c"status", c"SCHEDULED") {
            requeue(&mut row);
        }
        Ok(Some(row.finish()))
    }
}

fn requeue(row: &mut NewRow) {
    set_status(row);
    row.set(c"ready_at", clock::now());
}

/// Raises the error itself: pgrx gives XX000 to one that a trigger returns.
fn check_payload(row: &NewRow) {
    let payload: Option<RawJsonb> = row.get(c"payload");
    if payload.is_some_and(|payload| payload.text_len() > MAX_PAYLOAD_BYTES) {
        let message = "payload must not be longer than 256 KiB".to_owned();
        ErrorReport::from(Error::InvalidArgument(message)).report(PgLogLevel::ERROR);
    }
}

fn set_priority(trigger: &PgTrigger, row: &mut NewRow) {
    if row.get::<pg_sys::Oid>(c"priority").is_some() {
        return;
    }
    let parent: Option<Uuid> = row.get(c"parent_task_id");
    match parent.and_then(|parent| priority_of(trigger, parent)) {
        Some(inherited) => row.set(c"priority", inherited),
        None => row.set_label(c"priority", c"MEDIUM"),
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

/// A task that waits for nothing else is due at once or later.
fn set_status(row: &mut NewRow) {
    let status: Option<pg_sys::Oid> = row.get(c"status");
    let waits_for_time_only =
        status.is_none() || row.is(c"status", c"TODO") || row.is(c"status", c"SCHEDULED");
    if waits_for_time_only {
        let run_at: Option<TimestampWithTimeZone> = row.get(c"run_at");
        let later = run_at.is_some_and(|run_at| i64::from(run_at) > clock::transaction_start_us());
        row.set_label(c"status", if later { c"SCHEDULED" } else { c"TODO" });
    }
}

fn set_creator(row: &mut NewRow) {
    if row.get::<Uuid>(c"created_by").is_none()
        && let Some(creator) = caller::person_or_agent()
    {
        row.set(c"created_by", creator);
    }
}
