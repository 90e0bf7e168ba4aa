//! Symbols that the SQL of earlier versions names. A new library serves databases that are not yet
//! migrated, and `create extension ... version` of an earlier one looks all of them up.

use pgrx::AllocatedByPostgres;
use pgrx::heap_tuple::PgHeapTuple;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::pg::new_row::NewRow;

/// 0.1.0's trigger on the payload of devart.tasks; a domain checks what is in it since.
#[pg_trigger(sql = false)]
fn tasks_before_payload_update<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, ErrorReport> {
    Ok(Some(NewRow::of(trigger).finish()))
}
