//! What makes a task runnable: the one place that decides, whichever way a task comes to wait for a
//! worker: made, edited, resumed, retried, rescued, or changed by a statement of somebody's own.

use devart_core::runnable::{self, Waits};
use devart_core::status::TaskStatus;
use pgrx::AnyNumeric;
use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::prelude::*;

use crate::money::deferrals;
use crate::pg::clock;
use crate::pg::new_row::NewRow;
use crate::pg::raw_json::RawJsonb;
use crate::pg::spi::{self, statement};

statement!(
    IS_APPROVED,
    "select devart_private.is_approved(
         $1, devart_private.content_digest($2, $3, $4, $5, $6, $7))",
    [
        UUIDOID,
        TEXTOID,
        TEXTOID,
        JSONBOID,
        UUIDOID,
        NUMERICOID,
        TEXTARRAYOID
    ]
);

/// Puts the task into the state in which it waits. `may_be_approved` false: what people approved
/// does not count, since the task ended after it or is new.
pub fn settle(trigger: &PgTrigger, row: &mut NewRow, may_be_approved: bool) {
    let waits = Waits {
        for_people: needs_votes(trigger, row, may_be_approved),
        for_tasks: row.get::<i32>(c"open_dependencies").unwrap_or(0) > 0,
        for_time: is_later(row),
    };
    let status = match (runnable::status(waits), deferred_until(row)) {
        (TaskStatus::Todo, Some(until)) => {
            row.set(c"run_at", until);
            TaskStatus::Scheduled
        }
        (status, _) => status,
    };
    row.set_label(c"status", status.as_c_str());
}

/// Whether the task may only run with votes that it does not have.
pub fn needs_votes(trigger: &PgTrigger, row: &NewRow, may_be_approved: bool) -> bool {
    // (Null is refused by its constraint.)
    row.get::<bool>(c"needs_approval").unwrap_or(false)
        && !(may_be_approved && is_approved(trigger, row))
}

/// Lets a task wait for people.
pub fn await_votes(row: &mut NewRow) {
    row.set_label(c"status", TaskStatus::AwaitingApproval.as_c_str());
}

/// Whether people approved the task with the content that it has in this row.
fn is_approved(trigger: &PgTrigger, row: &NewRow) -> bool {
    spi::as_owner(trigger, || {
        spi::connect(|session| {
            IS_APPROVED.with(|statement| {
                let content = [
                    row.required::<Uuid>(c"id").into(),
                    row.get::<String>(c"title").into(),
                    row.get::<String>(c"description").into(),
                    row.get::<RawJsonb>(c"payload").into(),
                    row.get::<Uuid>(c"service_id").into(),
                    row.get::<AnyNumeric>(c"estimated_cost_usd").into(),
                    row.get::<Vec<String>>(c"required_capabilities").into(),
                ];
                let rows = statement.rows(session, &content);
                rows.first().is_some_and(|row| row.required(1))
            })
        })
    })
}

/// Until when the task waits for the provider of its service.
fn deferred_until(row: &NewRow) -> Option<TimestampWithTimeZone> {
    deferrals::waits_until(row.get::<Uuid>(c"service_id")?)
}

fn is_later(row: &NewRow) -> bool {
    let run_at: Option<TimestampWithTimeZone> = row.get(c"run_at");
    run_at.is_some_and(|run_at| i64::from(run_at) > clock::transaction_start_us())
}
